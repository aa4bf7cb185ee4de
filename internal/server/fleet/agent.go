package fleet

import (
	"fmt"
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Seconds after which an agent that has to wait asks again.
const (
	retryConflict = 10
	retryVersion  = 60
)

// SessionError says that a report came from an agent that does not hold the
// machine's plan (any more). The agent must not write after it.
type SessionError struct {
	MAC string
	Why string
}

func (e *SessionError) Error() string { return fmt.Sprintf("report for %s refused: %s", e.MAC, e.Why) }

// Hello answers an agent. An armed machine's agent gets the plan and is bound
// to it; the same agent asking again gets the same answer. The caller has
// checked h with [CheckHello].
func Hello(m *api.Machine, h api.Hello, now time.Time) (api.Answer, []api.Event) {
	events := touch(m, now)
	if h.Version != api.Version {
		msg := fmt.Sprintf("agent speaks protocol %d, this server %d: a stale initramfs is cached somewhere; restart the machine", h.Version, api.Version)
		return wait(m, retryVersion, CauseVersion, msg, events, now)
	}
	known := m.Session == h.Session
	if m.Armed != nil && m.Session != "" && !known && alive(m, now) {
		// The refused machine may be another one: keep the holder's inventory.
		msg := fmt.Sprintf("another agent (serial %.40q) is flashing under %s; one of two machines has a copied address, or this one was restarted: waiting until the other is silent",
			serial(m), m.MAC)
		return wait(m, retryConflict, CauseConflict, msg, events, now)
	}
	inventory := h.Inventory
	m.Inventory = &inventory
	m.AgentSeen = now
	if !known {
		m.Session, m.Seq = h.Session, 0
	}
	if m.Armed == nil {
		return api.Answer{Action: api.ActionLocalDisk, Message: "this machine is not armed"}, events
	}
	if !known || m.State != api.MachineFlashing {
		m.Message = "has its plan: " + m.Armed.Plan.Image.Name
		m.Cause = ""
		events = append(events, api.Event{Time: now, Step: StepHello, State: api.StateDone, Message: m.Message})
	}
	setState(m, api.MachineFlashing, now)
	plan := m.Armed.Plan
	return api.Answer{Action: api.ActionFlash, Plan: &plan}, events
}

// wait makes the answer of a refusal and notes it once, not at every retry.
func wait(m *api.Machine, retry int, cause, msg string, events []api.Event, now time.Time) (api.Answer, []api.Event) {
	if m.Message != msg {
		m.Message = msg
		events = append(events, api.Event{Time: now, Step: StepHello, State: api.StateFailed, Message: msg, Cause: cause})
	}
	return api.Answer{Action: api.ActionWait, Retry: retry, Message: msg}, events
}

func serial(m *api.Machine) string {
	if m.Inventory == nil {
		return ""
	}
	return m.Inventory.Serial
}

// Report takes an agent's events into the record and returns those to keep.
// Events that were taken before are dropped without an error, so a report may
// be sent again until it is answered. A *SessionError means that the agent
// has lost its plan. The caller has checked r with [CheckReport].
func Report(m *api.Machine, r api.Report, now time.Time) ([]api.Event, error) {
	// The last report of a flash is repeated when its answer was lost, and by
	// then the machine may be armed again: it is known by its receipt.
	if repeated(m, r) {
		return nil, nil
	}
	events := touch(m, now)
	if err := holds(m, r, now); err != nil {
		return nil, err
	}
	m.AgentSeen = now
	for _, e := range r.Events {
		if e.Seq <= m.Seq {
			continue
		}
		m.Seq = e.Seq
		if err := take(m, e, now); err != nil {
			return nil, err
		}
		// Progress lives in the record; a log of it would push out the rest.
		if e.State != api.StateProgress {
			events = append(events, e)
		}
	}
	return events, nil
}

// holds reports whether the agent may speak for the machine, and binds one
// that is the first to speak.
func holds(m *api.Machine, r api.Report, now time.Time) error {
	switch {
	case r.Plan != "" && (m.Armed == nil || m.Armed.Plan.ID != r.Plan) && !lastFlash(m, r):
		return &SessionError{m.MAC, "its plan was cancelled or replaced by the operator"}
	case m.Session == r.Session:
		return nil
	case r.Plan != "" || m.Armed != nil && m.Session != "" && alive(m, now):
		return &SessionError{m.MAC, "another agent holds the plan of this machine"}
	}
	m.Session, m.Seq = r.Session, 0
	return nil
}

// lastFlash reports whether r comes from the agent of the flash that the
// record's receipt is of: it still has the handoff to tell.
func lastFlash(m *api.Machine, r api.Report) bool {
	return m.Armed == nil && m.Receipt != nil && m.Receipt.Plan == r.Plan && m.Session == r.Session
}

// repeated reports whether r holds nothing but the past of a flash that has
// its receipt already.
func repeated(m *api.Machine, r api.Report) bool {
	return m.Session != r.Session && m.Receipt != nil && r.Plan != "" && m.Receipt.Plan == r.Plan &&
		slices.ContainsFunc(r.Events, func(e api.Event) bool { return e.Receipt != nil })
}

// take applies one event to the record.
func take(m *api.Machine, e api.Event, now time.Time) error {
	if e.Message != "" {
		m.Message = e.Message
	}
	switch {
	case e.Receipt != nil:
		return finish(m, e.Receipt, now)
	case e.State == api.StateFailed:
		m.Cause = e.Cause
		setState(m, api.MachineFailed, now)
		return nil
	case m.Armed == nil:
		return nil
	case e.Step == StepFlash:
		m.Writing = true
	}
	if e.Progress != nil {
		m.Progress = e.Progress
		m.Writing = true
	}
	if m.State == api.MachineFailed || m.State == api.MachineBooting {
		m.Cause = ""
		setState(m, api.MachineFlashing, now)
	}
	return nil
}

// finish uses the arm up. A receipt for anything but the armed plan is
// refused: it is no proof that this flash was done.
func finish(m *api.Machine, r *api.Receipt, now time.Time) error {
	if m.Armed == nil {
		return &SessionError{m.MAC, "a receipt, but the machine is not armed"}
	}
	plan := m.Armed.Plan
	if r.Plan != plan.ID || r.Image != plan.Image.Digest {
		return &SessionError{m.MAC, "the receipt is for another plan or image than the armed one"}
	}
	disarm(m, api.MachineHandingOff, now)
	m.Receipt = r
	m.Cause = ""
	return nil
}
