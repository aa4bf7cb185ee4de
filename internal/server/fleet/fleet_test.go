package fleet_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

const mac = "52:54:00:00:00:01"

func at(seconds int) time.Time {
	return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}

func plan(id string) api.Plan {
	return api.Plan{
		ID: id, Image: api.PlanImage{Name: "debian", Repository: "golden/debian", Digest: "sha256:aa"},
		Agreed: api.Agreed{MACs: []string{mac}},
	}
}

func hello(session string) api.Hello {
	return api.Hello{Version: api.Version, Session: session, Inventory: api.Inventory{MAC: mac}}
}

func report(session, plan string, events ...api.Event) api.Report {
	return api.Report{Session: session, MAC: mac, Plan: plan, Events: events}
}

func event(seq uint64, step, state string) api.Event {
	return api.Event{Seq: seq, Time: at(0), Step: step, State: state}
}

func sealed(seq uint64, plan string) api.Event {
	e := event(seq, "handoff", api.StateStart)
	e.Receipt = &api.Receipt{Plan: plan, Image: "sha256:aa"}
	return e
}

// script drives one machine; each call fails the test when the rule says
// other than expected.
type script struct {
	t *testing.T
	m fleet.Record
}

func newScript(t *testing.T) *script { return &script{t, fleet.Record{ID: mac, MAC: mac}} }

func (s *script) arm(sec int, id string) {
	s.t.Helper()
	if _, err := fleet.Arm(&s.m, fleet.Armed{Plan: plan(id)}, at(sec)); err != nil {
		s.t.Fatalf("Arm(%s) at %d s = %v; want nil", id, sec, err)
	}
}

func (s *script) boot(sec int, flash bool) {
	s.t.Helper()
	if d, _ := fleet.Boot(&s.m, api.Inventory{MAC: mac}, nil, at(sec)); (d.Image != nil) != flash {
		s.t.Fatalf("Boot at %d s = %+v; want image: %v", sec, d, flash)
	}
}

func (s *script) hello(sec int, session, action string) api.Answer {
	s.t.Helper()
	a, _ := fleet.Hello(&s.m, hello(session), "192.0.2.9", false, at(sec))
	if a.Action != action || (a.Plan != nil) != (action == api.ActionFlash) {
		s.t.Fatalf("Hello(%s) at %d s = %+v; want %s", session, sec, a, action)
	}
	return a
}

func (s *script) report(sec int, ok bool, r api.Report) []api.Event {
	s.t.Helper()
	// As the store does: a refused report changes nothing.
	m := s.m
	events, err := fleet.Report(&m, r, "192.0.2.9", at(sec))
	if (err == nil) != ok {
		s.t.Fatalf("Report(%s) at %d s = %v; want ok: %v", r.Session, sec, err, ok)
	}
	if err == nil {
		s.m = m
	} else if _, early := errors.AsType[*fleet.EarlyError](err); early != (r.Plan == "") {
		s.t.Fatalf("Report(%s) at %d s = %T; want a *SessionError for one with a plan, else an *EarlyError", r.Session, sec, err)
	}
	return events
}

func (s *script) state(want string) {
	s.t.Helper()
	if s.m.State != want {
		s.t.Fatalf("state = %q; want %q (%s)", s.m.State, want, s.m.Message)
	}
}

