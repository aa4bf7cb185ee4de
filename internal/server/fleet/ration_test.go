package fleet_test

import (
	"slices"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/history"
)

// However much a machine tells, what is kept of it is bounded in time, and what
// operators and the server did, and receipts, are all there.
func TestRation(t *testing.T) {
	var m fleet.Record
	said := func(n int) []api.Event {
		return slices.Repeat([]api.Event{{Actor: api.ActorAgent, Step: "x", State: api.StateDone}}, n)
	}
	count := func(events []api.Event) (told, rest int) {
		for _, e := range events {
			if e.Audited() {
				rest++
			} else {
				told++
			}
		}
		return told, rest
	}
	own := []api.Event{
		{Actor: api.ActorOperator, Step: fleet.StepArm},
		{Actor: "operator:ci", Step: fleet.StepArm},
		{Actor: api.ActorServer, Step: fleet.StepStuck},
		{Actor: api.ActorAgent, Step: "seal", Receipt: &api.Receipt{}},
	}
	told, rest := count(fleet.Ration(&m, slices.Concat(said(1000), own), at(0)))
	if told != fleet.RationBurst || rest != len(own)+1 {
		t.Errorf("of 1000 at once %d were kept, of %d others %d; want %d, and all with a word of it", told, len(own), rest, fleet.RationBurst)
	}
	if told, rest = count(fleet.Ration(&m, slices.Concat(said(1000), own), at(0))); told != 0 || rest != len(own) {
		t.Errorf("of 1000 more %d were kept, of others %d; want none, and %d", told, rest, len(own))
	}
	change := api.Event{Actor: api.ActorAgent, Step: "flash", State: api.StateFailed, To: api.MachineFailed}
	if told, _ = count(fleet.Ration(&m, []api.Event{change}, at(0))); told != 1 {
		t.Error("a change of state was lost in chatter")
	}
	if told, _ = count(fleet.Ration(&m, slices.Repeat([]api.Event{change}, 1000), at(0))); told >= fleet.RationBurst {
		t.Errorf("%d changes of state were kept at once; want them bounded", told)
	}
	// Told how many, once, and from then on as before.
	m.State = api.MachineFlashing
	if fleet.Due(m, at(10), time.Time{}) {
		t.Error("told how many were dropped while it still goes on")
	}
	dropped := m.Rationed.Dropped
	calm := m.Rationed.Full
	if events := fleet.Sweep(&m, calm, time.Time{}); len(events) != 1 || m.Rationed.Dropped != 0 || dropped < 1700 {
		t.Errorf("Sweep after it = %v, dropped %d; want told once", events, dropped)
	}
	if events := fleet.Sweep(&m, calm, time.Time{}); len(events) != 0 {
		t.Errorf("Sweep again = %v; want nothing", events)
	}
	// A machine that tells one each second is never cut.
	for i := range 2000 {
		if told, _ := count(fleet.Ration(&m, said(1), calm.Add(time.Duration(i)*time.Second))); told != 1 {
			t.Fatalf("event %d of a slow machine was dropped", i)
		}
	}
}

// To whom an identity went, and that it changed hands, is kept however much is
// told before it: a host that takes a machine over could hide it in chatter.
func TestRationKeepsWhoHasTheIdentity(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	s.m.Armed.Plan.Identity = "x"
	kept := func(events []api.Event, sec int) []api.Event { return fleet.Ration(&s.m, events, at(sec)) }
	given := func(session string, sec int) []api.Event {
		events, err := fleet.GiveIdentity(&s.m, api.IdentityRequest{Session: session, MAC: mac, Plan: "p1"}, at(sec))
		if err != nil {
			t.Fatal(err)
		}
		return kept(events, sec)
	}
	s.hello(1, "s1", api.ActionFlash)
	if got := given("s1", 1); len(got) != 1 {
		t.Errorf("events of the first identity = %+v; want one", got)
	}
	kept(slices.Repeat([]api.Event{{Actor: api.ActorAgent, Step: "x", State: api.StateDone}}, 1000), 100)
	_, events := fleet.Hello(&s.m, hello("s2"), "192.0.2.66", false, at(100))
	if !slices.ContainsFunc(kept(events, 100), func(e api.Event) bool { return e.Cause == api.CauseSession }) {
		t.Error("that another agent took over was lost in chatter")
	}
	if got := given("s2", 100); len(got) != 1 {
		t.Errorf("events of the second identity = %+v; want one", got)
	}
}

// Phases have the times at which they were, whatever the agent's clock says and
// however late it tells of them.
func TestPhasesOfALateAgent(t *testing.T) {
	told := func(seq uint64, uptime float64, step, state string, sec int) api.Event {
		return api.Event{
			Actor: api.ActorAgent, Seq: seq, Plan: "p1", Uptime: uptime, Step: step, State: state, Time: at(sec),
			Sent: time.Unix(0, 0),
		}
	}
	events := []api.Event{
		{Actor: api.ActorOperator, Step: fleet.StepArm, To: api.MachineArmed, Plan: "p1", Time: at(0)},
		told(1, 1, "network", api.StateStart, 109), // all come when the network is up
		told(2, 6, "network", api.StateDone, 109),
		told(3, 6.5, "flash", api.StateStart, 109),
		told(4, 19, "flash", api.StateDone, 119),
		told(1, 2, "network", api.StateStart, 208), // another boot
		told(2, 8, "network", api.StateDone, 208),
		told(3, 1e300, "odd", api.StateDone, 300),
	}
	phases := history.Flashes(events)[0].Phases
	for i, want := range []struct {
		step       string
		start, end float64
	}{{"network", 101, 106}, {"flash", 106.5, 119}, {"network", 202, 208}, {"odd", 300, 300}} {
		p := phases[i]
		if p.Step != want.step || p.Start.Sub(at(0)).Seconds() != want.start || p.End.Sub(at(0)).Seconds() != want.end {
			t.Errorf("phase %d = %+v; want %+v", i, p, want)
		}
	}
}
