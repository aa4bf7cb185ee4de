package api

import (
	"time"

	"github.com/gild-dev/gild/internal/disk"
	"github.com/gild-dev/gild/internal/progress"
	"github.com/gild-dev/gild/internal/settings"
)

// Paths of the operator API. {machine} is anything that a machine is known
// by: its name, a MAC in any common spelling, its SMBIOS UUID, its serial.
const (
	PathMachines      = "/api/v1/machines"                   // GET ?selector= -> Machines; POST MachineSpec -> Machine
	PathMachine       = "/api/v1/machines/{machine}"         // GET -> Machine; PUT MachineSpec -> Machine; DELETE ?force=
	PathPreview       = "/api/v1/machines/{machine}/preview" // POST FlashRequest -> Preview; arms nothing
	PathFlash         = "/api/v1/machines/{machine}/flash"   // POST FlashRequest -> Machine
	PathCancel        = "/api/v1/machines/{machine}/cancel"  // POST ?force= -> Machine
	PathMachineEvents = "/api/v1/machines/{machine}/events"  // GET -> Events
	PathFlashes       = "/api/v1/machines/{machine}/flashes" // GET -> Flashes
	PathEventStream   = "/api/v1/events"                     // GET, server-sent events
	PathEventLog      = "/api/v1/log"                        // GET ?limit=&audit= -> Log: the newest events of all machines
	PathImages        = "/api/v1/images"                     // GET -> Images; DELETE ?name= -> RemovedImages
	PathImage         = "/api/v1/images/{image}"             // GET -> ImageDetails; PUT manifest -> StoredImage
	PathVerify        = "/api/v1/images/{image}/verify"      // POST -> Verification, a line each
	PathAliases       = "/api/v1/images/{image}/aliases"     // POST Alias -> StoredImage
	PathBlob          = "/api/v1/blobs/{digest}"             // GET -> Blob; PUT ?size=&offset= bytes -> Blob
	PathFleet         = "/api/v1/fleet"                      // GET -> Applied; PUT Fleet ?dryRun= -> FleetDiff
	PathFleetGroup    = "/api/v1/groups/{name}"              // DELETE ?force= -> Removed
	PathFleetIdentity = "/api/v1/identities/{name}"          // DELETE ?force= -> Removed
	PathServers       = "/api/v1/servers"                    // GET -> Servers of this cluster
	PathState         = "/api/v1/state"                      // GET -> StateUsage: how full the database is
)

// States of a machine.
const (
	MachineDiscovered  = "discovered"         // seen, unknown to the operator
	MachineRegistered  = "registered"         // known, nothing to do
	MachineArmed       = "armed"              // will be flashed at its next network boot
	MachineBooting     = "booting"            // was given kernel and initramfs
	MachineFlashing    = "flashing"           // the agent has its plan
	MachineHandingOff  = "handing off"        // sealed, receipt here, the new system has not reported in yet
	MachineRunning     = "running"            // the new system has said so, or a probe has
	MachineUnconfirmed = "unconfirmed"        // the new system did not report in in time
	MachineLocalDisk   = "booting local disk" // asked, and was sent to its disk
	MachineFailed      = "failed"             // cannot continue by itself: Machine.Trouble says why
)

// MachineStates lists them all.
var MachineStates = []string{
	MachineDiscovered, MachineRegistered, MachineArmed, MachineBooting, MachineFlashing, MachineHandingOff,
	MachineRunning, MachineUnconfirmed, MachineLocalDisk, MachineFailed,
}

