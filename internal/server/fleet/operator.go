package fleet

import (
	"cmp"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/progress"
)

// BusyError says that a machine is being written, so that what the operator
// asked for would leave a disk that does not boot.
type BusyError struct {
	MAC  string // or name
	What string // "cancel", "arm", "delete"
	Done *api.Progress
	Live bool // its system runs from that disk
}

func (e *BusyError) Error() string {
	if e.Live {
		return fmt.Sprintf("cannot %s %s: its system runs from a disk that is still being written%s", e.What, e.MAC, howFar(e.Done))
	}
	return fmt.Sprintf("cannot %s %s: its disk is being written%s and would not boot if left now", e.What, e.MAC, howFar(e.Done))
}

// howFar is how far a flash is, for the middle of a sentence.
func howFar(p *api.Progress) string {
	if e := progress.Of(p.Facts()); e != nil {
		return fmt.Sprintf(" (%s, %d %%)", e.Phase, e.Percent)
	}
	return ""
}

// Busy is the error of what must not be done to a machine that is written; what
// is "cancel", "arm" or "delete".
func Busy(m *Record, what string) *BusyError {
	return &BusyError{MAC: Called(m), What: what, Done: m.Progress, Live: m.Live}
}

// Hint says what the operator can do.
func (e *BusyError) Hint() string {
	cut := "gild cancel --force " + e.MAC
	if e.What == "delete" {
		cut = "gild machine rm --force " + e.MAC
	}
	return "wait until it has ended, or cut it off: " + cut + " leaves a disk that does not boot until it is flashed again"
}

// ConflictError says that something is no longer, or already, as the operator
// supposed.
type ConflictError struct {
	Problem string
	Help    string // what the operator can do
}

func (e *ConflictError) Error() string { return e.Problem }

// Hint says what the operator can do.
func (e *ConflictError) Hint() string { return e.Help }

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

// Arm gives the permission for exactly one flash. The ID of armed.Plan must be
// new: it is what makes this arm different from every other. Arming again
// replaces an arm whose flash has not begun to write; an agent that already
// holds the old plan is told so at its next word. A machine that was armed is
// one that the operator knows.
func Arm(m *Record, armed Armed, now time.Time) ([]api.Event, error) {
	t := Begin(m, cmp.Or(armed.By, api.ActorOperator), now)
	t.lapse()
	if Writing(m, now) {
		return nil, Busy(m, "arm")
	}
	if m.Armed != nil {
		t.Note(cancelled("replaced by another arm"))
	}
	if k := Knows(m); k.UUID == "" && k.Serial == "" && len(k.MACs) == 0 {
		return nil, &ConflictError{
			Problem: "nothing is known that " + Called(m) + " could be recognised by",
			Help:    "register its UUID, serial or MAC address (gild machine edit), or let it boot once",
		}
	}
	if !Registered(m) {
		m.Spec = specOf(m)
	}
	if !m.Waiting {
		// A waiting agent stays bound: it is told of the plan at once.
		m.Session, m.Seq, m.AgentSeen = "", 0, time.Time{}
	}
	armed.Since, armed.Before = now, before(m)
	m.Armed, m.Awaited = &armed, nil
	t.booted()
	m.Writing, m.Live, m.Progress, m.Trouble = false, false, nil, nil
	image := armed.Plan.Image
	e := Did(StepArm, "will be flashed with "+image.Name+" at its next network boot")
	e.Image, e.Identity = &image, armed.IdentityName
	m.State = "" // armed anew is news, too
	t.Enter(api.MachineArmed, e)
	return t.Events, nil
}

// before is how a machine is that is about to be armed.
func before(m *Record) *Before {
	switch {
	case m.Armed != nil && m.State == api.MachineArmed:
		return m.Armed.Before
	case m.Armed != nil, m.State == "", m.State == api.MachineDiscovered:
		return nil
	}
	return &Before{State: m.State, Since: m.Since, Awaited: m.Awaited, Trouble: m.Trouble}
}

