package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/local"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/backup"
)

// control answers the commands that work on the data directory while this
// server has its state open. A server without that is better than none.
//
// The socket is there when it returns: commands that come next find it.
func (s Server) control(ctx context.Context, store *state.Store, operator http.Handler) service.Service {
	c := local.Control{
		Operator: operator,
		Backup: func(ctx context.Context, w io.Writer) error {
			_, err := backup.Write(ctx, store.Space, w)
			return err
		},
		NewToken: func(ctx context.Context) (string, error) {
			token, err := replaceToken(ctx, store)
			if err == nil {
				s.Log.Info("admin token replaced; the old token and all sessions are revoked")
			}
			return token, err
		},
	}
	l, err := local.Listen(ctx, s.State.DataDir)
	return service.Func(func(ctx context.Context) error {
		if err == nil {
			err = c.ServeOn(ctx, l)
		}
		if ctx.Err() == nil {
			s.Log.Warn("cannot open the control socket: commands on this host need the admin token, and gild state backup and gild token "+
				"new do not work while this server runs", "err", err)
		}
		<-ctx.Done()
		return ctx.Err()
	})
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