// Machine is one computer as operators see it.
type Machine struct {
	// ID never changes: the label that the machine was first known by.
	ID string `json:"id"`
	// MAC is the address that the machine last booted or reported by; empty
	// for one that is registered by other labels and was never seen.
	MAC  string `json:"mac,omitempty"`
	Spec Spec   `json:"spec,omitzero"`
	// SpecRevision is of Spec as it is shown here: an edit that sends it back
	// is refused when somebody else has changed the spec since.
	SpecRevision string    `json:"specRevision,omitempty"`
	State        string    `json:"state"`
	Since        time.Time `json:"since"` // of the state
	FirstSeen    time.Time `json:"firstSeen,omitzero"`
	LastSeen     time.Time `json:"lastSeen,omitzero"`
	// AgentSeen is when its agent last spoke, FirmwareSeen when its firmware or
	// iPXE did.
	AgentSeen    time.Time  `json:"agentSeen,omitzero"`
	FirmwareSeen time.Time  `json:"firmwareSeen,omitzero"`
	Firmware     string     `json:"firmware,omitempty"` // as DHCP told: "BIOS", "UEFI x64", ...
	Address      string     `json:"address,omitempty"`  // IP that it was last heard from
	Inventory    *Inventory `json:"inventory,omitempty"`
	Armed        *Armed     `json:"armed,omitempty"`
	// Waiting is set while an agent waits here for an arm.
	Waiting bool `json:"waiting,omitempty"`
	// Stuck is since when an agent that should speak is silent; zero: it is
	// not.
	Stuck time.Time `json:"stuck,omitzero"`
	// Conflict says which second agent claims to be this machine; empty: none.
	// ConflictSeen is when it last did.
	Conflict     string    `json:"conflict,omitempty"`
	ConflictSeen time.Time `json:"conflictSeen,omitzero"`
	// NotBooted says what came in this machine's place, or as itself but
	// unlike what was agreed to, and was not given its plan; NotBootedSeen is
	// when it last did. Empty: nothing since it was armed or had its plan.
	NotBooted     string    `json:"notBooted,omitempty"`
	NotBootedSeen time.Time `json:"notBootedSeen,omitzero"`
	// SharedMACs are addresses of this machine that another one was seen with:
	// they identify neither.
	SharedMACs []string `json:"sharedMACs,omitempty"`
	// Writing is set from the first write of the armed flash to its receipt:
	// the disk is then neither what it was nor what it will be.
	Writing bool `json:"writing,omitempty"`
	// Live is set from an instant handoff to the receipt: the new system runs,
	// and its disk is completed underneath (Writing, Progress).
	Live     bool      `json:"live,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	// Estimate is how far its flash is and how long it still takes, as
	// everybody is shown it; nil: none is under way.
	Estimate *progress.Estimate `json:"estimate,omitempty"`
	Receipt  *Receipt           `json:"receipt,omitempty"` // of the last flash that ended well
	// System is the image of that flash: what is on the disk, as far as gild
	// knows.
	System *PlanImage `json:"system,omitempty"`
	// Awaited is what will confirm that the system of the last flash runs.
	Awaited *Awaited `json:"awaited,omitempty"`
	// Dropped is how many of its events were not kept, as it tells too much; 0
	// again once it tells less.
	Dropped int `json:"dropped,omitempty"`
	// Trouble is what keeps it from going on as it should; nil: nothing does.
	Trouble *Trouble `json:"trouble,omitempty"`
	Message string   `json:"message,omitempty"` // the last message about it
}

// Spec is what an operator says of a machine. All of it is optional but one
// label to recognise the machine by. What a flash of it needs and is not said
// here comes from the groups whose selectors match its labels.
type Spec struct {
	Name   string   `json:"name,omitempty" maxLength:"63" doc:"name for people, unique: letters, digits, hyphens, dots"`
	MACs   []string `json:"macs,omitempty" maxItems:"32"`
	UUID   string   `json:"uuid,omitempty" maxLength:"36" doc:"SMBIOS UUID"`
	Serial string   `json:"serial,omitempty" maxLength:"128" doc:"SMBIOS serial number"`
	// SharedMACs are addresses that it boots by and that other machines use
	// too: an adapter that goes from one to the next.
	SharedMACs []string          `json:"sharedMACs,omitempty" maxItems:"32" doc:"addresses that identify nothing, as several machines use them"`
	Labels     map[string]string `json:"labels,omitempty" doc:"anything to select by, such as rack: b7"`
	Flash      settings.Settings `json:"flash,omitzero"`
	Power      Power             `json:"power,omitzero"`
	// Values are for the templates of its identity: address, role, ...
	Values map[string]string `json:"values,omitempty"`
}

// Awaited is the wait for a sign of life of a new system.
type Awaited struct {
	Plan  string    `json:"plan"`
	Probe string    `json:"probe,omitempty"` // empty: a beacon, if anything
	Until time.Time `json:"until"`
	Boots int       `json:"boots"` // network boots since the handoff, at most one a minute
	Limit int       `json:"limit"` // boots that are taken for a failure; 0: none are
}

// Armed is the operator's permission for exactly one flash.
type Armed struct {
	Plan         Plan             `json:"plan"`
	Since        time.Time        `json:"since"`
	Expires      time.Time        `json:"expires,omitzero"`
	By           string           `json:"by,omitempty"` // actor
	IdentityName string           `json:"identityName,omitempty"`
	Confirm      settings.Confirm `json:"confirm"`
	Boots        *Boots           `json:"boots,omitempty"` // as it was chosen when the machine was armed
}

// FlashRequest arms a machine. What is empty is taken from the machine's spec
// and its groups.
type FlashRequest struct {
	settings.Settings
	Wipe    bool `json:"wipe,omitempty" doc:"overwrite a disk that holds LVM, RAID, ZFS, LUKS, Ceph or partitions that gild did not put there"`
	NoGrow  bool `json:"noGrow,omitempty" doc:"leave the last partition as the image has it"`
	Unseen  bool `json:"unseen,omitempty" doc:"arm the machine although it was never seen: it may be a typing error"`
	Expires int  `json:"expires,omitempty" doc:"seconds until the arm expires; 0: the server's default, a day unless set otherwise; -1: never" minimum:"-1" maximum:"315360000"`
	// Shown is the Digest of the Preview that the operator agreed to; when
	// what would be lost has changed since, the arm is refused. Empty: the
	// operator agreed to whatever it is.
	Shown string `json:"shown,omitempty" maxLength:"64"`
}

// NeverExpires is FlashRequest.Expires of an arm that stands until it is used
// or cancelled.
const NeverExpires = -1

// Preview is what an arm would do.
type Preview struct {
	Machine  Machine      `json:"machine"`
	Image    Image        `json:"image"`
	Request  FlashRequest `json:"request"`            // with all defaults filled in
	Disk     *Disk        `json:"disk,omitempty"`     // that the rule means by the last inventory
	Lost     []string     `json:"lost,omitempty"`     // what is on it, line by line, and goes
	Kept     []string     `json:"kept,omitempty"`     // what stays
	Warnings []string     `json:"warnings,omitempty"` // what to know: "never seen", "inventory is 3 days old", ...
	// Boots is what runs the agent, and how the machine then leaves it; nil:
	// not known.
	Boots *Boots `json:"boots,omitempty"`
	// Refusal says why the arm or the agent would refuse; empty: they would
	// not, as far as the last inventory tells.
	Refusal string `json:"refusal,omitempty"`
	Digest  string `json:"digest"` // of what is shown: FlashRequest.Shown
}

// Flash is one flash in a machine's history.
type Flash struct {
	Plan     string    `json:"plan"`
	Image    PlanImage `json:"image"`
	Identity string    `json:"identity,omitempty"`
	By       string    `json:"by,omitempty"`
	Armed    time.Time `json:"armed"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"` // zero: under way
	// "under way", "running", "unconfirmed", "boot-failed", "failed",
	// "cancelled", "lapsed", "handing off"
	Outcome string   `json:"outcome"`
	Cause   string   `json:"cause,omitempty"`
	Message string   `json:"message,omitempty"`
	Receipt *Receipt `json:"receipt,omitempty"`
	// Phases are the boot steps with their times, in order.
	Phases []Phase `json:"phases,omitempty"`
	// Samples are the throughput over time, at most 240.
	Samples []Sample `json:"samples,omitempty"`
}

