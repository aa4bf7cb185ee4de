package bootca

import (
	"context"
	"fmt"

	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/docs"
)

// The document of state that holds the CA.
const (
	kind = "secret"
	name = "boot-ca"
)

// DamagedError says that the state's CA cannot be used.
type DamagedError struct{ Err error }

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the state's boot CA is damaged: %v", e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// Load reads the CA of a state, and makes it at the first start. Of several
// servers that start together one makes it, and the others take that.
func Load(ctx context.Context, store *state.Store) (*CA, error) {
	var kept Stored
	found, err := docs.Get(ctx, store.Space, kind, name, &kept)
	if err != nil {
		return nil, err
	}
	if !found {
		if kept, err = New(); err != nil {
			return nil, err
		}
		made, err := docs.Create(ctx, store.Space, kind, name, kept)
		if err != nil {
			return nil, err
		}
		if !made {
			kept = Stored{}
			if _, err := docs.Get(ctx, store.Space, kind, name, &kept); err != nil {
				return nil, err
			}
		}
	}
	ca, err := kept.Open()
	if err != nil {
		return nil, &DamagedError{err}
	}
	return ca, nil
}
