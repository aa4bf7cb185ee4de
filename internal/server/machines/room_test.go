package machines

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/settings"
)

// withRoom runs what follows the machines beside the test.
func withRoom(t *testing.T, s *Core) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { _ = s.Upkeep().followRoom(ctx) })
	t.Cleanup(func() { cancel(); done.Wait() })
	for _, running := s.room.bell("x"); !running; _, running = s.room.bell("x") {
		time.Sleep(time.Millisecond)
	}
}

// A machine that is restarted in mid-flash: its PXE ROM is seen by DHCP, iPXE
// asks for its script, and a new agent says hello. It continues as soon as the
// old agent was silent for two heartbeats.
func TestRestartInMidFlash(t *testing.T) {
	s := newMachines(t)
	now := time.Now()
	s.Now = func() time.Time { return now }
	tick := func() { now = now.Add(time.Second) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Operators().Flash(t.Context(), "", mac, machinestest.Flash("debian"))
	must(err)
	begin := func(session string) {
		t.Helper()
		must(s.Agents().Seen(t.Context(), fleet.Sighting{MAC: mac, Source: fleet.FromFirmware, Message: "DHCP"}))
		tick()
		d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: mac, UUID: "4c4c4544-0051-3510-8052-b4c04f4a4c32", Serial: "X7"}, "")
		must(err)
		if d.Image == nil {
			t.Fatalf("Boot = %+v; want the agent", d)
		}
		tick()
		// The agent's own lease, and what it has to tell before it asks.
		must(s.Agents().Seen(t.Context(), fleet.Sighting{MAC: mac, Source: fleet.FromOther, Message: "leased"}))
		early := api.Report{Session: session, MAC: mac, Events: []api.Event{{Seq: 1, Time: now, Step: "network", State: api.StateDone}}}
		if _, ok := errors.AsType[*fleet.EarlyError](s.Agents().Report(t.Context(), early, "")); !ok {
			t.Errorf("a report before the hello was not refused as early")
		}
		tick()
		a, err := s.Agents().Hello(t.Context(), machinestest.Hello(session, mac), "192.0.2.9")
		must(err)
		if first := session == "s1"; first != (a.Plan != nil) {
			t.Fatalf("Hello of %s = %+v; want the plan at once only for the first", session, a)
		} else if !first {
			now = now.Add(2 * api.HeartbeatEvery * time.Second)
			a, err = s.Agents().Hello(t.Context(), machinestest.Hello(session, mac), "192.0.2.9")
			must(err)
			if a.Plan == nil {
				t.Fatalf("Hello of %s = %+v; want the plan after two heartbeats of silence", session, a)
			}
		}
		must(s.Agents().Report(t.Context(), early, ""))
		tick()
		must(s.Agents().Report(t.Context(), api.Report{
			Session: session, MAC: mac, Plan: a.Plan.ID,
			Events: []api.Event{{Seq: 2, Time: now, Step: fleet.StepFlash, State: api.StateStart}},
		}, ""))
		tick()
	}
	begin("s1")
	begin("s2")
	begin("s3")
}

func TestRegisteredByUUIDIsJoined(t *testing.T) {
	s := newMachines(t)
	m, err := s.Operators().Register(t.Context(), "", api.Spec{Name: "b7", UUID: "44454C4C-5100-1035-8052-B4C04F4A4C32"})
	if err == nil {
		// A server of the cluster that has not heard of it yet notes the machine.
		_, err = s.Store.Update(t.Context(), mac, func(m *fleet.Record) ([]api.Event, error) {
			return fleet.Seen(m, fleet.Sighting{MAC: mac, UUID: "4c4c4544-0051-3510-8052-b4c04f4a4c32", Source: fleet.FromFirmware, Message: "DHCP"},
				s.now()), nil
		})
	}
	if err != nil || m.State != api.MachineRegistered || m.MAC != "" {
		t.Fatalf("Register = %+v, %v", m, err)
	}
	if _, err := s.Operators().Flash(t.Context(), "", "b7", api.FlashRequest{Settings: settings.Settings{Image: "debian"}}); err != nil {
		t.Fatal(err)
	}
	d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: mac, UUID: "4c4c4544-0051-3510-8052-b4c04f4a4c32"}, "")
	if err != nil || d.Image == nil || d.ID != m.ID {
		t.Fatalf("Boot = %+v, %v; want the image of %s", d, err, m.ID)
	}
	list, err := s.Operators().Machines(t.Context(), "name=b7")
	if err != nil || len(list) != 1 || list[0].MAC != mac {
		t.Errorf("Machines = %+v, %v; want one record", list, err)
	}
	for _, spelling := range []string{"B7", "52-54-00-00-00-01", m.ID, "4C4C4544-0051-3510-8052-B4C04F4A4C32"} {
		if got, err := s.Operators().Machine(t.Context(), spelling); err != nil || got.ID != m.ID {
			t.Errorf("Machine(%q) = %s, %v; want %s", spelling, got.ID, err, m.ID)
		}
	}
	if _, err := s.Operators().Register(t.Context(), "", api.Spec{Name: "b7", MACs: []string{"52:54:00:00:00:09"}}); err == nil {
		t.Error("a name was given twice")
	}
	events, _ := s.Operators().Events(t.Context(), "b7")
	if !strings.Contains(fmt.Sprint(events), "joined with the machine seen as "+mac) {
		t.Errorf("events = %+v; want the join", events)
	}
}