func TestWholeFlash(t *testing.T) {
	s := newScript(t)
	fleet.Seen(&s.m, fleet.Sighting{MAC: mac, Source: fleet.FromFirmware, Firmware: "BIOS", Message: "sent undionly.kpxe"}, at(0))
	s.state(api.MachineDiscovered)
	s.boot(1, false)
	s.hello(2, "nobody", api.ActionLocalDisk)
	s.arm(3, "p1")
	s.state(api.MachineArmed)
	s.boot(4, true)
	s.state(api.MachineBooting)
	if a := s.hello(10, "s1", api.ActionFlash); a.Plan.ID != "p1" {
		t.Fatalf("plan %q; want p1", a.Plan.ID)
	}
	s.state(api.MachineFlashing)
	s.hello(11, "s1", api.ActionFlash) // its answer was lost
	s.report(12, true, report("s1", "p1", event(1, "network", api.StateDone), event(2, fleet.StepFlash, api.StateStart)))
	p := event(3, fleet.StepFlash, api.StateProgress)
	p.Progress = &api.Progress{Phase: "write", Done: 5, Total: 10}
	if kept := s.report(13, true, report("s1", "p1", event(2, fleet.StepFlash, api.StateStart), p)); len(kept) != 0 {
		t.Errorf("Report kept %v; want neither the repeated event nor the progress", kept)
	}
	if s.m.Progress == nil || s.m.Progress.Done != 5 {
		t.Errorf("progress = %+v; want 5 of 10", s.m.Progress)
	}
	last := report("s1", "p1", event(4, fleet.StepFlash, api.StateDone), sealed(5, "p1"))
	s.report(20, true, last)
	s.state(api.MachineHandingOff)
	if s.m.Armed != nil || s.m.Receipt == nil {
		t.Fatalf("armed %v, receipt %v; want the arm used up by a receipt", s.m.Armed, s.m.Receipt)
	}
	s.report(21, true, last) // its answer was lost
	s.report(22, true, report("s1", "p1", event(6, "handoff", api.StateDone)))
	s.boot(60, false)
	s.hello(61, "s2", api.ActionLocalDisk)
	s.arm(62, "p2")
	s.report(63, true, last) // still asking
	s.state(api.MachineArmed)
	s.boot(64, true)
}

func TestSecondAgentWaits(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	s.boot(1, true)
	s.hello(10, "s1", api.ActionFlash)
	if a := s.hello(11, "s2", api.ActionWait); a.Retry == 0 || !strings.Contains(a.Message, "another agent") {
		t.Errorf("conflict answer = %+v; want a retry and a reason", a)
	}
	s.report(12, false, report("s2", "p1", event(1, fleet.StepFlash, api.StateStart)))
	s.report(65, true, report("s1", "p1", event(1, fleet.StepFlash, api.StateStart)))
	s.hello(124, "s2", api.ActionWait) // s1 spoke 59 s ago
	s.hello(125, "s2", api.ActionFlash)
	s.report(126, false, report("s1", "p1", event(2, fleet.StepFlash, api.StateDone)))
	s.report(127, false, report("s1", "p1", sealed(3, "p1")))
	s.report(128, true, report("s2", "p1", event(1, fleet.StepFlash, api.StateStart), sealed(2, "p1")))
	s.state(api.MachineHandingOff)
}

func TestPowerCutInMidFlash(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	s.boot(1, true)
	s.hello(10, "s1", api.ActionFlash)
	s.report(11, true, report("s1", "p1", event(1, fleet.StepFlash, api.StateStart)))
	s.boot(15, true) // firmware again: s1 is dead, or somebody lies
	s.hello(20, "s2", api.ActionWait)
	if a := s.hello(35, "s2", api.ActionFlash); a.Plan.ID != "p1" {
		t.Errorf("plan after a power cut = %q; want the same, p1", a.Plan.ID)
	}
	s.report(36, true, report("s2", "p1", event(1, fleet.StepFlash, api.StateStart)))
}

// The agent's own DHCP, and the installed system's, must not be taken for a
// restart.
func TestLeaseOfAgentIsNoRestart(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	s.boot(1, true)
	s.hello(10, "s1", api.ActionFlash)
	fleet.Seen(&s.m, fleet.Sighting{MAC: mac, Source: fleet.FromOther}, at(12))
	s.hello(13, "s2", api.ActionWait)
	fleet.Seen(&s.m, fleet.Sighting{MAC: mac, Source: fleet.FromIPXE}, at(14))
	s.hello(33, "s2", api.ActionWait)
	s.hello(34, "s2", api.ActionFlash)
}

