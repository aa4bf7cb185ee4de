// Package fleet is the rules by which machines are flashed: what the server
// remembers of a machine and answers it when it is seen, boots, says hello,
// reports, is armed or cancelled.
//
// Every rule is a function on an [api.Machine] and a time: no clock, no
// sockets, no store. The caller keeps the machine and makes each call one
// transaction. The zero machine with its MAC set is one never seen before.
//
// What the rules hold to (the tests drive them at random to see it):
//   - no plan leaves without an arm, and one arm yields at most one receipt;
//   - a machine that is not armed boots its local disk, whatever else is known;
//   - one live agent a machine: a second one waits until the first is gone.
package fleet

import (
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// SilentAfter is how long an agent that holds a plan may be silent before
// another one may take its place.
const SilentAfter = 60 * time.Second

// Steps of the events that the server notes itself. The agent's own steps are
// in its boot table.
const (
	StepDiscover = "discover" // firmware was seen on the wire
	StepBoot     = "boot"     // a boot script was given
	StepHello    = "hello"    // an agent asked for its plan
	StepArm      = "arm"      // armed, cancelled, lapsed
)

// StepFlash is the agent's step in which the disk is written. Its start is
// the point of no return: see [Cancel].
const StepFlash = "flash"

// Stable causes of the refusals below, for scripts and the dashboard.
const (
	CauseVersion  = "agent-version"
	CauseConflict = "second-agent"
)

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
	Source   Source
	Firmware string // "BIOS", "UEFI x64", ...; may be empty
	Step     string // the event's step; empty is StepDiscover
	Message  string // for people: what was seen or given
	Cause    string // stable code when it could not go on; an armed machine has then failed
}

// Seen notes a sighting and returns the events to keep. A sighting of an
// unknown machine that did not come from firmware or iPXE is not worth a
// record: the caller asks [Sighting.Records] first.
func Seen(m *api.Machine, s Sighting, now time.Time) []api.Event {
	events := touch(m, now)
	if s.Source != FromOther {
		m.FirmwareSeen = now
	}
	if s.Firmware != "" {
		m.Firmware = s.Firmware
	}
	if s.Message == "" {
		return events
	}
	e := api.Event{Time: now, Step: s.Step, State: api.StateDone, Message: s.Message, Cause: s.Cause}
	if e.Step == "" {
		e.Step = StepDiscover
	}
	if s.Cause != "" {
		e.State = api.StateFailed
		if m.Armed != nil {
			m.Cause = s.Cause
			setState(m, api.MachineFailed, now)
		}
	}
	m.Message = s.Message
	return append(events, e)
}

// Records reports whether the sighting makes an unknown machine known. Any
// telephone on the network asks for a lease; only what boots from the network
// is a machine of ours.
func (s Sighting) Records() bool { return s.Source != FromOther }

// Decision is the answer to a machine that asks what to boot.
type Decision struct {
	MAC   string         // of the machine's record
	Image *api.PlanImage // boot this image's kernel and the agent; nil: the local disk
	Why   string         // for the console of the machine
}

// Boot decides what a machine boots that asks for its script. who is what
// its firmware says of itself, which is all that is known of a machine until
// an agent has looked.
func Boot(m *api.Machine, who api.Inventory, now time.Time) (Decision, []api.Event) {
	events := touch(m, now)
	m.FirmwareSeen = now
	if m.Inventory == nil || m.Inventory.Kernel == "" {
		m.Inventory = &who
	}
	if m.Armed == nil {
		d := Decision{MAC: m.MAC, Why: "not armed: booting the local disk"}
		if m.State == api.MachineHandingOff {
			d.Why = "already flashed: booting the local disk"
		}
		return d, append(events, api.Event{Time: now, Step: StepBoot, State: api.StateDone, Message: d.Why})
	}
	image := m.Armed.Plan.Image
	d := Decision{MAC: m.MAC, Image: &image, Why: "booting the agent for " + image.Name}
	setState(m, api.MachineBooting, now)
	m.Message, m.Cause, m.Progress = d.Why, "", nil
	return d, append(events, api.Event{Time: now, Step: StepBoot, State: api.StateDone, Message: d.Why})
}

// touch is what every contact with a machine begins with.
func touch(m *api.Machine, now time.Time) []api.Event {
	if m.FirstSeen.IsZero() {
		m.FirstSeen = now
	}
	if m.State == "" {
		setState(m, api.MachineDiscovered, now)
	}
	m.LastSeen = now
	return Lapse(m, now)
}

// Lapse takes back an arm that is past its time. An arm whose flash has begun
// to write does not lapse: the disk must be completed.
func Lapse(m *api.Machine, now time.Time) []api.Event {
	if m.Armed == nil || m.Armed.Expires.IsZero() || now.Before(m.Armed.Expires) || m.Writing {
		return nil
	}
	msg := fmt.Sprintf("the permission to flash %s lapsed at %s", m.Armed.Plan.Image.Name, m.Armed.Expires.UTC().Format(time.RFC3339))
	disarm(m, api.MachineRegistered, now)
	m.Message = msg
	return []api.Event{{Time: now, Step: StepArm, State: api.StateDone, Message: msg}}
}

// disarm uses up or takes back the arm.
func disarm(m *api.Machine, state string, now time.Time) {
	m.Armed = nil
	m.Writing = false
	m.Progress = nil
	setState(m, state, now)
}

func setState(m *api.Machine, state string, now time.Time) {
	if m.State != state {
		m.State = state
		m.Since = now
	}
}
