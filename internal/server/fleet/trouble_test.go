package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/history"
	"github.com/gild-dev/gild/internal/server/fleet/view"
	"github.com/gild-dev/gild/internal/settings"
)

func failure(seq uint64, step, cause string, retry int) api.Event {
	e := event(seq, step, api.StateFailed)
	e.Cause, e.Message, e.Retry = cause, "why "+cause, retry
	return e
}

func progressed(seq uint64, phase string, done int64) api.Event {
	e := event(seq, fleet.StepFlash, api.StateProgress)
	e.Progress = &api.Progress{Phase: phase, Done: done, Total: 100, Rate: 7}
	return e
}

// atWork is a machine whose agent has its plan since 10 s.
func atWork(t *testing.T) *script {
	t.Helper()
	s := newScript(t)
	s.arm(0, "p1")
	s.boot(1, true)
	s.hello(10, "s1", api.ActionFlash)
	return s
}

// trouble fails unless operators see this at a time; empty: none.
func (s *script) trouble(sec int, cause string, tries int) *api.Trouble {
	s.t.Helper()
	tr := view.Machine(s.m, view.Operator, at(sec), time.Time{}).Trouble
	switch {
	case tr == nil && cause == "":
	case tr == nil || tr.Cause != cause || tr.Tries != tries:
		s.t.Fatalf("trouble at %d s = %+v; want %q, %d tries", sec, tr, cause, tries)
	}
	return tr
}

// What fails again and again is one trouble, which stands from the first
// failure until the step is over, and moves no state.
func TestTroubleCountsTries(t *testing.T) {
	s := atWork(t)
	seq := uint64(0)
	say := func(sec int, e api.Event) {
		t.Helper()
		seq++
		e.Seq = seq
		s.report(sec, true, report("s1", "p1", e))
	}
	for try := range 7 {
		sec := 20 + 30*try
		s.hello(sec, "s1", api.ActionFlash)
		for _, step := range []string{"plan", "image"} {
			say(sec, event(0, step, api.StateStart))
			say(sec, event(0, step, api.StateDone))
		}
		say(sec+1, event(0, "disk", api.StateStart))
		say(sec+2, failure(0, "disk", api.CauseDiskTooSmall, 20))
		s.state(api.MachineFlashing)
		s.trouble(sec+2, api.CauseDiskTooSmall, try+1)
	}
	tr := s.trouble(203, api.CauseDiskTooSmall, 7)
	if !tr.Since.Equal(at(22)) || !tr.NextTry.Equal(at(222)) || tr.Course(at(202)) != "tried 7 times since 12:00:22 UTC, next in 20 s" {
		t.Errorf("trouble = %+v: %s", tr, tr.Course(at(202)))
	}
	say(222, event(0, "plan", api.StateStart))
	if tr := s.trouble(222, api.CauseDiskTooSmall, 7); !tr.NextTry.IsZero() || tr.Course(at(222)) != "tried 7 times since 12:00:22 UTC" {
		t.Errorf("while it is tried: %+v: %s", tr, tr.Course(at(222)))
	}
	say(223, event(0, "disk", api.StateDone))
	s.trouble(223, "", 0)
}

// A flash that fails on its way is in trouble until it comes farther than it
// did, however often what is right already is written past.
func TestTroubleEndsFarther(t *testing.T) {
	s := atWork(t)
	seq := uint64(0)
	say := func(sec int, e api.Event) {
		t.Helper()
		seq++
		e.Seq = seq
		s.report(sec, true, report("s1", "p1", e))
	}
	say(11, event(0, fleet.StepFlash, api.StateStart))
	say(12, progressed(0, "write", 50))
	say(13, failure(0, fleet.StepFlash, api.CauseDiskError, 5))
	say(18, event(0, fleet.StepFlash, api.StateStart))
	say(19, progressed(0, "scan", 90))
	say(20, progressed(0, "write", 40))
	s.trouble(20, api.CauseDiskError, 1)
	say(21, failure(0, fleet.StepFlash, api.CauseDiskError, 5))
	say(27, progressed(0, "write", 45))
	s.trouble(27, api.CauseDiskError, 2)
	say(28, progressed(0, "write", 51))
	s.trouble(28, "", 0)
	say(29, progressed(0, "read back", 10))
	say(30, failure(0, fleet.StepFlash, api.CauseUnreachable, 5))
	say(36, progressed(0, "write", 99))
	s.trouble(36, api.CauseUnreachable, 1)
	say(37, progressed(0, "read back", 11))
	s.trouble(37, "", 0)
}

