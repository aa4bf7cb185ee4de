package state_test

import (
	"testing"

	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/storetest"
)

// open starts an etcd for the test.
func open(t *testing.T) *state.Store {
	t.Helper()
	e, err := etcd.Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, storetest.NICs, nil)
}

func TestStore(t *testing.T) { storetest.Run(t, open(t)) }
