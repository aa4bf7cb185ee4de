package fleet

import (
	"cmp"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Trouble is what went wrong with a machine and has not come right since. It
// stands beside the state, which a step that is tried again does not leave.
type Trouble struct {
	Cause   string    `json:"cause"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since"`
	// Step is what its agent fails at, and Tries how often in a row.
	Step  string `json:"step,omitempty"`
	Tries int    `json:"tries,omitempty"`
	// Resting is set from a failure until the agent begins again; Next is when
	// it has promised to, zero: it has not.
	Resting bool      `json:"resting,omitempty"`
	Next    time.Time `json:"next,omitzero"`
	// Farthest is how far the flash came in the best of the tries that failed.
	Farthest *api.Progress `json:"farthest,omitempty"`
}

// failed takes the word of an agent that holds a plan that a step of it failed.
// It tries again by itself, so the state stays; only what cannot continue
// without a person ends the flash.
func (t *Turn) failed(e api.Event) {
	m := t.m
	if m.Live && e.Step == StepFlash && e.Retry == 0 {
		t.fail(e) // its system has lost the disk that it runs from
		return
	}
	now := Trouble{Cause: e.Cause, Message: e.Message, Since: t.now, Step: e.Step, Tries: 1, Resting: true}
	if e.Step == StepFlash {
		now.Farthest = m.Progress
	}
	if old := m.Trouble; old != nil && old.Step == e.Step && old.Tries > 0 {
		now.Since, now.Tries = old.Since, old.Tries+1
		if !now.Farthest.Beyond(old.Farthest) {
			now.Farthest = old.Farthest
		}
	}
	if e.Retry > 0 {
		now.Next = t.now.Add(time.Duration(e.Retry) * time.Second)
	}
	m.Trouble = &now
	if !m.Live && m.State == api.MachineBooting {
		t.Enter(api.MachineFlashing, e)
		return
	}
	m.Message = cmp.Or(e.Message, m.Message)
	t.Note(e)
}

// fail ends what cannot continue by itself.
func (t *Turn) fail(e api.Event) {
	t.m.Trouble = &Trouble{Cause: e.Cause, Message: e.Message, Since: t.now}
	t.Enter(api.MachineFailed, e)
}

// goesOn takes any other word of that agent: the trouble is over when the step
// is, or when it comes farther than it did.
func (t *Turn) goesOn(e api.Event) {
	old := t.m.Trouble
	switch {
	case old == nil || t.m.State == api.MachineFailed:
	case e.Step == old.Step && (e.State == api.StateDone || e.Progress.Beyond(old.Farthest)):
		t.m.Trouble = nil
	case old.Resting:
		again := *old
		again.Resting, again.Next = false, time.Time{}
		t.m.Trouble = &again
	}
}

// TroubleOf is what a person should look at first; nil: nothing. A machine that
// is not to be flashed, and was not, has none, whatever its agent says while it
// waits.
func TroubleOf(m *Record) *api.Trouble {
	own := m.Trouble
	switch {
	case m.State == api.MachineFailed && own != nil:
		return own.shown(m)
	case m.Armed == nil && !Awaiting(m):
		return nil
	case m.Conflict != "":
		return &api.Trouble{Cause: api.CauseConflict, Message: m.Conflict, Since: m.ConflictSince}
	case !m.Stuck.IsZero():
		return &api.Trouble{Cause: api.CauseSilent, Message: m.Message, Since: m.Stuck}
	case own != nil:
		return own.shown(m)
	case m.NotBooted != "" && (m.State == api.MachineArmed || m.State == api.MachineBooting):
		return &api.Trouble{Cause: cmp.Or(m.NotBootedCause, api.CauseOtherMachine), Message: m.NotBooted, Since: m.NotBootedSince}
	case m.State == api.MachineUnconfirmed && confirms(m.Awaited):
		return &api.Trouble{Cause: api.CauseNoSign, Message: m.Message, Since: m.Since}
	}
	return nil
}

func (t *Trouble) shown(m *Record) *api.Trouble {
	return &api.Trouble{Cause: t.Cause, Message: cmp.Or(t.Message, m.Message), Since: t.Since, Tries: t.Tries, NextTry: t.Next}
}

// Upgrade brings a record that an older server stored into today's form. Those
// called every machine failed whose agent had told of a failure, armed or not.
func (m *Record) Upgrade() {
	cause := m.OldCause
	m.OldCause = ""
	if m.State != api.MachineFailed || m.Trouble != nil {
		return
	}
	m.Trouble = &Trouble{Cause: cmp.Or(cause, api.CauseFlash), Since: m.Since}
	switch {
	case cause == api.CauseBootFailed, cause == api.CauseRestored, m.Live:
		return // it cannot continue by itself
	case m.Armed != nil:
		m.State, m.Trouble.Tries, m.Trouble.Resting = api.MachineFlashing, 1, true
	case m.Awaited != nil && m.Receipt != nil && m.Awaited.Plan == m.Receipt.Plan:
		m.State = api.MachineHandingOff // its disk is complete: a sign of life is still awaited
	case Registered(m):
		m.State, m.Trouble = api.MachineRegistered, nil
	default:
		m.State, m.Trouble = api.MachineDiscovered, nil
	}
}