// What an agent failed at while it waited, or before its machine was armed, is
// kept and says nothing of the flash.
func TestTroubleNeedsAnArm(t *testing.T) {
	m := fleet.Record{ID: mac, MAC: mac, Spec: api.Spec{Name: "web-15", MACs: []string{mac}}}
	fleet.Hello(&m, hello("s1"), "192.0.2.9", true, at(0))
	m.Waiting, m.State = true, api.MachineRegistered
	s := &script{t, m}
	if kept := s.report(1, true, report("s1", "", failure(1, "plan", api.CauseUnreachable, 5),
		failure(2, "plan", api.CausePlan, 5))); len(kept) != 2 {
		t.Errorf("kept %v; want both failures", kept)
	}
	s.trouble(1, "", 0)
	if v := view.Machine(s.m, view.Operator, at(1), time.Time{}); v.Message != fleet.WaitsMessage || !v.Waiting ||
		v.State != api.MachineRegistered {
		t.Errorf("View = %+v; want a machine that waits", v)
	}
	s.arm(2, "p1")
	s.hello(3, "s1", api.ActionFlash)
	if kept := s.report(4, true, report("s1", "", failure(3, "plan", api.CausePlan, 5))); len(kept) != 1 {
		t.Errorf("kept %v; want the failure from before the arm", kept)
	}
	s.trouble(4, "", 0)
	s.state(api.MachineFlashing)
}

// An agent that waits and is gone is no trouble: nobody needs it.
func TestSilentWhileWaiting(t *testing.T) {
	m := fleet.Record{
		ID: mac, MAC: mac, State: api.MachineRegistered, Spec: api.Spec{MACs: []string{mac}}, Waiting: true, Session: "s1",
		AgentSeen: at(0),
	}
	for _, e := range fleet.Sweep(&m, at(600), time.Time{}) {
		if e.State == api.StateFailed {
			t.Errorf("noted %+v; want no failure", e)
		}
	}
	if v := view.Machine(m, view.Operator, at(600), time.Time{}); v.Trouble != nil || v.Waiting || !v.Stuck.IsZero() {
		t.Errorf("View = %+v; want a machine at rest", v)
	}
	if a, _ := fleet.Hello(&m, hello("s1"), "192.0.2.9", false, at(601)); a.Action != api.ActionWait ||
		!view.Machine(m, view.Operator, at(601), time.Time{}).Waiting {
		t.Errorf("Hello = %+v; want it to wait on", a)
	}
}

// A server that was away for an hour has heard nobody: that is not their
// silence, and they are given time to speak again.
func TestServerThatWasAway(t *testing.T) {
	const back = 3600
	flashing := atWork(t)
	waits := &script{t, fleet.Record{
		ID: mac, MAC: mac, State: api.MachineRegistered, Spec: api.Spec{MACs: []string{mac}}, Waiting: true,
		Session: "s1", AgentSeen: at(0),
	}}
	booting := newScript(t)
	booting.arm(0, "p1")
	booting.boot(1, true)
	called := flashed(t, "switch_root", settings.Confirm{Within: 60}, "tok")
	for name, s := range map[string]*script{"flashing": flashing, "waiting": waits, "booting": booting, "confirming": called} {
		before := s.m.State
		if events := fleet.Sweep(&s.m, at(back+1), at(back)); len(events) != 0 ||
			view.Machine(s.m, view.Operator, at(back+1), at(back)).Trouble != nil {
			t.Errorf("%s: noted %+v when the server came back; want nothing", name, events)
		}
		s.state(before)
	}
	for name, s := range map[string]*script{"flashing": flashing, "booting": booting, "confirming": called} {
		fleet.Sweep(&s.m, at(back+600), at(back))
		if view.Machine(s.m, view.Operator, at(back+600), at(back)).Trouble == nil {
			t.Errorf("%s: no trouble after ten minutes of silence", name)
		}
	}
}

// What nobody hears of, or rests, has no rate.
func TestNoRateOfTheSilent(t *testing.T) {
	s := atWork(t)
	s.report(11, true, report("s1", "p1", event(1, fleet.StepFlash, api.StateStart), progressed(2, "write", 10)))
	rate := func(sec int) float64 { return view.Machine(s.m, view.Operator, at(sec), time.Time{}).Progress.Rate }
	if rate(12) == 0 || rate(22) == 0 || rate(24) != 0 || rate(90) != 0 {
		t.Errorf("rate is %v after a second, %v after a heartbeat, %v after two", rate(12), rate(22), rate(24))
	}
	s.report(25, true, report("s1", "p1", failure(3, fleet.StepFlash, api.CauseDiskError, 20)))
	if rate(26) != 0 || s.m.Progress.Rate == 0 {
		t.Errorf("rate is %v between two tries", rate(26))
	}
}

