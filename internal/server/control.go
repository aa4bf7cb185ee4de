package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/local"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/setup"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/backup"
	"github.com/gild-dev/gild/internal/server/state/etcd"
)

// control answers the commands that work on the data directory while this
// server has its state open. A server without that is better than none.
//
// The socket is there when it returns: commands that come next find it.
func (s *Server) control(ctx context.Context, store *state.Store, operator http.Handler, log *slog.Logger) service.Service {
	c := local.Control{
		Operator: operator,
		Backup: func(ctx context.Context, w io.Writer) error {
			_, err := backup.Write(ctx, store.Space, w)
			return err
		},
		NewToken: func(ctx context.Context) (string, error) {
			token, err := replaceToken(ctx, store)
			if err == nil {
				log.Info("admin token replaced; the old token and all sessions are revoked")
			}
			return token, err
		},
	}
	l, err := local.Listen(ctx, s.DataDir)
	return service.Func(func(ctx context.Context) error {
		if err == nil {
			err = c.ServeOn(ctx, l)
		}
		if ctx.Err() == nil {
			log.Warn("commands on this host need the admin token, and gild state backup and gild token new have to wait until the server is stopped", "err", err)
		}
		<-ctx.Done()
		return ctx.Err()
	})
}

// Backup writes a backup of the state. It asks the server that runs on
// DataDir, and reads the state itself when none does.
func (s *Server) Backup(ctx context.Context, w io.Writer) error {
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
func (s *Server) NewToken(ctx context.Context) (token string, err error) {
	if s.Etcd == nil {
		token, err := local.Client{Dir: s.DataDir}.NewToken(ctx)
		if !errors.Is(err, local.ErrNoServer) {
			return token, err
		}
	}
	if s.Etcd == nil && !etcd.Exists(s.DataDir) {
		return "", noState(s.DataDir)
	}
	db, err := s.openState(ctx, slog.New(slog.DiscardHandler))
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

// replaceToken makes a new admin token and enters that into the log. The token
// is told whatever becomes of the entry: nobody could learn it later.
func replaceToken(ctx context.Context, store *state.Store) (string, error) {
	token, err := access.ReplaceToken(ctx, access.Stored{State: store})
	if err == nil {
		_ = store.Note(ctx, api.Event{
			Time: time.Now(), Step: "token", State: api.StateDone, Actor: api.ActorOperator,
			Message: "a new admin token was made: the old one and every session have ended",
		})
	}
	return token, err
}
