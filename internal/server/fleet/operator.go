package fleet

import (
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// BusyError says that a machine is being written, so that what the operator
// asked for would leave a disk that does not boot.
type BusyError struct {
	MAC  string
	What string // "cancel", "arm", "delete"
	Done *api.Progress
}

func (e *BusyError) Error() string {
	at := ""
	if e.Done != nil && e.Done.Total > 0 {
		at = fmt.Sprintf(" (%s, %d %%)", e.Done.Phase, int64(100*(float64(e.Done.Done)/float64(e.Done.Total))))
	}
	return fmt.Sprintf("cannot %s %s: its disk is being written%s and would not boot if left now", e.What, e.MAC, at)
}

// Hint says what the operator can do.
func (e *BusyError) Hint() string {
	return fmt.Sprintf("wait until it has ended; if the machine is dead, try again when it has been silent for %d seconds", int(SilentAfter.Seconds()))
}

// UnknownError says that the operator named something that does not exist.
type UnknownError struct {
	What string // "machine", "image"
	Name string
	Help string // what the operator can do
}

func (e *UnknownError) Error() string { return fmt.Sprintf("unknown %s %.80q", e.What, e.Name) }

// Hint says what the operator can do.
func (e *UnknownError) Hint() string { return e.Help }

// InvalidError says that the operator asked for something that cannot be.
type InvalidError struct {
	Problem string
	Help    string // what the operator can do
}

func (e *InvalidError) Error() string { return e.Problem }

// Hint says what the operator can do.
func (e *InvalidError) Hint() string { return e.Help }

// Arm gives the permission for exactly one flash. The plan's ID must be new:
// it is what makes this arm different from every other. Arming again replaces
// an arm whose flash has not begun to write; an agent that already holds the
// old plan is told so at its next word.
func Arm(m *api.Machine, plan api.Plan, expires, now time.Time) ([]api.Event, error) {
	events := Lapse(m, now)
	if writing(m, now) {
		return nil, &BusyError{MAC: m.MAC, What: "arm", Done: m.Progress}
	}
	disarm(m, api.MachineArmed, now)
	m.Since = now
	m.Armed = &api.Armed{Plan: plan, Since: now, Expires: expires}
	m.Session, m.Seq, m.AgentSeen = "", 0, time.Time{}
	m.Cause = ""
	m.Message = "armed: will be flashed with " + plan.Image.Name + " at its next network boot"
	return append(events, api.Event{Time: now, Step: StepArm, State: api.StateDone, Message: m.Message}), nil
}

// Cancel takes an arm back. It works until the agent has reported its first
// write, and again once the agent has failed or fallen silent: the disk is
// then half written and the message says so. Cancelling a machine that is not
// armed changes nothing.
func Cancel(m *api.Machine, now time.Time) ([]api.Event, error) {
	events := Lapse(m, now)
	if m.Armed == nil {
		return events, nil
	}
	if writing(m, now) {
		return nil, &BusyError{MAC: m.MAC, What: "cancel", Done: m.Progress}
	}
	msg := "cancelled: boots its local disk"
	if m.Writing {
		msg = "cancelled after the flash had begun: the disk may not boot until it is flashed again"
	}
	disarm(m, api.MachineRegistered, now)
	m.Cause = ""
	m.Message = msg
	return append(events, api.Event{Time: now, Step: StepArm, State: api.StateDone, Message: msg}), nil
}

// Forget reports whether the machine's record may be dropped.
func Forget(m *api.Machine, now time.Time) error {
	if writing(m, now) {
		return &BusyError{MAC: m.MAC, What: "delete", Done: m.Progress}
	}
	return nil
}

// writing reports whether a live agent is past the point of no return.
func writing(m *api.Machine, now time.Time) bool {
	return m.Writing && m.State != api.MachineFailed && alive(m, now)
}

// alive reports whether the agent of m.Session can still be at work: it spoke
// not long ago, and the machine's firmware was not seen since.
func alive(m *api.Machine, now time.Time) bool {
	return m.Session != "" && now.Sub(m.AgentSeen) < SilentAfter && !m.FirmwareSeen.After(m.AgentSeen)
}