// Phase is one step of a flash.
type Phase struct {
	Step  string    `json:"step"`
	Start time.Time `json:"start"`
	End   time.Time `json:"end,omitzero"` // zero: under way
	State string    `json:"state"`        // of the step; where the flash ended it, the outcome
	// Tries is how often it was tried, from the first failure on; 0: it did not
	// fail. The time between the tries is part of it.
	Tries int `json:"tries,omitempty"`
}

// Layout is what the image makes of a disk.
func (i Image) Layout() disk.Layout {
	return disk.Layout{Size: i.Size, Scheme: i.Scheme, TableID: i.TableID, Partitions: i.Partitions}
}

// InstantReady is Image.Instant of an image whose system can be entered before
// its disk is complete.
const InstantReady = "ready"

// Machines is every machine that the server knows, sorted by name, then ID.
type Machines struct {
	Machines []Machine `json:"machines"`
}

// Events is what is kept of one machine's past, oldest first, without what only
// tells progress: about the last thousand events that the machine told, five
// hundred of the server, five hundred of operators, and a hundred receipts.
type Events struct {
	Events []Event `json:"events"`
}

// Log is the newest events of all machines, newest first.
type Log struct {
	Entries []LogEntry `json:"entries"`
}

// LogEntry is one event with whose it is.
type LogEntry struct {
	Machine string `json:"machine"`        // ID; empty: of no one machine
	Name    string `json:"name,omitempty"` // Spec.Name
	Event   Event  `json:"event"`
}

