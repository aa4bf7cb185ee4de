package fleet

import (
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Turn is one rule at work on one machine: what happens in it goes into one
// transaction. A change of state is always an event.
type Turn struct {
	m      *Record
	now    time.Time
	actor  string
	Events []api.Event // so far
}

// Begin starts a rule on a machine, by whose actor it is told.
func Begin(m *Record, actor string, now time.Time) *Turn {
	return &Turn{m: m, now: now, actor: actor}
}

// Note keeps an event. What it leaves open is filled in: the time, the actor
// of the turn, the plan that the machine is armed with.
func (t *Turn) Note(e api.Event) {
	if e.Time.IsZero() {
		e.Time = t.now
	}
	if e.Actor == "" {
		e.Actor = t.actor
	}
	if e.Plan == "" && t.m.Armed != nil {
		e.Plan = t.m.Armed.Plan.ID
	}
	t.Events = append(t.Events, e)
}

// Enter brings the machine into a state, which e is the reason for. The
// machine's own message becomes that of e.
func (t *Turn) Enter(state string, e api.Event) {
	if t.m.State != state {
		t.m.State, t.m.Since = state, t.now
		t.m.Stuck = time.Time{}
		e.To = state
	}
	if e.Message != "" {
		t.m.Message = e.Message
	}
	t.Note(e)
}

// Did is an event of the server's own that tells of no failure.
func Did(step, message string) api.Event {
	return api.Event{Step: step, State: api.StateDone, Message: message}
}

// touch is what every contact with a machine begins with.
func touch(m *Record, actor string, now time.Time) *Turn {
	t := Begin(m, actor, now)
	if m.FirstSeen.IsZero() {
		m.FirstSeen = now
	}
	if m.State == "" {
		t.Enter(api.MachineDiscovered, Did(StepDiscover, "seen for the first time"))
	}
	m.LastSeen = now
	if !m.Stuck.IsZero() {
		t.Note(Did(StepStuck, "reporting again after "+now.Sub(m.Stuck).Round(time.Second).String()))
		m.Stuck = time.Time{}
	}
	t.lapse()
	return t
}

// lapse revokes an arm that is past its time. An arm whose flash has begun
// to write does not lapse: the disk must be completed.
func (t *Turn) lapse() {
	m := t.m
	if m.Armed == nil || m.Armed.Expires.IsZero() || t.now.Before(m.Armed.Expires) || m.Writing {
		return
	}
	plan := m.Armed.Plan
	e := Did(StepArm, "the permission to flash "+plan.Image.Name+" lapsed at "+m.Armed.Expires.UTC().Format(time.RFC3339))
	e.Actor, e.Plan, e.Cause = api.ActorServer, plan.ID, api.CauseLapsed
	t.takeBack(e)
}

// Lapse revokes an arm that is past its time.
func Lapse(m *Record, now time.Time) []api.Event {
	t := Begin(m, api.ActorServer, now)
	t.lapse()
	return t.Events
}

// cutShort notes that a system runs no more whose disk was not complete yet.
// The arm stands: the machine is flashed again.
func (t *Turn) cutShort() {
	m := t.m
	if !m.Live {
		return
	}
	m.Live, m.Awaited = false, nil
	t.Note(Did(StepBoot, "was restarted before its disk was complete: what its new system wrote is lost, and it is flashed again"))
}

// takeBack ends an arm that no flash came of. Until the machine boots by it, it
// is what it was before.
func (t *Turn) takeBack(e api.Event) {
	m := t.m
	was := m.Armed.Before
	if m.State != api.MachineArmed || was == nil {
		t.disarm(api.MachineRegistered, e)
		return
	}
	t.disarm(was.State, e)
	m.Since, m.Awaited, m.Trouble = was.Since, was.Awaited, was.Trouble
}

// disarm uses up or revokes the arm.
func (t *Turn) disarm(state string, e api.Event) {
	m := t.m
	m.Armed = nil
	m.Writing, m.Live = false, false
	m.Progress = nil
	m.Trouble = nil
	t.booted()
	t.Enter(state, e)
}
