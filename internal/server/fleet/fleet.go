// Package fleet is the rules by which machines are flashed: what a machine is
// answered, by what is remembered of it.
//
// Every rule is a function on an [Record] and a time: no clock, no
// sockets, no store. The caller keeps the machine and makes each call one
// transaction. A machine with nothing but its ID is one never seen before.
//
// What the rules hold to (the tests drive them at random to see it):
//   - no plan leaves without an arm, and one arm yields at most one receipt;
//   - a machine that is not armed boots its local disk, whatever else is known;
//   - one live agent a machine: a second one waits until the first is gone;
//   - every change of state is an event with who made it and why.
package fleet

import (
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// SilentAfter is how long an agent that holds a plan may be silent before
// another one may take its place. It is the length of the agent's lease, which
// each of its words renews: the record is where the lease is kept, so that
// taking it is one transaction with what it permits.
const SilentAfter = 60 * time.Second

// Steps of the events that the server notes itself. The agent's own steps are
// in its boot table.
const (
	StepDiscover = "discover" // firmware was seen on the wire
	StepTFTP     = "tftp"     // firmware or iPXE asked by TFTP for a file, and was refused
	StepBoot     = "boot"     // a boot script was given
	StepHello    = "hello"    // an agent asked for its plan
	StepArm      = "arm"      // armed, cancelled, lapsed
	StepRegister = "register" // what the operator says of it was changed
	StepApply    = "apply"    // groups or identities were changed
	StepJoin     = "join"     // two records turned out to be one machine
	StepConfirm  = "confirm"  // the new system reported in, or did not
	StepStuck    = "stuck"    // an agent that should speak is silent, or speaks again
	StepDropped  = "dropped"  // a machine told more than is kept
	StepPower    = "power"    // its power was switched, or its next boot set, by its power control
)

// StepFlash is the agent's step in which the disk is written. Its start is
// the point of no return: see [Cancel].
const StepFlash = "flash"

// Source is what kind of software a machine was seen running.
type Source int

// The sources. Only firmware and iPXE prove that an agent that ran before is
// gone; the agent and the installed system take leases too.
const (
	FromOther    Source = iota // an operating system or the agent
	FromFirmware               // PXE or UEFI HTTP boot
	FromIPXE
)

// Sighting is one appearance of a machine on the wire, before it has asked
// for anything that needs a decision.
type Sighting struct {
	MAC      string // in the form that ParseMAC gives
	UUID     string // of its firmware (DHCP option 97); may be empty
	Source   Source
	Firmware string // "BIOS", "UEFI x64", ...; may be empty
	Step     string // the event's step; empty is StepDiscover
	Message  string // for people: what was seen or given
	Cause    string // stable code when it could not continue
}

// Records reports whether the sighting makes an unknown machine known. Any
// telephone on the network asks for a lease; only what boots from the network
// is a machine of ours.
func (s Sighting) Records() bool { return s.Source != FromOther }

// Seen notes a sighting and returns the events to keep. A sighting of an
// unknown machine that did not come from firmware or iPXE is not worth a
// record: the caller asks [Sighting.Records] first.
//
// Anybody can send one for any machine: it only asks. It takes nothing from an
// agent that keeps speaking, and moves no state.
func Seen(m *Record, s Sighting, now time.Time) []api.Event {
	again := m.Message == s.Message && now.Sub(m.LastSeen) < toldEvery
	t := touch(m, api.ActorMachine, now)
	if s.Source != FromOther {
		t.asks(s.MAC)
	}
	if s.Firmware != "" {
		m.Firmware = s.Firmware
	}
	if m.Inventory == nil && s.UUID != "" {
		m.Inventory = &api.Inventory{MAC: s.MAC, UUID: s.UUID}
	}
	if s.Message == "" || again {
		return t.Events
	}
	e := Did(s.Step, s.Message)
	if e.Step == "" {
		e.Step = StepDiscover
	}
	m.Message = s.Message
	if s.Cause != "" {
		e.State, e.Cause = api.StateFailed, s.Cause
		if m.Armed != nil {
			t.notBooted(s.Cause, s.Message)
			return t.Events
		}
	}
	t.Note(e)
	return t.Events
}

// asks notes that firmware showed the machine's address. If it was its own,
// whatever agent was in it is gone, and will be silent from now on.
func (t *Turn) asks(mac string) {
	m := t.m
	m.FirmwareSeen = t.now
	if m.Session != "" && !m.Asked.After(m.AgentSeen) {
		m.Asked = t.now
	}
	if mac != "" && !alive(m, t.now) {
		m.MAC = mac
		m.Waiting = false
	}
}

// Decision is the answer to a machine that asks what to boot.
type Decision struct {
	ID    string         // of the machine's record
	Image *api.PlanImage // boot this image's kernel and the agent; nil: the local disk
	Why   string         // for the console of the machine
	// Arch is that of the machine, as its agent or iPXE has told, and Handoff
	// what its plan asks for: by both what it boots is chosen.
	Arch, Handoff string
	// Ticket is for the agent to present; the caller makes it: see [Issue].
	Ticket string
}

// Boot decides what a machine boots that asks for its script. who is what
// its firmware says of itself, which is all that is known of a machine until
// an agent has looked. discover is the image whose kernel unknown machines
// boot to report what they are; nil: they boot their disk.
func Boot(m *Record, who api.Inventory, discover *api.PlanImage, now time.Time) (Decision, []api.Event) {
	t := touch(m, api.ActorMachine, now)
	own := Owns(m, who.MAC) > OwnsNot
	if m.Armed != nil {
		if err := fits(m, &who); err != nil {
			t.notBooted(causeOf(err), err.Error())
			return Decision{ID: m.ID, Why: err.Error() + ": booting the local disk"}, t.Events
		}
	}
	t.asks(who.MAC)
	if m.Inventory == nil || m.Inventory.Kernel == "" {
		m.Inventory = carry(m.Inventory, who)
	}
	switch {
	case m.Armed != nil:
		image := m.Armed.Holds()
		d := Decision{
			ID: m.ID, Image: &image, Why: "booting the agent for " + image.Name,
			Arch: m.Inventory.Arch, Handoff: m.Armed.Plan.Handoff,
		}
		if alive(m, now) && m.State != api.MachineBooting {
			// It has an agent, whose silence will show that it was restarted.
			e := Did(StepBoot, "its boot script was requested while its agent is at work: if this continues, another machine is asking")
			if !m.Asked.Before(now) {
				t.Note(e)
			}
			return d, t.Events
		}
		t.restarted(d.Why)
		return d, t.Events
	case discover != nil && !Registered(m):
		image := *discover
		d := Decision{ID: m.ID, Image: &image, Arch: m.Inventory.Arch, Why: "unknown here: booting the agent to see what this machine is"}
		t.Enter(api.MachineDiscovered, Did(StepBoot, d.Why))
		return d, t.Events
	}
	d := Decision{ID: m.ID, Why: "not armed: booting the local disk"}
	if Awaiting(m) {
		d.Why = "already flashed: booting the local disk"
	}
	if alive(m, now) && m.Waiting {
		return d, t.Events
	}
	t.localDisk(d.Why, own)
	return d, t.Events
}

// restarted notes that an armed machine is on its way to an agent, whatever it
// had before.
func (t *Turn) restarted(why string) {
	m := t.m
	t.cutShort()
	m.Trouble, m.Progress = nil, nil
	t.Enter(api.MachineBooting, Did(StepBoot, why))
}

// countEvery is how often a network boot of a machine counts: real ones are
// further apart.
const countEvery = time.Minute

// localDisk notes that the machine was sent to its disk. What is not yet known
// of its new system, and why it failed, is worth more than that: such a
// machine stays in its state, and each boot without a sign of life counts.
// own says that it asked by an address that is known to be its.
func (t *Turn) localDisk(why string, own bool) {
	m := t.m
	e := Did(StepBoot, why)
	switch {
	case Awaiting(m):
		w := *m.Awaited
		if !own || t.now.Sub(w.Counted) < countEvery {
			return
		}
		w.Boots++
		w.Counted = t.now
		m.Awaited = &w
		e.Plan = w.Plan
		if w.Limit > 0 && w.Boots >= w.Limit {
			e.State, e.Cause = api.StateFailed, api.CauseBootFailed
			e.Message = fmt.Sprintf("the new system has not started: %d network boots and no sign of life from it; it is not flashed again", w.Boots)
			t.fail(e)
			return
		}
		t.Note(e)
	case m.State == api.MachineFailed:
		t.Note(e)
	case Stranger(m):
		t.Enter(api.MachineDiscovered, e) // what it is to the operator has not changed
	default:
		t.Enter(api.MachineLocalDisk, e)
	}
}

// Registered reports whether the operator knows the machine: said something
// of it, or has armed it once.
func Registered(m *Record) bool {
	return m.Spec.Name != "" || len(m.Spec.SharedMACs) > 0 || len(m.Spec.MACs) > 0 || m.Spec.UUID != "" || m.Spec.Serial != "" ||
		m.Armed != nil
}
