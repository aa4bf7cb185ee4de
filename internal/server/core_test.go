package server

import (
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/state"
)

// newMachines are machines with a state of their own, and no server.
func newMachines(t *testing.T) *machines.Core {
	t.Helper()
	db, err := state.Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &machines.Core{
		Store:  machines.NewStore(db.Client(), ""),
		Images: oneImage{golden.DigestOf([]byte("manifest"))},
	}
}

func hello(session, mac string) api.Hello {
	return api.Hello{Version: api.Version, Session: session, Inventory: api.Inventory{
		MAC: mac, UUID: "4c4c4544-0051-3510-8052-b4c04f4a4c32", Serial: "X7", Kernel: "6.1", Arch: "amd64", NICs: []api.NIC{{MAC: mac}},
	}}
}
