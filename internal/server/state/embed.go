package state

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// readyWithin bounds the start of the embedded etcd. It takes under a second
// on an idle machine; replaying a large log on a slow disk takes longer.
const readyWithin = 2 * time.Minute

// quota bounds the database in bytes. A thousand machines with a full past
// take about 300 MB.
const quota = 2 << 30

// Embedded is an etcd in this process, of one member, that listens on
// nothing: its only client is [Embedded.Client], which calls it directly.
type Embedded struct {
	lock    *os.File
	etcd    *embed.Etcd
	client  *clientv3.Client
	serving atomic.Bool // from the moment it is ready until it is closed
}

// Start locks the data directory and starts the etcd in DIR/etcd. It returns
// when changes can be made. Errors are *LockedError and *DirError where the
// operator can do something.
func Start(ctx context.Context, dir string, log *slog.Logger) (*Embedded, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	lockFile, err := lock(dir)
	if err != nil {
		return nil, err
	}
	e := &Embedded{lock: lockFile}
	if err := e.start(ctx, dir, log); err != nil {
		_ = e.Close()
		return nil, err
	}
	return e, nil
}

func (e *Embedded) start(ctx context.Context, dir string, log *slog.Logger) error {
	if err := room(dir); err != nil {
		return err
	}
	data := filepath.Join(dir, "etcd")
	// etcd refuses, by ending the process, a directory that others can read.
	if err := os.MkdirAll(data, 0o700); err != nil {
		return dirError(dir, err)
	}
	if f, err := os.CreateTemp(data, ".writable"); err != nil {
		return dirError(dir, err)
	} else {
		f.Close()
		if err := os.Remove(f.Name()); err != nil {
			return dirError(dir, err)
		}
	}
	core := slogCore{log, &e.serving}
	var err error
	if e.etcd, err = embed.StartEtcd(config(data, core)); err != nil {
		return dirError(dir, fmt.Errorf("starting etcd: %w", err))
	}
	select {
	case <-e.etcd.Server.ReadyNotify():
	case <-e.etcd.Server.StopNotify():
		return dirError(dir, errors.New("starting etcd: it stopped by itself"))
	case <-time.After(readyWithin):
		return dirError(dir, fmt.Errorf("starting etcd: not ready after %v", readyWithin))
	case <-ctx.Done():
		return fmt.Errorf("starting etcd: %w", ctx.Err())
	}
	e.serving.Store(true)
	e.client = v3client.New(e.etcd.Server)
	return nil
}

// config is etcd's own default (which syncs every write to the disk) but for
// what a member without peers or clients on the network does not need.
func config(dir string, core zapcore.Core) *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "gild"
	cfg.Dir = dir
	// Peers are only ever named, never listened to: a cluster of one.
	self := url.URL{Scheme: "http", Host: "localhost:2380"}
	cfg.AdvertisePeerUrls = []url.URL{self}
	cfg.InitialCluster = cfg.Name + "=" + self.String()
	cfg.ListenPeerUrls, cfg.ListenClientUrls, cfg.AdvertiseClientUrls = nil, nil, nil
	cfg.QuotaBackendBytes = quota
	cfg.MaxRequestBytes = 4 << 20 // a report of 1 MiB with a large record
	cfg.AutoCompactionMode = embed.CompactorModeRevision
	cfg.AutoCompactionRetention = "10000"
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(core))
	return cfg
}

// Client returns the client of this etcd. It is closed by Close.
func (e *Embedded) Client() *clientv3.Client { return e.client }

// Done is closed when etcd stops, also by itself after an error.
func (e *Embedded) Done() <-chan struct{} { return e.etcd.Server.StopNotify() }

// Close stops etcd and gives the data directory free.
func (e *Embedded) Close() error {
	e.serving.Store(false)
	if e.client != nil {
		_ = e.client.Close()
	}
	if e.etcd != nil {
		e.etcd.Close()
	}
	return e.lock.Close()
}
