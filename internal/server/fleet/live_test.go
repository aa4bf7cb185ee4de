package fleet_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/settings"
)

// A system that is entered while its disk is written reports in before the
// receipt, and is shown as running until and after it.
func TestLive(t *testing.T) {
	m, plan := &fleet.Record{ID: mac, MAC: mac}, "plan-1"
	armed := fleet.Armed{Plan: api.Plan{
		ID: plan, Image: api.PlanImage{Name: "golden", Digest: "sha256:1"},
		Agreed: api.Agreed{MACs: []string{mac}}, Agent: settings.Agent{Handoff: "instant"},
	}, Beacon: "secret"}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	if _, err := fleet.Arm(m, armed, now); err != nil {
		t.Fatal(err)
	}
	hello := api.Hello{Version: api.Version, Session: "s1", Inventory: api.Inventory{MAC: mac}}
	fleet.Hello(m, hello, "10.0.0.2", false, now)
	var seq uint64
	report := func(e api.Event) {
		t.Helper()
		seq++
		e.Seq = seq
		now = now.Add(time.Second)
		if _, err := fleet.Report(m, api.Report{Session: m.Session, MAC: mac, Plan: plan, Events: []api.Event{e}}, "10.0.0.2", now); err != nil {
			t.Fatal(err)
		}
	}
	progress := func(done int64) api.Event {
		return api.Event{Step: fleet.StepFlash, State: api.StateProgress, Progress: &api.Progress{Phase: "write", Done: done, Total: 100}}
	}
	is := func(state string, live bool) {
		t.Helper()
		if m.State != state || m.Live != live || live != (m.Armed != nil) {
			t.Errorf("state %q, live %v, armed %v; want %q, live %v", m.State, m.Live, m.Armed != nil, state, live)
		}
	}
	live := api.Event{Step: "handoff", State: api.StateDone, Live: true, Message: "runs"}
	report(progress(10))
	report(live)
	is(api.MachineHandingOff, true)
	report(progress(20))
	is(api.MachineHandingOff, true)
	if _, ok := fleet.Beacon(m, "secret", "10.0.0.3", now); !ok {
		t.Error("the beacon of a live system was refused")
	}
	is(api.MachineRunning, true)
	report(progress(60))
	is(api.MachineRunning, true)
	if fleet.Sweep(m, now.Add(api.StuckAfter*time.Second), time.Time{}); m.Stuck.IsZero() {
		t.Error("nothing is completing the disk any more, and the machine is not shown as stuck")
	}
	report(progress(60))
	if !m.Stuck.IsZero() {
		t.Error("the machine is shown as stuck although it reports")
	}
	if m.Progress == nil || m.Progress.Done != 60 || m.System != nil {
		t.Errorf("progress %v, system %v; want 60 and a disk of which nothing is said", m.Progress, m.System)
	}
	var busy *fleet.BusyError
	if _, err := fleet.Cancel(m, "", false, now); !errors.As(err, &busy) || !busy.Live {
		t.Errorf("Cancel() of a live machine = %v; want that its system runs from that disk", err)
	}
	if _, err := fleet.Arm(m, armed, now); !errors.As(err, &busy) {
		t.Errorf("Arm() of a live machine = %v; want a refusal", err)
	}

	// A restart before the end: the same arm, the flash again.
	if d, _ := fleet.Boot(m, api.Inventory{MAC: mac}, nil, now.Add(time.Second)); d.Image == nil {
		t.Error("a machine that was restarted too early was sent to its disk")
	}
	if !m.Live || m.Armed == nil {
		t.Error("whoever asked for the script took the machine from its agent")
	}
	hello.Session, now = "s2", now.Add(25*time.Second)
	if d, _ := fleet.Boot(m, api.Inventory{MAC: mac}, nil, now); d.Image == nil || m.Live || m.Armed == nil || m.State != api.MachineBooting {
		t.Errorf("after a restart: live %v, armed %v, %q; want an armed machine that boots", m.Live, m.Armed != nil, m.State)
	}
	if a, _ := fleet.Hello(m, hello, "10.0.0.2", false, now); a.Action != api.ActionFlash || a.Plan.ID != plan {
		t.Errorf("Hello() after a restart = %+v; want the same plan", a)
	}
	seq = 0
	report(progress(10))
	report(live)
	fleet.Beacon(m, "secret", "10.0.0.3", now)
	report(api.Event{Step: "handoff", State: api.StateProgress, Receipt: &api.Receipt{Plan: plan, Image: "sha256:1", Handoff: "instant"}})
	is(api.MachineRunning, false)
	if m.System == nil || m.Receipt == nil || m.Writing || m.Progress != nil {
		t.Errorf("after the receipt: system %v, receipt %v, writing %v, progress %v", m.System, m.Receipt, m.Writing, m.Progress)
	}
}

// Nothing is said to be flashed whose disk is not complete.
func TestLiveWithoutASign(t *testing.T) {
	m, now := &fleet.Record{ID: mac, MAC: mac}, time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	armed := fleet.Armed{Plan: api.Plan{
		ID: "plan-1", Image: api.PlanImage{Name: "golden", Digest: "sha256:1"},
		Agreed: api.Agreed{MACs: []string{mac}}, Agent: settings.Agent{Handoff: "instant"},
	}}
	if _, err := fleet.Arm(m, armed, now); err != nil {
		t.Fatal(err)
	}
	fleet.Hello(m, api.Hello{Version: api.Version, Session: "s1", Inventory: api.Inventory{MAC: mac}}, "10.0.0.2", false, now)
	live := api.Event{Seq: 1, Step: "handoff", State: api.StateDone, Live: true, Message: "runs"}
	if _, err := fleet.Report(m, api.Report{Session: "s1", MAC: mac, Plan: "plan-1", Events: []api.Event{live}}, "10.0.0.2", now); err != nil {
		t.Fatal(err)
	}
	events := fleet.Sweep(m, m.Awaited.Until.Add(time.Second), time.Time{})
	if m.State != api.MachineUnconfirmed || !m.Live || len(events) == 0 || !strings.Contains(events[0].Message, "not complete") {
		t.Errorf("state %q, live %v, told %v; want an unconfirmed system whose disk is not complete", m.State, m.Live, events)
	}
}
