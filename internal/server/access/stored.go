package access

import (
	"context"

	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/docs"
)

// Stored keeps who may enter as one document of state, so that every
// server of a cluster lets the same people in.
type Stored struct{ State *state.Store }

var _ Store = Stored{}

const (
	accessKind = "secret"
	accessName = "admin-token"
)

// LoadAccess reads the document.
func (a Stored) LoadAccess(ctx context.Context) (Access, error) {
	var access Access
	_, err := docs.Get(ctx, a.State.Space, accessKind, accessName, &access)
	return access, err
}

// ChangeAccess changes the document in one transaction.
func (a Stored) ChangeAccess(ctx context.Context, change func(*Access)) error {
	_, err := docs.Update(ctx, a.State.Space, accessKind, accessName, func(access *Access) error {
		change(access)
		return nil
	})
	return err
}
