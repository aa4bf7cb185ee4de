package server

import (
	"testing"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/state/etcd"
)

// newMachines are machines with a state of their own, and no server.
func newMachines(t *testing.T) *machines.Core {
	t.Helper()
	db, err := etcd.Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &machines.Core{
		Store:  machines.NewStore(db.Client(), ""),
		Images: machinestest.OneImage{Digest: golden.DigestOf([]byte("manifest"))},
	}
}
