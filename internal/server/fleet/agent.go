package fleet

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet/history"
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

// EarlyError says that a report came before the hello that binds its agent to
// a machine. It may be sent again.
type EarlyError struct{ MAC string }

func (e *EarlyError) Error() string {
	return "report for " + e.MAC + " refused: this machine is bound to no agent that has said hello with it"
}

func (e *SessionError) Error() string { return fmt.Sprintf("report for %s refused: %s", e.MAC, e.Why) }

// refreshAfter is how old the record of a waiting agent's last word may get
// before a word that says nothing new is written down: four hundred of them
// ask every few seconds.
const refreshAfter = 30 * time.Second

// Hello answers an agent that speaks from the IP address from. An armed
// machine's agent gets the plan and is bound to it, if the machine is the one
// that was agreed to and the agent's ticket fits; the same agent asking again
// gets the same answer. discover says that agents of unknown machines
// are to wait for an arm. The caller has checked h with [wire.CheckHello].
func Hello(m *Record, h api.Hello, from string, discover bool, now time.Time) (api.Answer, []api.Event) {
	if quiet(m, h, from, now) {
		return waitForArm(), nil
	}
	known := m.Session == h.Session
	if m.Armed != nil {
		if err := fits(m, &h.Inventory); err != nil {
			return Refused(m, h.Inventory, err, now)
		}
	}
	// What was sent for all to read opens nothing.
	old := h.Plain && h.Ticket != ""
	if h.Ticket != "" && !old {
		if err := redeem(m, &h, now); err != nil {
			return Refused(m, h.Inventory, err, now)
		}
	}
	if !known && claimed(m, now) {
		if sameHardware(m.Inventory, &h.Inventory) && !m.Asked.After(m.AgentSeen) {
			m.Asked = now
		}
		return conflict(m, h, from, now)
	}
	t := touch(m, api.ActorAgent, now)
	if h.Version != api.Version {
		msg := fmt.Sprintf("agent speaks protocol %d, this server %d: a stale initramfs is cached somewhere; restart the machine", h.Version,
			api.Version)
		if m.Message != msg {
			m.Message = msg
			t.Note(api.Event{Step: StepHello, State: api.StateFailed, Message: msg, Cause: api.CauseVersion})
		}
		return api.Answer{Action: api.ActionWait, Retry: retryVersion, Message: msg}, t.Events
	}
	if old {
		return outdated(m, t)
	}
	m.Inventory, m.MAC = carry(m.Inventory, h.Inventory), cmp.Or(h.Inventory.MAC, m.MAC)
	t.spoke(h.Session, from)
	switch {
	case m.Armed != nil:
		m.Waiting = false
		t.booted()
		if !known {
			m.Trouble = nil // whatever was tried, it has begun anew
		}
		if !known || m.State != api.MachineFlashing {
			t.Enter(api.MachineFlashing, Did(StepHello, "has its plan: "+m.Armed.Plan.Image.Name))
		}
		plan := m.Armed.Plan
		return api.Answer{Action: api.ActionFlash, Plan: &plan}, t.Events
	case m.Waiting || discover && !Registered(m):
		if !m.Waiting {
			m.Waiting, m.Message = true, WaitsMessage
			t.Note(Did(StepHello, m.Message))
		}
		return waitForArm(), t.Events
	}
	return api.Answer{Action: api.ActionLocalDisk, Message: "this machine is not armed"}, t.Events
}

// WaitsMessage is the last message of a machine whose agent waits.
const WaitsMessage = "hardware reported; waiting to be armed"

// outdated sends an agent away that a boot script has started and that speaks
// plain HTTP: script and initramfs are from before this server had a CA. What
// boots next is its own agent, and what is right on the disk is kept.
func outdated(m *Record, t *Turn) (api.Answer, []api.Event) {
	const msg = "the agent is of an older initramfs and speaks plain HTTP; the machine restarts for the one of this server"
	if m.Message != msg {
		m.Message = msg
		t.Note(api.Event{Step: StepHello, State: api.StateFailed, Message: msg, Cause: api.CauseOutdated})
	}
	return api.Answer{Action: api.ActionLocalDisk, Message: msg}, t.Events
}

func waitForArm() api.Answer {
	return api.Answer{Action: api.ActionWait, Retry: 1, Message: "not armed: waiting for the operator"}
}

// Waits reports whether the answer may be held back until the machine's record
// changes, which saves the agent from asking.
func Waits(m *Record, a api.Answer) bool {
	return a.Action == api.ActionWait && a.Message == waitForArm().Message && m.Waiting && m.Armed == nil && m.Conflict == ""
}

