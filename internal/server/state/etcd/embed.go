// Package etcd gives a client of an etcd: of one that runs in this process, or
// of the operator's cluster.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/state/upkeep"
)

// readyWithin bounds the start of the embedded etcd. It takes under a second
// on an idle machine; replaying a large log on a slow disk takes longer.
const readyWithin = 2 * time.Minute

// slowStart is when a person is told what is waited for.
const slowStart = 5 * time.Second

// Embedded is an etcd in this process, of one member, that listens on
// nothing: its only client is [Embedded.Client], which calls it directly.
type Embedded struct {
	lock    *os.File
	etcd    *embed.Etcd
	client  *clientv3.Client
	serving atomic.Bool // from the moment it is ready until it is closed
	ending  *ending
	quota   int64
	keeper  *upkeep.Keeper
	rest    context.CancelFunc // ends the upkeep
	tended  sync.WaitGroup
}

// Start locks the data directory and starts the etcd in DIR/etcd. It returns
// when changes can be made. Errors are *LockedError and *DirError where the
// operator can do something.
func Start(ctx context.Context, dir string, log *slog.Logger) (*Embedded, error) {
	return startWithin(ctx, dir, budget.State, log)
}

// startWithin is Start with a quota in bytes.
func startWithin(ctx context.Context, dir string, quota int64, log *slog.Logger) (*Embedded, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	lockFile, err := Lock(dir)
	if err != nil {
		return nil, err
	}
	e := &Embedded{lock: lockFile, ending: newEnding(), quota: quota}
	if err := e.start(ctx, dir, log); err != nil {
		_ = e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Embedded) start(ctx context.Context, dir string, log *slog.Logger) error {
	if err := upkeep.Room(dir); err != nil {
		return NewDirError(dir, err)
	}
	data := filepath.Join(dir, "etcd")
	// etcd refuses, by ending the process, a directory that others can read.
	if err := os.MkdirAll(data, 0o700); err != nil {
		return NewDirError(dir, err)
	}
	if f, err := os.CreateTemp(data, ".writable"); err != nil {
		return NewDirError(dir, err)
	} else {
		f.Close()
		if err := os.Remove(f.Name()); err != nil {
			return NewDirError(dir, err)
		}
	}
	if err := inspect(dir, log); err != nil {
		return err
	}
	before := Exists(dir)
	if err := e.launch(ctx, data, slogCore{log, &e.serving}, log); err != nil {
		if ctx.Err() != nil || !before {
			return NewDirError(dir, err)
		}
		return damaged(dir, err)
	}
	e.serving.Store(true)
	e.client = v3client.New(e.etcd.Server)
	return e.tend(ctx, log)
}

// tend looks after the size of the database until Close. That it cannot now is
// worth a word, and no reason not to serve.
func (e *Embedded) tend(ctx context.Context, log *slog.Logger) error {
	e.keeper = upkeep.New(e.etcd, e.client, e.etcd.Config().Dir, e.quota, log)
	if err := e.keeper.Begin(ctx); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("starting etcd: %w", err)
		}
		log.Warn("looking after the size of the state", "err", err)
	}
	ctx, e.rest = context.WithCancel(context.WithoutCancel(ctx))
	e.tended.Go(func() {
		if err := e.keeper.Run(ctx); ctx.Err() == nil {
			e.ending.end(err)
		}
	})
	return nil
}

// Exists reports whether a server has kept its state in a directory.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "etcd", "member"))
	return err == nil
}

// launch runs etcd and waits until it is ready.
func (e *Embedded) launch(ctx context.Context, data string, core zapcore.Core, log *slog.Logger) error {
	type outcome struct {
		etcd *embed.Etcd
		err  error
	}
	started := make(chan outcome, 1)
	// What etcd meets in its start may end the goroutine.
	go func() {
		var o outcome
		defer func() {
			if p := recover(); p != nil {
				o.err = fmt.Errorf("%v", p)
			}
			started <- o
		}()
		o.etcd, o.err = embed.StartEtcd(config(data, core, e.ending, e.quota))
	}()
	slow := time.AfterFunc(slowStart, func() { log.Info("the state database reads its log", "dir", data) })
	defer slow.Stop()
	select {
	case o := <-started:
		if e.etcd = o.etcd; o.err != nil {
			return fmt.Errorf("starting etcd: %w", o.err)
		}
	case <-e.ending.done:
	case <-ctx.Done():
		return fmt.Errorf("starting etcd: %w", ctx.Err())
	}
	if e.etcd == nil {
		<-e.ending.done // its last words come before the end of the goroutine
		return fmt.Errorf("starting etcd: %w", e.ending.err)
	}
	select {
	case <-e.etcd.Server.ReadyNotify():
		return nil
	case <-e.ending.done:
		return fmt.Errorf("starting etcd: %w", e.ending.err)
	case <-e.etcd.Server.StopNotify():
		return errors.New("starting etcd: it stopped by itself")
	case <-time.After(readyWithin):
		return fmt.Errorf("starting etcd: not ready after %v", readyWithin)
	case <-ctx.Done():
		return fmt.Errorf("starting etcd: %w", ctx.Err())
	}
}

// config is etcd's own default (which syncs every write to the disk) but for
// what a member without peers or clients on the network does not need.
func config(dir string, core zapcore.Core, last *ending, quota int64) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name, cfg.Dir = "gild", dir
	// Peers are only ever named, never listened to: a cluster of one.
	self := url.URL{Scheme: "http", Host: "localhost:2380"}
	cfg.AdvertisePeerUrls = []url.URL{self}
	cfg.InitialCluster = cfg.Name + "=" + self.String()
	cfg.ListenPeerUrls, cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, nil, nil
	cfg.QuotaBackendBytes = quota
	cfg.MaxRequestBytes = budget.Transaction
	cfg.WarningApplyDuration = 2 * time.Second // its own tenth of a second passes on every busy host
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(core, zap.WithFatalHook(last), zap.WithPanicHook(last)))
	return cfg
}

// Client returns the client of this etcd. It is closed by Close.
func (e *Embedded) Client() *clientv3.Client { return e.client }

// Stopped waits until etcd cannot continue, and says why, or until ctx ends.
func (e *Embedded) Stopped(ctx context.Context) error {
	select {
	case <-e.ending.done:
		return fmt.Errorf("etcd has stopped: %w", e.ending.err)
	case <-e.etcd.Server.StopNotify():
		return errors.New("etcd has stopped, the log says why")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close stops etcd and gives the data directory free.
func (e *Embedded) Close() error {
	e.serving.Store(false)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if e.rest != nil {
			e.rest()
			e.tended.Wait()
		}
		if e.client != nil {
			_ = e.client.Close()
		}
		if e.etcd != nil {
			e.etcd.Close()
		}
	}()
	select {
	case <-closed:
	case <-e.ending.done:
		select {
		case <-closed:
		case <-time.After(brokenWithin):
		}
	}
	return e.lock.Close()
}

// brokenWithin is how long an etcd that cannot continue may take to close: what
// it waits for may be a goroutine that has ended.
const brokenWithin = 3 * time.Second
