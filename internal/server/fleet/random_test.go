package fleet_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
	"github.com/gild-dev/gild/internal/settings"
)

// world is one machine under operators, firmware, agents, clocks and new
// systems that do anything in any order, and what must hold all the same. Two
// servers look after it, whose clocks differ by a second.
type world struct {
	rng      *rand.Rand
	m        fleet.Record
	now      time.Time
	arms     map[string]bool // plan -> armed once
	receipts map[string]int  // plan -> how many times the record took one
	tokens   []string
	seq      map[string]uint64
	log      []string
}

func TestRandomSequences(t *testing.T) {
	for seed := range uint64(3000) {
		w := &world{
			rng: rand.New(rand.NewPCG(seed, 1)), m: fleet.Record{ID: mac, MAC: mac}, now: at(0),
			arms: map[string]bool{}, receipts: map[string]int{}, seq: map[string]uint64{},
		}
		for range 80 {
			if err := w.step(); err != nil {
				t.Fatalf("seed %d: %v\nsteps: %v", seed, err, w.log)
			}
		}
	}
}

func (w *world) note(format string, args ...any) { w.log = append(w.log, fmt.Sprintf(format, args...)) }

func (w *world) session() string { return fmt.Sprintf("s%d", w.rng.IntN(3)) }

// step lets anything happen, by either server, and looks at what came of it.
func (w *world) step() error {
	w.now = w.now.Add(time.Duration(w.rng.IntN(30)) * time.Second)
	now := w.now.Add(time.Duration(w.rng.IntN(2)) * time.Second)
	before := w.m
	armed := before.Armed != nil && (before.Armed.Expires.IsZero() || now.Before(before.Armed.Expires) || before.Writing)
	var events []api.Event
	var err error
	switch w.rng.IntN(10) {
	case 0:
		events = w.arm(now)
	case 1:
		force := w.rng.IntN(2) == 0
		w.note("cancel, force %v", force)
		// Whatever others do, the operator has the last word.
		if events, err = fleet.Cancel(&w.m, "", force, now); !force {
			err = nil
		} else if err == nil && w.m.Armed != nil {
			err = errors.New("armed after a forced cancel")
		}
	case 2:
		w.note("seen")
		events = fleet.Seen(&w.m, fleet.Sighting{
			MAC: mac, Source: fleet.Source(w.rng.IntN(3)), Message: "seen",
			Cause: []string{"", "arch"}[w.rng.IntN(2)],
		}, now)
	case 3:
		events, err = w.boot(now, armed)
	case 4:
		w.note("sweep")
		events = fleet.Sweep(&w.m, now, time.Time{})
		if again := fleet.Sweep(&w.m, now, time.Time{}); len(again) != 0 {
			err = fmt.Errorf("the second server's sweep noted %v", again)
		}
	case 5:
		events, err = w.beacon(now)
	case 6:
		w.note("probed, registered")
		if w.m.Awaited != nil {
			events = fleet.Probed(&w.m, w.m.Awaited.Plan, now)
		}
		more, _ := specs.Set(&w.m, api.Spec{Name: fmt.Sprintf("n%d", w.rng.IntN(3)), MACs: []string{mac}}, "", now)
		events = append(events, more...)
	default:
		events, err = w.agent(now, armed)
	}
	if err == nil {
		err = told(before, w.m, events)
	}
	if err != nil {
		return err
	}
	return w.invariants()
}

// told checks that each change of state is an event that says so.
func told(before, after fleet.Record, events []api.Event) error {
	state := before.State
	for _, e := range events {
		if e.Actor == "" || e.Step == "" || e.Time.IsZero() {
			return fmt.Errorf("an event without actor, step or time: %+v", e)
		}
		if e.To != "" {
			if e.Message == "" && e.Receipt == nil && e.Actor != api.ActorAgent {
				return fmt.Errorf("a change of state without a reason: %+v", e)
			}
			state = e.To
		}
	}
	if state != after.State {
		return fmt.Errorf("state went from %q to %q; the events say %q: %+v", before.State, after.State, state, events)
	}
	return nil
}

func (w *world) arm(now time.Time) []api.Event {
	id := fmt.Sprintf("p%d", len(w.arms))
	a := fleet.Armed{Plan: plan(id), Confirm: settings.Confirm{Within: 60, Boots: w.rng.IntN(3)}}
	if w.rng.IntN(2) == 0 {
		a.Expires = now.Add(time.Duration(w.rng.IntN(100)) * time.Second)
	}
	if w.rng.IntN(2) == 0 {
		a.Beacon = "token-" + id
	}
	w.note("arm %s", id)
	events, err := fleet.Arm(&w.m, a, now)
	if err == nil {
		w.arms[id] = true
		w.tokens = append(w.tokens, a.Beacon)
	}
	return events
}