// Four hundred agents wait: they cost nothing, and the one that is armed
// hears of it at once.
func TestWaitingAgents(t *testing.T) {
	s := newMachines(t)
	s.Discover = "debian"
	withRoom(t, s)
	const n = 400
	address := func(i int) string { return fmt.Sprintf("52:54:00:02:%02x:%02x", i/256, i%256) }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answers := make(chan api.Answer, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			h := machinestest.Hello(fmt.Sprintf("s%d", i), address(i))
			h.Inventory.UUID, h.Inventory.Serial = "", ""
			if a, err := s.Agents().Hello(ctx, h, "192.0.2.9"); err == nil {
				answers <- a
			}
		})
	}
	waiting := func() (n int) {
		for _, m := range s.room.all() {
			if m.Waiting {
				n++
			}
		}
		return n
	}
	for waiting() < n && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	_, rev, _ := s.Store.List(ctx)
	began := time.Now()
	if _, err := s.Operators().Flash(ctx, "", address(7), api.FlashRequest{Settings: settings.Settings{Image: "debian"}}); err != nil {
		t.Fatal(err)
	}
	if a := <-answers; a.Plan == nil {
		t.Errorf("answer = %+v; want the plan", a)
	}
	t.Logf("from the arm to the plan: %v", time.Since(began))
	if _, now, _ := s.Store.List(ctx); now-rev > 5 {
		t.Errorf("%d changes of the store for one arm among %d waiting agents; want about two", now-rev, n)
	}
	cancel()
	all.Wait()
}

func TestSweepAndSamples(t *testing.T) {
	s := newMachines(t)
	var clock sync.Mutex
	now := time.Now()
	s.Now = func() time.Time { clock.Lock(); defer clock.Unlock(); return now }
	withRoom(t, s)
	m, err := s.Operators().Flash(t.Context(), "", mac, machinestest.Flash("debian"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Agents().Hello(t.Context(), machinestest.Hello("s1", mac), ""); err != nil {
		t.Fatal(err)
	}
	p := &api.Progress{Phase: "write", Done: 5, Total: 10, Rate: 1}
	err = s.Agents().Report(t.Context(), api.Report{
		Session: "s1", MAC: mac, Plan: m.Armed.Plan.ID,
		Events: []api.Event{{Seq: 1, Time: now, Step: fleet.StepFlash, State: api.StateProgress, Progress: p}},
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		flashes, err := s.Operators().Flashes(t.Context(), mac)
		if err == nil && len(flashes) == 1 && len(flashes[0].Samples) == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("Flashes = %+v, %v; want one with a sample", flashes, err)
		}
	}
	clock.Lock()
	now = now.Add(26 * time.Second)
	clock.Unlock()
	for range 2 {
		if err := s.Upkeep().sweepOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if m, _ := s.Operators().Machine(t.Context(), mac); m.Stuck.IsZero() {
		t.Error("a silent agent is not shown as stuck")
	}
	if log, err := s.Operators().Log(t.Context(), 1, false); err != nil || len(log) != 1 || log[0].Event.Step != fleet.StepStuck {
		t.Errorf("Log = %+v, %v; want that it is stuck, once", log, err)
	}
}
