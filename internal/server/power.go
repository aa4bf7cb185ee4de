package server

import (
	"context"
	"path/filepath"

	"github.com/gild-dev/gild/internal/server/bmc"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/sealed"
)

// Programs is the directory below a server's data directory with what the power
// driver command runs. It is the operator's, on this host: who may only use the
// API does not decide which programs there are.
func Programs(dataDir string) string { return filepath.Join(dataDir, "power-commands") }

// powers is what controls the power of the machines.
func (s Server) powers(ctx context.Context, m *machines.Core) (*bmc.Room, error) {
	box, err := sealed.Open(ctx, m.Store.Space, s.State.DataDir)
	if err != nil {
		return nil, err
	}
	return &bmc.Room{
		Store: m.Store, Secrets: box, Programs: Programs(s.State.DataDir), CA: s.BMCCA, Log: s.Log,
		Find: func(ctx context.Context, spelling string) (string, error) {
			found, err := m.Operators().Machine(ctx, spelling)
			return found.ID, err
		},
	}, nil
}