// quiet reports whether a hello of a waiting agent tells nothing that is worth
// writing down.
func quiet(m *Record, h api.Hello, from string, now time.Time) bool {
	return m.Waiting && m.Armed == nil && m.Session == h.Session && m.Stuck.IsZero() && m.Address == from &&
		h.Version == api.Version && now.Sub(m.AgentSeen) < refreshAfter && reflect.DeepEqual(m.Inventory, &h.Inventory)
}

// claimed reports whether a live agent has the machine, so that no other may.
func claimed(m *Record, now time.Time) bool {
	return (m.Armed != nil || m.Waiting) && alive(m, now)
}

// spoke binds the agent that speaks, which may be a new one.
func (t *Turn) spoke(session, from string) {
	m := t.m
	if m.Session != session {
		t.cutShort()
		if m.Armed != nil && m.Armed.IdentityTo != "" && m.Armed.IdentityTo != session {
			// The server's own word: no chatter before it crowds it out.
			t.Note(api.Event{
				Step: StepHello, State: api.StateFailed, Cause: api.CauseSession, Actor: api.ActorServer,
				Message: "another agent, at " + cmp.Or(from, "an unknown address") + ", takes the place of the one that the identity was given to",
			})
		}
		m.Session, m.Seq = session, 0
		m.noConflict()
	}
	m.AgentSeen, m.Asked = t.now, time.Time{}
	if from != "" {
		m.Address = from
	}
}

// conflict refuses a second agent. It may be another machine with a copied
// address: what is known of the holder stays as it is.
func conflict(m *Record, h api.Hello, from string, now time.Time) (api.Answer, []api.Event) {
	t := Begin(m, api.ActorAgent, now)
	second := fmt.Sprintf("a second agent at %s%s", cmp.Or(from, "an unknown address"), ofSerial(h.Inventory.Serial))
	msg := fmt.Sprintf("another agent%s holds %s; either this machine has just restarted, or two have the same address: waiting "+
		"until the other is silent",
		ofSerial(serial(m)), Called(m))
	if m.Conflict == "" {
		m.ConflictSince = now
	}
	if m.Conflict != second {
		t.Note(api.Event{
			Step: StepHello, State: api.StateFailed, Cause: api.CauseConflict,
			Message: second + " claims to be this machine and was refused",
		})
	}
	m.Conflict, m.ConflictSeen = second, now
	return api.Answer{Action: api.ActionWait, Retry: retryConflict, Message: msg}, t.Events
}

func ofSerial(s string) string {
	if s == "" {
		return ""
	}
	return fmt.Sprintf(" (serial %.40q)", s)
}

func serial(m *Record) string {
	if m.Inventory == nil {
		return ""
	}
	return m.Inventory.Serial
}

// Report takes an agent's events into the record and returns those to keep.
// Events that were taken before are dropped without an error, so a report may
// be sent again until it is answered. A *SessionError means that the agent
// has lost its plan, an *EarlyError that it has said no hello, or was sent away
// with it. The caller has checked r with [wire.CheckReport].
func Report(m *Record, r api.Report, from string, now time.Time) ([]api.Event, error) {
	// The last report of a flash is repeated when its answer was lost, and by
	// then the machine may be armed again: it is known by its receipt.
	if repeated(m, r) {
		return nil, nil
	}
	if m.Waiting && len(r.Events) == 0 && m.Session == r.Session && now.Sub(m.AgentSeen) < refreshAfter {
		return nil, nil // a heartbeat of one that waits
	}
	if err := holds(m, r); err != nil {
		return nil, err
	}
	t := touch(m, api.ActorAgent, now)
	t.spoke(r.Session, from)
	for _, e := range r.Events {
		if e.Seq <= m.Seq {
			continue
		}
		m.Seq = e.Seq
		e.Plan = r.Plan
		if err := t.take(e, r.Plan != ""); err != nil {
			return nil, err
		}
	}
	return t.Events, nil
}

// holds reports whether the agent may speak for the machine: it has said
// hello and was not sent away.
func holds(m *Record, r api.Report) error {
	switch {
	case r.Plan != "" && (m.Armed == nil || m.Armed.Plan.ID != r.Plan) && !lastFlash(m, r):
		return &SessionError{m.MAC, "its plan was cancelled or replaced by the operator"}
	case m.Session != "" && m.Session == r.Session:
		return nil
	case r.Plan == "":
		return &EarlyError{m.MAC}
	default:
		return &SessionError{m.MAC, "it is not the agent that this machine is bound to"}
	}
}

// lastFlash reports whether r comes from the agent of the flash that the
// record's receipt is of: it still has the handoff to tell.
func lastFlash(m *Record, r api.Report) bool {
	return m.Armed == nil && m.Receipt != nil && m.Receipt.Plan == r.Plan && m.Session == r.Session
}