// specOf is what a machine that was only seen is known by once it is armed.
func specOf(m *Record) api.Spec {
	s, k := m.Spec, Knows(m)
	switch {
	case m.MAC != "" && m.MAC == m.ID:
		s.MACs = []string{m.MAC}
	case k.UUID != "":
		s.UUID = k.UUID // its address is another's, or shared
	case k.Serial != "":
		s.Serial = k.Serial
	case m.MAC != "":
		s.MACs = []string{m.MAC}
	}
	return s
}

func cancelled(why string) api.Event {
	e := Did(StepArm, why)
	e.Cause = api.CauseCancelled
	return e
}

// Cancel takes an arm back. It works until the agent has reported its first
// write, and again once the agent has failed or fallen silent: the disk is
// then half written and the message says so. force does it also under a live
// agent, which is told at its next word and stops. Cancelling a machine that is
// not armed changes nothing.
func Cancel(m *Record, actor string, force bool, now time.Time) ([]api.Event, error) {
	t := Begin(m, cmp.Or(actor, api.ActorOperator), now)
	t.lapse()
	if m.Armed == nil {
		return t.Events, nil
	}
	live := Writing(m, now)
	if live && !force {
		return nil, Busy(m, "cancel")
	}
	e := cancelled("cancelled: boots its local disk")
	e.Plan = m.Armed.Plan.ID
	switch {
	case live && m.Live:
		e.Message = "cancelled by force under its running system" + howFar(m.Progress) +
			": what is not on the disk yet is lost to that system, and the disk does not boot until it is flashed again"
	case live:
		e.Message = "cancelled by force while its disk was being written" + howFar(m.Progress) +
			": the disk does not boot until it is flashed again"
	case m.Writing:
		e.Message = "cancelled after the flash had begun: the disk may not boot until it is flashed again"
	case m.State == api.MachineArmed && m.Armed.Before != nil && m.Armed.Before.State == api.MachineRunning:
		e.Message = "cancelled: its system keeps running"
	}
	t.takeBack(e)
	return t.Events, nil
}

// Forget permits to drop the machine's record, and tells what that ends. force
// drops it also while it is armed and under a live agent, which is told at its
// next word and stops.
func Forget(m *Record, actor string, force bool, now time.Time) ([]api.Event, error) {
	t := Begin(m, cmp.Or(actor, api.ActorOperator), now)
	live := Writing(m, now)
	switch {
	case force:
	case live:
		return nil, Busy(m, "delete")
	case m.Armed != nil:
		problem := "cannot delete " + Called(m) + ": it is armed with " + m.Armed.Plan.Image.Name
		if m.Writing {
			problem += ", and its disk is half written" + howFar(m.Progress)
		}
		return nil, &ConflictError{Problem: problem, Help: "gild cancel " + Called(m) + " disarms it; gild machine rm --force " + Called(m) +
			" forgets both"}
	}
	e := Did(StepRegister, "forgotten")
	switch {
	case live:
		e.Message = "forgotten by force while its disk was being written" + howFar(m.Progress) +
			": the disk does not boot until it is flashed again"
	case m.Armed != nil:
		e.Message = "forgotten, and with it that it was armed with " + m.Armed.Plan.Image.Name
	}
	t.Note(e)
	return t.Events, nil
}

// Called is what to call the machine before a person.
func Called(m *Record) string { return cmp.Or(m.Spec.Name, m.MAC, m.ID) }

// Writing reports whether a live agent is past the point of no return.
func Writing(m *Record, now time.Time) bool {
	resting := m.Trouble != nil && (m.Trouble.Resting || m.State == api.MachineFailed)
	return m.Writing && !resting && alive(m, now)
}

// askedFor is how long an agent keeps its machine after firmware has shown the
// machine's address: two heartbeats. If it speaks until then, what showed the
// address was another.
const askedFor = 2 * api.HeartbeatEvery * time.Second

// alive reports whether the agent of m.Session can still be at work: it spoke
// not long ago, and was not silent since firmware was seen.
func alive(m *Record, now time.Time) bool {
	if m.Session == "" || now.Sub(m.AgentSeen) >= SilentAfter {
		return false
	}
	return !m.Asked.After(m.AgentSeen) || now.Sub(m.Asked) < askedFor
}