// An arm that is cancelled or lapses before the machine boots by it leaves it
// as it was, also when another arm took its place.
func TestUnusedArm(t *testing.T) {
	for name, end := range map[string]func(m *fleet.Record){
		"cancelled": func(m *fleet.Record) { _, _ = fleet.Cancel(m, "", false, at(110)) },
		"lapsed":    func(m *fleet.Record) { fleet.Sweep(m, at(110), time.Time{}) },
		"replaced": func(m *fleet.Record) {
			_, _ = fleet.Arm(m, fleet.Armed{Plan: plan("p3")}, at(105))
			_, _ = fleet.Cancel(m, "", false, at(110))
		},
	} {
		for _, state := range []string{api.MachineRunning, api.MachineUnconfirmed, api.MachineHandingOff, api.MachineFailed} {
			within := 600
			if state == api.MachineUnconfirmed {
				within = 60
			}
			s := flashed(t, "switch_root", settings.Confirm{Within: within, Boots: 1}, "tok")
			switch state {
			case api.MachineRunning:
				s.beacon(30, "tok", true)
			case api.MachineUnconfirmed:
				fleet.Sweep(&s.m, at(90), time.Time{})
			case api.MachineFailed:
				s.boot(90, false)
			}
			s.state(state)
			was := view.Machine(s.m, view.Operator, at(95), time.Time{})
			if _, err := fleet.Arm(&s.m, fleet.Armed{Plan: plan("p2"), Expires: at(109)}, at(96)); err != nil {
				t.Fatal(err)
			}
			s.trouble(97, "", 0)
			end(&s.m)
			now := view.Machine(s.m, view.Operator, at(95), time.Time{})
			if now.State != state || now.Armed != nil || !now.Since.Equal(was.Since) || now.System == nil ||
				jsonText(t, now.Awaited) != jsonText(t, was.Awaited) ||
				(now.Trouble == nil) != (was.Trouble == nil) {
				t.Errorf("%s: a machine that was %+v is %+v; want it as before", name, was, now)
			}
			s.beacon(112, "tok", true)
			s.state(api.MachineRunning)
		}
	}
	s := newScript(t)
	s.arm(0, "p1")
	s.boot(1, true)
	if _, err := fleet.Cancel(&s.m, "", false, at(2)); err != nil {
		t.Fatal(err)
	}
	s.state(api.MachineRegistered)
}

// A machine that is armed is not forgotten by the way, and least of all one
// that fell silent in the middle.
func TestForgetAsks(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	if _, err := fleet.Forget(&s.m, "", false, at(1)); err == nil || !strings.Contains(err.Error(), "armed with debian") {
		t.Errorf("Forget of an armed machine = %v; want a refusal", err)
	}
	s.hello(2, "s1", api.ActionFlash)
	s.report(3, true, report("s1", "p1", event(1, fleet.StepFlash, api.StateStart)))
	if _, err := fleet.Forget(&s.m, "", false, at(600)); err == nil || !strings.Contains(err.Error(), "half written") {
		t.Errorf("Forget of a machine that is silent in mid-flash = %v; want a refusal", err)
	}
	if _, err := fleet.Forget(&s.m, "", true, at(600)); err != nil {
		t.Errorf("Forget by force = %v", err)
	}
}

// The disk under a running system that cannot be completed needs a person.
func TestLiveDiskFails(t *testing.T) {
	s := atWork(t)
	live := event(1, "handoff", api.StateDone)
	live.Live = true
	s.report(11, true, report("s1", "p1", live))
	grow := failure(2, "grow", api.CauseGrow, 0)
	s.report(12, true, report("s1", "p1", grow))
	s.state(api.MachineHandingOff)
	s.report(13, true, report("s1", "p1", failure(3, fleet.StepFlash, api.CauseDiskError, 0)))
	s.state(api.MachineFailed)
	s.trouble(14, api.CauseDiskError, 0)
	s.boot(80, true)
	s.trouble(81, "", 0)
}

