package server

import (
	"context"
	"errors"
	"io"
	"log/slog"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/local"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/setup"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/backup"
	"github.com/gild-dev/gild/internal/server/state/etcd"
)

// State is where a server keeps what it knows.
type State struct {
	// DataDir holds it in DIR/etcd, unless Etcd is set.
	DataDir string
	Etcd    *etcd.Cluster // the operator's; nil: an etcd in the server's process
	Prefix  string        // of all keys; empty is DefaultPrefix
}

// database is the etcd that a server keeps its state in.
type database struct {
	client  *clientv3.Client
	stopped func(context.Context) error // waits until it has stopped by itself
	close   func() error
}

// openState starts the etcd of the data directory, or connects to the
// operator's cluster.
func (s State) open(ctx context.Context, log *slog.Logger) (*database, error) {
	if s.Etcd == nil {
		e, err := etcd.Start(ctx, s.DataDir, log)
		if err != nil {
			return nil, err
		}
		return &database{e.Client(), e.Stopped, e.Close}, nil
	}
	client, err := s.Etcd.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &database{client, notOurs, client.Close}, nil
}

// notOurs waits for a cluster whose end is not this server's: that comes back.
func notOurs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// Backup writes a backup of the state. It asks the server that runs on
// DataDir, and reads the state itself when none does.
func (s State) Backup(ctx context.Context, w io.Writer) error {
	if s.Etcd == nil {
		if err := (local.Client{Dir: s.DataDir}).Backup(ctx, w); !errors.Is(err, local.ErrNoServer) {
			return err
		}
		return backup.WriteDir(ctx, s.DataDir, machines.Prefix(s.Prefix), w)
	}
	client, err := s.Etcd.Connect(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = backup.Write(ctx, machines.NewStore(client, s.Prefix).Space, w)
	return err
}

func noState(place string) error {
	return &setup.Error{
		Problem: "no server has kept its state in " + place + ", so there is no admin token to replace",
		Help:    "give the server's own --data, or its --etcd with the same --etcd-prefix",
	}
}

// NewToken replaces the admin token of a room; every session ends. It asks the
// server that runs on DataDir, wherever that keeps its state, and changes the
// state itself when none does. Where there is no state it makes none.
func (s State) NewToken(ctx context.Context) (token string, err error) {
	if s.Etcd == nil {
		token, err := local.Client{Dir: s.DataDir}.NewToken(ctx)
		if !errors.Is(err, local.ErrNoServer) {
			return token, err
		}
	}
	if s.Etcd == nil && !etcd.Exists(s.DataDir) {
		return "", noState(s.DataDir)
	}
	db, err := s.open(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	defer db.close() //nolint:errcheck // what was written is on disk already
	store := machines.NewStore(db.client, s.Prefix)
	// A first start makes a token: without one, nothing that is served is meant.
	kept, err := access.Stored{State: store}.LoadAccess(ctx)
	if err == nil && kept.Token == "" || errors.Is(err, state.ErrNotFound) {
		return "", noState("etcd below " + machines.Prefix(s.Prefix))
	}
	if err != nil {
		return "", err
	}
	return replaceToken(ctx, store)
}