// repeated reports whether r holds nothing but the past of a flash that has
// its receipt already.
func repeated(m *Record, r api.Report) bool {
	return m.Session != r.Session && m.Receipt != nil && r.Plan != "" && m.Receipt.Plan == r.Plan &&
		slices.ContainsFunc(r.Events, func(e api.Event) bool { return e.Receipt != nil })
}

// take applies one event to the record and keeps it. What moves a flash is
// only a note when it comes from an agent without a plan.
func (t *Turn) take(e api.Event, plan bool) error {
	m := t.m
	switch {
	case !plan:
		e.Receipt, e.Live = nil, false
		t.keep(e)
		return nil
	case e.Receipt != nil:
		return t.finish(e)
	case m.Armed == nil && !Awaiting(m):
		t.keep(e)
		return nil
	case e.State == api.StateFailed:
		t.failed(e)
		return nil
	}
	t.goesOn(e)
	switch {
	case m.Armed == nil:
		t.keep(e)
		return nil
	case e.Live:
		// From here on the new system can report in, long before its disk
		// is complete.
		m.Live, m.Writing, m.System = true, true, nil
		m.Awaited = await(*m.Armed, e.Plan, false, t.now)
		t.Enter(api.MachineHandingOff, e)
		return nil
	case e.Step == StepFlash:
		m.Writing, m.System = true, nil
	}
	if e.Progress != nil {
		m.Progress = e.Progress
		m.Writing, m.System = true, nil
	}
	if !m.Live && m.State == api.MachineBooting {
		e.Progress = nil
		t.Enter(api.MachineFlashing, e)
		return nil
	}
	t.keep(e)
	return nil
}

// keep notes an event that changes no state. Progress lives in the record; a
// log of it would push out the rest.
func (t *Turn) keep(e api.Event) {
	if e.Message != "" {
		t.m.Message = e.Message
	}
	if e.State != api.StateProgress || e.Progress == nil {
		t.Note(e)
	}
}

// finish uses the arm up. A receipt for anything but the armed plan is
// refused: it is no proof that this flash was done.
func (t *Turn) finish(e api.Event) error {
	m, r := t.m, e.Receipt
	if m.Armed == nil {
		return &SessionError{m.MAC, "a receipt, but the machine is not armed"}
	}
	armed := *m.Armed
	if err := armed.proves(r); err != nil {
		return &SessionError{m.MAC, err.Error()}
	}
	r.Samples = history.Thin(r.Samples, history.KeptSamples)
	e.Plan = r.Plan
	own := *r
	own.Samples = nil
	m.Receipt, m.System, m.Took = &own, &armed.Plan.Image, history.TookOf(&own, m.Progress)
	m.Inventory = withDisk(m.Inventory, own.Disk)
	state := api.MachineHandingOff
	if !m.Live {
		m.Awaited = await(armed, r.Plan, r.Handoff == api.HandoffReboot, t.now)
	} else if m.State == api.MachineRunning || m.State == api.MachineUnconfirmed {
		state = m.State
	}
	t.disarm(state, e)
	return nil
}

// withDisk is an inventory with one disk as it is now: what the next arm would
// erase is no longer what the agent found when it came.
func withDisk(inv *api.Inventory, d api.Disk) *api.Inventory {
	if inv == nil {
		return nil
	}
	i := slices.IndexFunc(inv.Disks, func(o api.Disk) bool { return o.Name == d.Name && o.Serial == d.Serial && o.WWN == d.WWN })
	if i < 0 {
		return inv
	}
	now := *inv
	now.Disks = slices.Clone(inv.Disks)
	now.Disks[i] = d
	return &now
}

// GiveIdentity reports whether the agent of a session may have the identity of
// a plan, which it is then bound to: no other has it while this one speaks. An
// error is a *SessionError.
func GiveIdentity(m *Record, r api.IdentityRequest, now time.Time) ([]api.Event, error) {
	if r.Plan == "" || m.Armed == nil || m.Armed.Plan.ID != r.Plan || m.Session == "" || m.Session != r.Session {
		return nil, &SessionError{r.MAC, "it does not hold this plan"}
	}
	if m.Armed.Plan.Identity == "" || m.Armed.IdentityTo == r.Session {
		return nil, nil
	}
	// That the server gave it away is kept whatever the agent tells beside.
	t := Begin(m, api.ActorServer, now)
	armed := *m.Armed
	armed.IdentityTo = r.Session
	m.Armed = &armed
	t.Note(Did(StepHello, "was given its identity"))
	return t.Events, nil
}