// Whoever can send a packet can say that a machine was restarted. If its agent
// keeps speaking, it was not.
func TestSightingOnlyAsks(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	s.boot(1, true)
	s.hello(10, "s1", api.ActionFlash)
	s.report(11, true, report("s1", "p1", event(1, fleet.StepFlash, api.StateStart)))
	for sec := 12; sec < 200; sec += 9 {
		fleet.Seen(&s.m, fleet.Sighting{MAC: mac, Source: fleet.FromFirmware, Message: "no boot file", Cause: api.CauseNoBootFile}, at(sec))
		s.boot(sec+1, true)
		s.state(api.MachineFlashing)
		s.hello(sec+2, "liar", api.ActionWait)
		s.report(sec+3, false, report("liar", "p1", event(1, fleet.StepFlash, api.StateFailed)))
		s.report(sec+3, false, report("liar", "", event(1, fleet.StepFlash, api.StateFailed)))
		s.report(sec+4, true, report("s1", "p1"))
	}
	s.report(201, true, report("s1", "p1", sealed(2, "p1")))
	s.state(api.MachineHandingOff)
}

// Who has said no hello and has no plan moves nothing.
func TestStrangersReport(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	live := event(1, "handoff", api.StateDone)
	live.Live = true
	for _, e := range []api.Event{
		event(1, fleet.StepFlash, api.StateStart), event(1, fleet.StepFlash, api.StateFailed), live,
		sealed(1, "p1"),
	} {
		s.report(1, false, report("ghost", "", e))
		s.report(1, false, report("ghost", "p1", e))
		s.report(1, false, report("", "", e))
	}
	if s.m.Writing || s.m.State != api.MachineArmed {
		t.Errorf("writing %v, state %q; want an armed machine as before", s.m.Writing, s.m.State)
	}
	s.hello(2, "s1", api.ActionFlash)
	s.report(3, true, report("s1", "", event(1, fleet.StepFlash, api.StateStart), event(2, fleet.StepFlash, api.StateFailed)))
	if s.m.Writing || s.m.State != api.MachineFlashing {
		t.Errorf("writing %v, state %q after a report without the plan; want it noted alone", s.m.Writing, s.m.State)
	}
}

func TestFailureKeepsTheArm(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	s.boot(1, true)
	s.hello(2, "s1", api.ActionFlash)
	failed := event(1, fleet.StepFlash, api.StateFailed)
	failed.Cause, failed.Message = "disk-too-small", "sda has 1 GB"
	s.report(3, true, report("s1", "p1", failed))
	s.state(api.MachineFlashing)
	if causeNow(&s.m) != "disk-too-small" || s.m.Message != "sda has 1 GB" || s.m.Armed == nil {
		t.Errorf("cause %q, message %q, armed %v", causeNow(&s.m), s.m.Message, s.m.Armed)
	}
	s.report(4, true, report("s1", "p1", event(2, fleet.StepFlash, api.StateStart))) // tries again
	s.state(api.MachineFlashing)
	s.boot(5, true)
	s.report(6, false, report("s9", "p1", failed))
}

// An armed machine that cannot even boot must show why, and try again.
func TestBootTrouble(t *testing.T) {
	s := newScript(t)
	trouble := fleet.Sighting{MAC: mac, Source: fleet.FromFirmware, Message: "no boot file for EFI IA32", Cause: "arch"}
	fleet.Seen(&s.m, trouble, at(0))
	s.state(api.MachineDiscovered)
	s.arm(1, "p1")
	fleet.Seen(&s.m, trouble, at(2))
	s.state(api.MachineArmed)
	if s.m.NotBooted != trouble.Message {
		t.Errorf("not booted because of %q; want %q", s.m.NotBooted, trouble.Message)
	}
	s.boot(3, true)
	s.state(api.MachineBooting)
	s.hello(4, "s1", api.ActionFlash)
	if s.m.NotBooted != "" {
		t.Errorf("not booted because of %q, although it has its plan", s.m.NotBooted)
	}
}

