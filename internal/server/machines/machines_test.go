package machines

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/settings"
)

func newMachines(t *testing.T) *Core {
	t.Helper()
	db, err := etcd.Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &Core{
		Store:  state.New(keys.Space{Client: db.Client(), Prefix: "/gild/"}, fleet.Labels, fleet.KeptEvents),
		Images: machinestest.OneImage{Digest: golden.DigestOf([]byte("manifest"))},
	}
}

// A rack that gets its power back at once: each machine has two agents that
// both want its plan, and one gets it.
func TestHerd(t *testing.T) {
	s := newMachines(t)
	const n = 300
	address := func(i int) string { return fmt.Sprintf("52:54:00:01:%02x:%02x", i/256, i%256) }
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := s.Operators().Flash(t.Context(), "", address(i), machinestest.Flash("debian")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	var mu sync.Mutex
	plans := map[string]int{}
	var slowest time.Duration
	for i := range n {
		for _, session := range []string{"a", "b"} {
			wg.Go(func() {
				began := time.Now()
				a, err := s.Agents().Hello(t.Context(), api.Hello{Version: api.Version, Session: session, Inventory: api.Inventory{MAC: address(i)}},
					"")
				mu.Lock()
				defer mu.Unlock()
				slowest = max(slowest, time.Since(began))
				if err != nil {
					t.Error(err)
				} else if a.Plan != nil {
					plans[a.Plan.ID]++
				}
			})
		}
	}
	wg.Wait()
	t.Logf("slowest of %d answers at once: %v", 2*n, slowest)
	if len(plans) != n {
		t.Errorf("%d plans were given; want %d", len(plans), n)
	}
	for id, count := range plans {
		if count != 1 {
			t.Errorf("plan %s was given to %d agents; want 1", id, count)
		}
	}
}

func TestLeasesOfStrangersAreNotRecorded(t *testing.T) {
	s := newMachines(t)
	seen := func(source fleet.Source, want int) {
		t.Helper()
		if err := s.Agents().Seen(t.Context(), fleet.Sighting{MAC: mac, Source: source, Message: "leased 192.0.2.5"}); err != nil {
			t.Fatal(err)
		}
		if machines, err := s.Operators().Machines(t.Context(), ""); err != nil || len(machines) != want {
			t.Fatalf("after a sighting of kind %d: %d machines, %v; want %d", source, len(machines), err, want)
		}
	}
	seen(fleet.FromOther, 0)
	seen(fleet.FromFirmware, 1)
	seen(fleet.FromOther, 1)
}

// A machine claims the card of another one: each gets the plan that it is armed
// with itself, by the address that it uses.
func TestClaimedCardLeadsNowhere(t *testing.T) {
	s := newMachines(t)
	const other = "52:54:00:00:00:02"
	plans := map[string]string{}
	for _, m := range []string{mac, other} {
		armed, err := s.Operators().Flash(t.Context(), "", m, machinestest.Flash("debian"))
		if err != nil {
			t.Fatal(err)
		}
		plans[m] = armed.Armed.Plan.ID
	}
	for _, own := range []string{mac, other} {
		h := api.Hello{
			Version: api.Version, Session: "s" + own[15:],
			Inventory: api.Inventory{MAC: own, NICs: []api.NIC{{MAC: mac}, {MAC: other}}},
		}
		if a, err := s.Agents().Hello(t.Context(), h, ""); err != nil || a.Plan == nil || a.Plan.ID != plans[own] {
			t.Errorf("Hello by %s = %+v, %v; want plan %s", own, a, err, plans[own])
		}
	}
}

func TestLapsedArmIsNotShown(t *testing.T) {
	s := newMachines(t)
	now := time.Now()
	s.Now = func() time.Time { return now }
	if _, err := s.Operators().Flash(t.Context(), "", mac, api.FlashRequest{
		Settings: settings.Settings{Image: "debian"}, Unseen: true,
		Expires: 60,
	}); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Minute)
	if m, err := s.Operators().Machine(t.Context(), mac); err != nil || m.Armed != nil || m.State != api.MachineRegistered {
		t.Errorf("Machine after the arm lapsed = %+v, %v; want it registered", m, err)
	}
}