// Images is every stored image, sorted by name.
type Images struct {
	Images []Image `json:"images"`
}

// Servers is every gild serve of this cluster that is alive.
type Servers struct {
	Servers []Server `json:"servers"`
}

// Server is one gild serve.
type Server struct {
	Name    string    `json:"name"`    // host name
	BaseURL string    `json:"baseURL"` // where machines boot from
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
	Alarms  []Alarm   `json:"alarms,omitempty"` // what is wrong with it now
}

// StateUsage is how full the database of the state is, in bytes.
type StateUsage struct {
	Size  int64 `json:"size"`  // of its file, free pages with it
	InUse int64 `json:"inUse"` // of what is kept, and of its past
	Quota int64 `json:"quota"` // that size must not reach; 0: not known
	Full  bool  `json:"full"`  // nothing more is taken until there is room
}

// Percent is how much of the quota is in use; 0 when that is not known.
func (u StateUsage) Percent() int {
	if u.Quota <= 0 {
		return 0
	}
	return int(min(u.InUse, u.Quota) * 100 / u.Quota)
}

// StateNearlyFull is the percentage from which people are told.
const StateNearlyFull = 75

// Alarm is something that is wrong with a server and that it continues with.
type Alarm struct {
	Kind  string    `json:"kind"` // stable: see the Alarm constants
	Text  string    `json:"text"` // what, and what to do about it
	Since time.Time `json:"since"`
}

// Kinds of alarms.
const (
	AlarmInterface  = "interface"  // the boot interface is gone or has no carrier
	AlarmAddress    = "address"    // the server's address is not on it any more
	AlarmDHCP       = "dhcp"       // DHCP requests are not heard
	AlarmMemory     = "memory"     // the process is near its limit of memory
	AlarmInfiniBand = "infiniband" // a machine asks by a card that it cannot boot from here
	AlarmOtherDHCP  = "other-dhcp" // another server leases addresses on the boot network
	AlarmDiscover   = "discover"   // the image to discover machines with is not stored
)

// Names of the messages on the event stream. Each carries a Change; the
// message's id is given back as Last-Event-ID to continue after a cut.
const (
	ChangeMachine = "machine" // Change.Machine is how it is now
	ChangeEvent   = "event"   // Change.Event happened
	ChangeRemoved = "removed" // the machine is forgotten
	ChangeReset   = "reset"   // forget everything: all machines follow anew
)

// Change is one message of the event stream.
type Change struct {
	Kind    string   `json:"kind"`
	ID      string   `json:"id,omitempty"` // of the machine
	Machine *Machine `json:"machine,omitempty"`
	Event   *Event   `json:"event,omitempty"`
}

// Problem is an error on the wire (RFC 9457): Detail says what went wrong and
// what to do about it.
type Problem struct {
	Title  string `json:"title,omitempty"`
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail,omitempty"`
	// Errors are what is wrong with parts of the request.
	Errors []FieldProblem `json:"errors,omitempty"`
}

// FieldProblem is what is wrong with one part of a request.
type FieldProblem struct {
	Location string `json:"location,omitempty"` // "body.machines[3].name"
	Message  string `json:"message,omitempty"`
}