func TestCancel(t *testing.T) {
	s := newScript(t)
	cancel := func(sec int, ok bool) {
		t.Helper()
		_, err := fleet.Cancel(&s.m, "", false, at(sec))
		if busy, typed := errors.AsType[*fleet.BusyError](err); typed == ok || typed && busy.Hint() == "" {
			t.Fatalf("Cancel at %d s = %v; want ok: %v", sec, err, ok)
		}
	}
	cancel(0, true) // not armed: nothing to do
	s.arm(1, "p1")
	cancel(2, true)
	s.state(api.MachineRegistered)
	s.boot(3, false)

	s.arm(4, "p2")
	s.hello(5, "s1", api.ActionFlash)
	cancel(6, true)
	s.report(7, false, report("s1", "p2", event(1, fleet.StepFlash, api.StateStart)))

	s.arm(8, "p3")
	s.hello(9, "s2", api.ActionFlash)
	s.report(10, true, report("s2", "p3", event(1, fleet.StepFlash, api.StateStart)))
	cancel(11, false)
	if _, err := fleet.Arm(&s.m, fleet.Armed{Plan: plan("p4")}, at(12)); err == nil {
		t.Error("Arm in mid-write = nil; want a BusyError")
	}
	if second(fleet.Forget(&s.m, "", false, at(12))) == nil {
		t.Error("Forget in mid-write = nil; want a BusyError")
	}
	cancel(71, true) // silent for a minute: the machine is gone
	s.boot(72, false)
}

// By force an operator is rid of a flash under way, and the agent hears of it.
func TestCancelByForce(t *testing.T) {
	for name, e := range map[string]api.Event{
		"writing": {Seq: 2, Step: fleet.StepFlash, State: api.StateProgress, Progress: &api.Progress{Phase: "write", Done: 43, Total: 100}},
		"live":    {Seq: 2, Step: "handoff", State: api.StateDone, Live: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScript(t)
			s.arm(0, "p1")
			s.hello(1, "s1", api.ActionFlash)
			s.report(2, true, report("s1", "p1", event(1, fleet.StepFlash, api.StateStart), e))
			held := s.m
			refused := func(err error, wayOut string) {
				t.Helper()
				if busy, ok := errors.AsType[*fleet.BusyError](err); !ok || !strings.Contains(busy.Hint(), wayOut) {
					t.Errorf("without force = %v; want a refusal that names %s", err, wayOut)
				}
			}
			_, err := fleet.Cancel(&s.m, "", false, at(3))
			refused(err, "gild cancel --force")
			events, err := fleet.Cancel(&s.m, "", true, at(3))
			if err != nil || s.m.Armed != nil || s.m.Writing || s.m.Live ||
				!strings.Contains(s.m.Message, "does not boot until it is flashed again") {
				t.Fatalf("Cancel by force = %v, %v, left %+v; want it disarmed and told what that means", events, err, s.m)
			}
			s.report(4, false, report("s1", "p1", sealed(3, "p1")))
			s.boot(5, false)
			s.arm(6, "p2")
			s.report(7, false, report("s1", "p1", event(4, fleet.StepFlash, api.StateStart)))

			refused(second(fleet.Forget(&held, "", false, at(3))), "gild machine rm --force")
			if events, err := fleet.Forget(&held, "", true, at(3)); err != nil ||
				!strings.Contains(fmt.Sprint(events), "does not boot until it is flashed again") {
				t.Errorf("Forget by force = %v, %v; want told what it does to the disk", events, err)
			}
		})
	}
}

func TestCancelAfterFailure(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	s.hello(1, "s1", api.ActionFlash)
	s.report(2, true, report("s1", "p1", event(1, fleet.StepFlash, api.StateStart), event(2, fleet.StepFlash, api.StateFailed)))
	if _, err := fleet.Cancel(&s.m, "", false, at(3)); err != nil {
		t.Fatalf("Cancel of a failed flash = %v; want nil", err)
	}
	if !strings.Contains(s.m.Message, "may not boot") {
		t.Errorf("message %q; want a warning about the disk", s.m.Message)
	}
	s.report(4, false, report("s1", "p1", sealed(3, "p1")))
}

