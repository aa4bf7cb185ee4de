package fleet

import (
	"cmp"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Defaults of settings.Confirm.
const (
	confirmWithin = 600 // seconds
	confirmBoots  = 3
)

// await makes the wait for a sign of life of the system that was just flashed.
// Where nothing would give one, boots say nothing: a machine that tries the
// network first at every start is then as good as any.
// reboots says that it is entered by a boot.
func await(armed Armed, plan string, reboots bool, now time.Time) *Awaited {
	c := armed.Confirm
	w := &Awaited{
		Plan: plan, Beacon: armed.Beacon, Probe: c.Probe, Reach: armed.Reach, Limit: c.Boots,
		Until: now.Add(time.Duration(cmp.Or(c.Within, confirmWithin)) * time.Second),
	}
	if w.Limit == 0 && confirms(w) {
		w.Limit = confirmBoots
	}
	if w.Limit > 0 && reboots {
		w.Limit++ // the first boot is the handoff itself
	}
	return w
}

// confirms reports whether anything would say that the new system runs.
func confirms(w *Awaited) bool { return w.Beacon != "" || w.Probe != "" }

// Awaiting reports whether the new system has not reported in yet.
func Awaiting(m *Record) bool {
	return m.Awaited != nil && handedOff(m) && (m.State == api.MachineHandingOff || m.State == api.MachineUnconfirmed)
}

// handedOff reports whether the machine has left the agent for its new system,
// whose disk may not be complete yet.
func handedOff(m *Record) bool { return m.Armed == nil || m.Live }

// Beacon takes the call of a new system that presents a token. ok is false for
// one that nobody waits for. A call may be repeated, and may come late: it is
// true all the same.
func Beacon(m *Record, token, from string, now time.Time) (events []api.Event, ok bool) {
	w := m.Awaited
	if w == nil || token == "" || w.Beacon != token || !handedOff(m) {
		return nil, false
	}
	if m.State == api.MachineRunning {
		return nil, true
	}
	t := touch(m, api.ActorMachine, now)
	if from != "" {
		m.Address = from
	}
	t.running("the new system reported in")
	return t.Events, true
}

// Probed notes that a probe reached the new system of a plan.
func Probed(m *Record, plan string, now time.Time) []api.Event {
	if !Awaiting(m) || m.Awaited.Plan != plan {
		return nil
	}
	t := Begin(m, api.ActorServer, now)
	t.running("the new system answers the probe " + m.Awaited.Probe)
	return t.Events
}

func (t *Turn) running(message string) {
	e := Did(StepConfirm, message)
	e.Plan = t.m.Awaited.Plan
	t.m.Trouble = nil
	t.m.Took.Started(t.m.State, t.now.Sub(t.m.Since))
	t.Enter(api.MachineRunning, e)
}

// overdue ends the wait for a sign of life. One that comes later still counts.
func (t *Turn) overdue(listening time.Time) {
	m := t.m
	w := m.Awaited
	if m.State != api.MachineHandingOff || w == nil || t.now.Before(w.Until) {
		return
	}
	if confirms(w) && t.now.Before(listening.Add(callAgain)) {
		return // it may have called while nobody was there
	}
	e := api.Event{Step: StepConfirm, State: api.StateFailed, Cause: api.CauseNoSign, Plan: w.Plan}
	switch {
	case !confirms(w):
		e.State, e.Cause = api.StateDone, ""
		e.Message = "flashed"
		if m.Live {
			e.Message = "entered, its disk is not complete yet"
		}
		e.Message += "; whether the new system runs is not known: it has no beacon and no probe"
	default:
		e.Message = fmt.Sprintf("no sign of life from the new system by %s", w.Until.UTC().Format(time.RFC3339))
	}
	t.Enter(api.MachineUnconfirmed, e)
}
