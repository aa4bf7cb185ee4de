package bmc

import (
	"context"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/backoff"
	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// verbNetboot is a verb of operators that no driver has.
const verbNetboot power.Verb = api.PowerNetboot

// Times of a machine that is to boot from the network.
const (
	netbootShutdown = 2 * time.Minute
	netbootBoot     = 5 * time.Minute // servers test their memory
	netbootWithin   = 25 * time.Minute
	netbootLook     = time.Second
)

// netboot has a machine that is armed boot from the network now. One whose
// agent waits is there already, and is not touched.
func (r *Room) netboot(ctx context.Context, m *fleet.Record) (power.State, error) {
	if m.Armed == nil {
		return power.Unknown, &fleet.ConflictError{
			Problem: "it is not armed, and would boot its disk again", Help: "arm it: gild flash " + fleet.Called(m) + " --now",
		}
	}
	if m.Waiting {
		return power.On, nil
	}
	driver, err := r.driver(ctx, m)
	if err != nil {
		return power.Unknown, err
	}
	ctx, cancel := context.WithTimeout(ctx, netbootWithin)
	defer cancel()
	since := r.now()
	n := power.Netboot{Legacy: legacy(m), Shutdown: netbootShutdown, Boot: netbootBoot, Came: func(ctx context.Context) error {
		return r.came(ctx, m.ID, since)
	}}
	if err := n.Do(ctx, driver); err != nil {
		return power.Unknown, err
	}
	return power.On, nil
}

// came waits until firmware of a machine has shown itself, or its flash has
// begun.
func (r *Room) came(ctx context.Context, id string, since time.Time) error {
	for {
		m, err := r.Store.Get(ctx, id)
		if err == nil && (m.FirmwareSeen.After(since) || m.State != api.MachineArmed) {
			return nil
		}
		if err := backoff.Sleep(ctx, netbootLook); err != nil {
			return err
		}
	}
}