func TestRearmReplacesThePlan(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	s.hello(1, "s1", api.ActionFlash)
	s.arm(2, "p2")
	s.report(3, false, report("s1", "p1", event(1, fleet.StepFlash, api.StateStart)))
	if a := s.hello(4, "s1", api.ActionFlash); a.Plan.ID != "p2" {
		t.Errorf("plan = %q; want p2", a.Plan.ID)
	}
	s.report(5, false, report("s1", "p2", sealed(1, "p1"))) // receipt of the wrong plan
	wrong := sealed(1, "p2")
	wrong.Receipt.Image = "sha256:bb"
	s.report(6, false, report("s1", "p2", wrong))
	if s.m.Armed == nil {
		t.Error("a receipt of another image used the arm up")
	}
}

func TestExpiry(t *testing.T) {
	s := newScript(t)
	arm := func(id string, expires int) {
		if _, err := fleet.Arm(&s.m, fleet.Armed{Plan: plan(id), Expires: at(expires)}, at(0)); err != nil {
			t.Fatal(err)
		}
	}
	arm("p1", 10)
	s.boot(9, true)
	s.boot(10, false)
	s.state(api.MachineLocalDisk)
	s.hello(11, "s1", api.ActionLocalDisk)

	arm("p2", 100)
	s.hello(20, "s2", api.ActionFlash)
	s.report(21, true, report("s2", "p2", event(1, fleet.StepFlash, api.StateStart)))
	s.boot(200, true) // writing had begun: the disk must be completed
	s.hello(201, "s3", api.ActionFlash)
}

func TestStaleAgent(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	h := hello("s1")
	h.Version = api.Version + 1
	a, events := fleet.Hello(&s.m, h, "192.0.2.9", false, at(1))
	if a.Action != api.ActionWait || a.Plan != nil || len(events) != 1 || events[0].Cause != api.CauseVersion {
		t.Errorf("Hello of a stale agent = %+v, %v", a, events)
	}
	if _, events := fleet.Hello(&s.m, h, "192.0.2.9", false, at(2)); len(events) != 0 {
		t.Errorf("Hello of a stale agent again noted %v; want nothing", events)
	}
}

// An agent that a boot script started and that speaks plain HTTP is of an older
// initramfs: it restarts, and its ticket is good for its successor. Without a
// ticket it was started by hand.
func TestPlainAgent(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	fleet.Issue(&s.m, "aticket", api.Inventory{MAC: s.m.MAC}, at(1))
	h := hello("s1")
	h.Ticket, h.Plain = "aticket", true
	a, events := fleet.Hello(&s.m, h, "192.0.2.9", false, at(2))
	if a.Action != api.ActionLocalDisk || a.Plan != nil || len(events) != 1 || events[0].Cause != api.CauseOutdated {
		t.Errorf("Hello of an older agent = %+v, %v", a, events)
	}
	if _, events := fleet.Hello(&s.m, h, "192.0.2.9", false, at(3)); len(events) != 0 {
		t.Errorf("its hello again noted %v; want nothing", events)
	}
	h.Session, h.Plain = "s2", false
	if a, _ := fleet.Hello(&s.m, h, "192.0.2.9", false, at(4)); a.Plan == nil {
		t.Errorf("its successor is told %+v; want the plan", a)
	}
}

func TestPlainAgentStartedByHand(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	h := hello("s1")
	h.Plain = true
	if a, _ := fleet.Hello(&s.m, h, "192.0.2.9", false, at(1)); a.Plan == nil {
		t.Errorf("Hello without a ticket = %+v; want the plan", a)
	}
}

func second[T any](_ T, err error) error { return err }

// causeNow is what operators see as the cause of trouble; empty: there is none.
func causeNow(m *fleet.Record) string {
	if tr := fleet.TroubleOf(m); tr != nil {
		return tr.Cause
	}
	return ""
}