func (w *world) boot(now time.Time, armed bool) ([]api.Event, error) {
	w.note("boot")
	var discover *api.PlanImage
	if w.rng.IntN(4) == 0 {
		discover = &api.PlanImage{Name: "debian"}
	}
	known := fleet.Registered(&w.m)
	d, events := fleet.Boot(&w.m, api.Inventory{MAC: mac}, discover, now)
	if want := armed || discover != nil && !known; (d.Image != nil) != want {
		return nil, fmt.Errorf("boot gave image %v; want one: %v", d.Image, want)
	}
	return events, nil
}

// beacon lets any system that was ever flashed call.
func (w *world) beacon(now time.Time) ([]api.Event, error) {
	if len(w.tokens) == 0 {
		return nil, nil
	}
	token := w.tokens[w.rng.IntN(len(w.tokens))]
	w.note("beacon %s", token)
	armed := w.m.Armed != nil
	events, ok := fleet.Beacon(&w.m, token, "", now)
	if ok && (armed || token == "" || w.m.Receipt == nil || token != "token-"+w.m.Receipt.Plan || w.m.State != api.MachineRunning) {
		return nil, fmt.Errorf("beacon %q counts; armed %v, state %s", token, armed, w.m.State)
	}
	return events, nil
}

// agent lets one of three sessions say hello or report anything, with any
// plan that ever was.
func (w *world) agent(now time.Time, armed bool) ([]api.Event, error) {
	s := w.session()
	if w.rng.IntN(3) == 0 {
		w.note("hello %s", s)
		a, events := fleet.Hello(&w.m, hello(s), "", w.rng.IntN(2) == 0, now)
		if (a.Plan != nil) && !armed {
			return nil, fmt.Errorf("a plan without an arm: %+v", a)
		}
		if a.Plan != nil && w.m.Session != s {
			return nil, fmt.Errorf("the plan went to %s, the machine is held by %s", s, w.m.Session)
		}
		return events, nil
	}
	id := fmt.Sprintf("p%d", w.rng.IntN(len(w.arms)+1))
	w.seq[s] += uint64(w.rng.IntN(2)) // sometimes the last one again
	e := event(max(1, w.seq[s]), fleet.StepFlash, []string{api.StateStart, api.StateDone, api.StateFailed}[w.rng.IntN(3)])
	e.Actor = api.ActorAgent // as CheckReport makes it
	if w.rng.IntN(3) == 0 {
		e = sealed(e.Seq, id)
		e.Actor = api.ActorAgent
	}
	w.note("report %s %s %s receipt %v", s, id, e.State, e.Receipt != nil)
	m := w.m
	had, holder := m.Receipt, m.Session
	events, err := fleet.Report(&m, report(s, id, e), "", now)
	if err != nil {
		return nil, nil //nolint:nilerr // a refusal changes nothing
	}
	w.m = m
	if m.Receipt != had {
		w.receipts[id]++
		if holder != s || !armed {
			return nil, fmt.Errorf("receipt of %s taken from %s; holder %s, armed %v", id, s, holder, armed)
		}
	}
	return events, nil
}

func (w *world) invariants() error {
	for id, n := range w.receipts {
		if n > 1 || !w.arms[id] {
			return fmt.Errorf("plan %s has %d receipts, armed once: %v", id, n, w.arms[id])
		}
	}
	m := w.m
	switch {
	case m.Writing && m.Armed == nil:
		return fmt.Errorf("writing without an arm")
	case m.Armed != nil && w.receipts[m.Armed.Plan.ID] > 0:
		return fmt.Errorf("plan %s is still armed after its receipt", m.Armed.Plan.ID)
	case m.Armed == nil && (m.State == api.MachineArmed || m.State == api.MachineFlashing || m.State == api.MachineBooting):
		return fmt.Errorf("state %q without an arm", m.State)
	case m.Armed != nil && m.State != api.MachineArmed && m.State != api.MachineBooting && m.State != api.MachineFlashing:
		return fmt.Errorf("state %q with an arm", m.State)
	case m.Trouble != nil && m.Armed == nil && m.State != api.MachineFailed && !fleet.Awaiting(&m):
		return fmt.Errorf("state %q without an arm, and in trouble: %+v", m.State, m.Trouble)
	case m.State == api.MachineFailed && m.Trouble == nil:
		return fmt.Errorf("failed without a cause")
	case m.State == api.MachineRunning && (m.Receipt == nil || m.Awaited == nil || m.Awaited.Plan != m.Receipt.Plan):
		return fmt.Errorf("running without a flash to run from")
	}
	return nil
}
