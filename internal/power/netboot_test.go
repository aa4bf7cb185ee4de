package power_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/power"
)

func TestNetboot(t *testing.T) {
	const boot = "boot network"
	for name, tt := range map[string]struct {
		machine played
		comes   string // the command after which the machine is seen
		deaf    bool   // its system takes no notice of an orderly shutdown
		did     []string
		kind    power.Kind
	}{
		"off":            {machine: played{state: power.Off, lag: time.Second}, comes: "on", did: []string{boot, "on"}},
		"orderly":        {machine: played{state: power.On, lag: 30 * time.Second}, comes: "on", did: []string{"shutdown", boot, "on"}},
		"deaf":           {machine: played{state: power.On}, deaf: true, comes: "reset", did: []string{"shutdown", boot, "reset"}},
		"not by a reset": {machine: played{state: power.On}, deaf: true, comes: "cycle", did: []string{"shutdown", boot, "reset", boot, "cycle"}},
		"never": {
			machine: played{state: power.On}, comes: "never",
			did: []string{"shutdown", boot, "on", boot, "reset", boot, "cycle"}, kind: power.Unconfirmed,
		},
		"blind":  {machine: played{blind: true}, comes: "on", did: []string{boot, "on"}},
		"denied": {machine: played{statErr: power.Fail(power.Denied, "login", nil)}, comes: "on", kind: power.Denied},
		"hangs":  {machine: played{hangs: true}, comes: "on", kind: power.Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &deaf{played: tt.machine, deaf: tt.deaf}
				n := power.Netboot{Shutdown: 2 * time.Minute, Boot: 4 * time.Minute, Came: func(ctx context.Context) error {
					if len(m.did) > 0 && m.did[len(m.did)-1] == tt.comes {
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				}}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
				defer cancel()
				err := n.Do(ctx, m)
				if !slices.Equal(m.did, tt.did) || (err == nil) != (tt.kind == "") || err != nil && !errors.Is(err, tt.kind) {
					t.Errorf("Do = %v, by %q; want %q, by %q", err, m.did, tt.kind, tt.did)
				}
			})
		})
	}
}

// deaf is a machine whose system may take no notice of a shutdown.
type deaf struct {
	played
	deaf bool
}

func (d *deaf) Off(ctx context.Context, orderly bool) error {
	if d.deaf && orderly {
		return d.command(ctx, "shutdown", "")
	}
	return d.played.Off(ctx, orderly)
}