// Older servers called a machine failed whenever its agent had told of a
// failure.
func TestUpgrade(t *testing.T) {
	armed := &fleet.Armed{Plan: plan("p1")}
	known := api.Spec{MACs: []string{mac}}
	receipt := &api.Receipt{Plan: "p1"}
	for name, tt := range map[string]struct {
		was   fleet.Record
		state string
		cause string
	}{
		"waiting":     {fleet.Record{OldCause: api.CauseUnreachable, Spec: known, Waiting: true}, api.MachineRegistered, ""},
		"seen":        {fleet.Record{OldCause: api.CausePlan}, api.MachineDiscovered, ""},
		"tries again": {fleet.Record{OldCause: api.CauseDiskError, Armed: armed}, api.MachineFlashing, api.CauseDiskError},
		"handing off": {
			fleet.Record{OldCause: api.CauseHandoff, Receipt: receipt, Awaited: &fleet.Awaited{Plan: "p1", Until: at(600)}},
			api.MachineHandingOff, api.CauseHandoff,
		},
		"does not boot": {fleet.Record{OldCause: api.CauseBootFailed, Spec: known}, api.MachineFailed, api.CauseBootFailed},
		"restored":      {fleet.Record{OldCause: api.CauseRestored, Spec: known}, api.MachineFailed, api.CauseRestored},
		"live":          {fleet.Record{OldCause: api.CauseDiskError, Armed: armed, Live: true}, api.MachineFailed, api.CauseDiskError},
	} {
		m := tt.was
		m.ID, m.State, m.Since, m.Message = mac, api.MachineFailed, at(0), "as it was told"
		m.Upgrade()
		v := view.Machine(m, view.Operator, at(1), time.Time{})
		if v.State != tt.state || (v.Trouble != nil) != (tt.cause != "") ||
			v.Trouble != nil && (v.Trouble.Cause != tt.cause || v.Trouble.Message != "as it was told") {
			t.Errorf("%s: state %q, trouble %+v; want %q, %q", name, v.State, v.Trouble, tt.state, tt.cause)
		}
	}
}

// A step that is tried seven times is one phase with seven tries, and what is
// done on the way back to it is none.
func TestPhasesFoldTries(t *testing.T) {
	s := newScript(t)
	var events []api.Event
	add := func(more ...api.Event) { events = append(events, more...) }
	armed, _ := fleet.Arm(&s.m, fleet.Armed{Plan: plan("p1")}, at(0))
	add(armed...)
	_, said := fleet.Hello(&s.m, hello("s1"), "", false, at(1))
	add(said...)
	seq := uint64(0)
	say := func(sec int, e api.Event) {
		t.Helper()
		seq++
		e.Seq, e.Actor, e.Time = seq, api.ActorAgent, at(sec)
		add(s.report(sec, true, report("s1", "p1", e))...)
	}
	for try := range 7 {
		sec := 10 * (try + 1)
		for _, step := range []string{"plan", "image"} {
			say(sec, event(0, step, api.StateStart))
			say(sec+1, event(0, step, api.StateDone))
		}
		say(sec+2, event(0, "disk", api.StateStart))
		say(sec+3, failure(0, "disk", api.CauseDiskTooSmall, 5))
	}
	f := history.Flashes(events)[0]
	if len(f.Phases) != 3 || f.Outcome != "under way" || f.Cause != api.CauseDiskTooSmall {
		t.Fatalf("flash = %+v; want three phases, under way", f)
	}
	if p := f.Phases[2]; p.Step != "disk" || p.Tries != 7 || p.State != api.StateFailed || !p.Start.Equal(at(12)) || !p.End.Equal(at(73)) {
		t.Errorf("disk = %+v; want seven tries from 12 s to 73 s", p)
	}
	say(80, event(0, "plan", api.StateStart))
	say(80, event(0, "plan", api.StateDone))
	say(81, event(0, "disk", api.StateStart))
	say(82, event(0, "disk", api.StateDone))
	say(83, event(0, fleet.StepFlash, api.StateStart))
	f = history.Flashes(events)[0]
	if p := f.Phases[2]; len(f.Phases) != 4 || p.Tries != 8 || p.State != api.StateDone || f.Cause != "" {
		t.Errorf("flash = %+v; want its disk after eight tries, and the flash under way", f)
	}
}

// A phase whose end nobody told ends with the flash.
func TestPhasesEnd(t *testing.T) {
	for state, end := range map[string]func(m *fleet.Record) []api.Event{
		api.StateDone: func(m *fleet.Record) []api.Event {
			events, _ := fleet.Beacon(m, "tok", "", at(33))
			return events
		},
		api.MachineUnconfirmed: func(m *fleet.Record) []api.Event { return fleet.Sweep(m, at(33), time.Time{}) },
	} {
		s := newScript(t)
		events, _ := fleet.Arm(&s.m, fleet.Armed{Plan: plan("p1"), Beacon: "tok", Confirm: settings.Confirm{Within: 10}}, at(0))
		s.hello(1, "s1", api.ActionFlash)
		e := sealed(1, "p1")
		e.Actor, e.Time = api.ActorAgent, at(20)
		events = append(events, s.report(20, true, report("s1", "p1", e))...)
		if p := history.Flashes(events)[0].Phases; len(p) != 1 || !p[0].End.IsZero() {
			t.Fatalf("phases before the end = %+v; want the handoff under way", p)
		}
		events = append(events, end(&s.m)...)
		if p := history.Flashes(events)[0].Phases; len(p) != 1 || p[0].State != state || !p[0].End.Equal(at(33)) {
			t.Errorf("phases = %+v; want the handoff ended at 33 s, %s", p, state)
		}
	}
}
