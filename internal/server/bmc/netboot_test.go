package bmc

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// booting is a machine that shows itself on the network once it is switched on.
type booting struct {
	played
	show func()
}

func (b *booting) On(ctx context.Context) error {
	err := b.played.On(ctx)
	b.show()
	return err
}

// Only what is armed is booted from the network, and what waits there already
// is left alone.
func TestNetboot(t *testing.T) {
	w := begin(t)
	drivers := map[string]*booting{}
	w.Open = func(_ context.Context, m *fleet.Record) (power.Driver, error) { return drivers[m.Spec.Name], nil }
	change := func(i int, do func(m *fleet.Record)) {
		t.Helper()
		_, err := w.Store.Update(context.WithoutCancel(t.Context()), mac(i), func(m *fleet.Record) ([]api.Event, error) {
			do(m)
			return nil, nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	for i, name := range []string{"web-0", "web-1", "web-2"} {
		w.add(t, i, api.Power{Driver: api.PowerWOL})
		drivers[name] = &booting{played: played{on: true}, show: func() {
			change(i, func(m *fleet.Record) { m.FirmwareSeen = time.Now() })
		}}
	}
	for _, i := range []int{0, 2} {
		change(i, func(m *fleet.Record) { m.Armed, m.State, m.Waiting = &fleet.Armed{}, api.MachineArmed, i == 2 })
	}
	got := w.ask(t, api.PowerRequest{Verb: api.PowerNetboot, Machines: []string{"web-0", "web-1", "web-2"}})
	for name, want := range map[string]struct {
		done bool
		did  []string
	}{
		"web-0": {true, []string{"off", "boot network legacy=false", "on"}}, "web-1": {false, nil}, "web-2": {true, nil},
	} {
		if o := got[name]; o.Done != want.done || !slices.Equal(drivers[name].did, want.did) {
			t.Errorf("%s: %+v, and it saw %q; want %q", name, o, drivers[name].did, want.did)
		}
	}
	if o := got["web-1"]; o.Kind != kindRefused || o.Hint == "" {
		t.Errorf("one that is not armed: %+v; want it refused, and what to do", o)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.came(ctx, mac(0), time.Now()); !errors.Is(err, context.Canceled) {
		t.Errorf("came of one that does not come = %v", err)
	}
}
