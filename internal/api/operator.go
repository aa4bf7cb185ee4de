package api

import "time"

// Paths of the operator API, on loopback only. MAC is in any common spelling.
const (
	PathMachines      = "/api/v1/machines"              // GET -> Machines
	PathMachine       = "/api/v1/machines/{mac}"        // GET -> Machine, DELETE
	PathFlash         = "/api/v1/machines/{mac}/flash"  // POST FlashRequest -> Machine
	PathCancel        = "/api/v1/machines/{mac}/cancel" // POST -> Machine
	PathMachineEvents = "/api/v1/machines/{mac}/events" // GET -> Events
	PathEventStream   = "/api/v1/events"                // GET, server-sent events
	PathImages        = "/api/v1/images"                // GET -> Images
)

// States of a machine.
const (
	MachineDiscovered = "discovered" // seen, unknown to the operator
	MachineRegistered = "registered" // known, nothing to do
	MachineArmed      = "armed"      // will be flashed at its next network boot
	MachineBooting    = "booting"    // was given kernel and initramfs
	MachineFlashing   = "flashing"   // the agent has its plan
	MachineHandedOff  = "handed off" // sealed, receipt here, the agent has left
	MachineFailed     = "failed"
)

// Machine is one computer as the server knows it.
type Machine struct {
	MAC       string     `json:"mac"`
	State     string     `json:"state"`
	Since     time.Time  `json:"since"` // of the state
	FirstSeen time.Time  `json:"firstSeen"`
	LastSeen  time.Time  `json:"lastSeen"`
	Firmware  string     `json:"firmware,omitempty"` // as DHCP told: "BIOS", "UEFI x64", ...
	Inventory *Inventory `json:"inventory,omitempty"`
	Armed     *Armed     `json:"armed,omitempty"`
	Session   string     `json:"session,omitempty"` // of the agent that is or was last in the machine
	Seq       uint64     `json:"seq,omitempty"`     // of the last event kept of Session
	// AgentSeen is when Session last spoke, FirmwareSeen when firmware or iPXE
	// of this machine did: an agent that is older than its firmware is gone.
	AgentSeen    time.Time `json:"agentSeen,omitzero"`
	FirmwareSeen time.Time `json:"firmwareSeen,omitzero"`
	// Writing is set from the first write of the armed flash to its receipt:
	// the disk is then neither what it was nor what it will be.
	Writing  bool      `json:"writing,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	Receipt  *Receipt  `json:"receipt,omitempty"` // of the last flash that ended well
	Cause    string    `json:"cause,omitempty"`   // why it failed
	Message  string    `json:"message,omitempty"` // the last thing heard of it
}

// Armed is the operator's permission for exactly one flash.
type Armed struct {
	Plan    Plan      `json:"plan"`
	Since   time.Time `json:"since"`
	Expires time.Time `json:"expires,omitzero"`
}

// FlashRequest arms a machine.
type FlashRequest struct {
	Image    string `json:"image" doc:"name of a stored image" minLength:"1" maxLength:"128"`
	Disk     string `json:"disk,omitempty" doc:"disk rule, such as serial=S4EW or smallest" maxLength:"512"`
	ReadBack string `json:"readBack,omitempty" enum:"full,sample,off" default:"full"`
	Handoff  string `json:"handoff,omitempty" enum:"auto,switch_root,kexec,reboot" default:"auto"`
	NoGrow   bool   `json:"noGrow,omitempty" doc:"leave the last partition as the image has it"`
	Unseen   bool   `json:"unseen,omitempty" doc:"arm the machine although it was never seen: it may be a typing error"`
	Expires  int    `json:"expires,omitempty" doc:"seconds until the permission lapses; 0 is never" minimum:"0"`
}

// Image is one stored image as a list shows it.
type Image struct {
	Name    string `json:"name"`
	Digest  string `json:"digest"`
	Size    int64  `json:"size"`   // raw bytes
	Stored  int64  `json:"stored"` // bytes
	Release string `json:"release,omitempty"`
	Arch    string `json:"arch,omitempty"`
	// Damage says why no more than name and digest is known; `gild image
	// verify` looks closer.
	Damage string `json:"damage,omitempty"`
}

// Machines is every machine that the server knows, sorted by MAC.
type Machines struct {
	Machines []Machine `json:"machines"`
}

// Events is what is kept of one machine's past, oldest first: about the last
// thousand events, without those that only tell progress.
type Events struct {
	Events []Event `json:"events"`
}

// Images is every stored image, sorted by name.
type Images struct {
	Images []Image `json:"images"`
}

// Names of the messages on the event stream. Each carries a Change; the
// message's id is given back as Last-Event-ID to go on after a cut.
const (
	ChangeMachine = "machine" // Change.Machine is how it is now
	ChangeEvent   = "event"   // Change.Event happened
	ChangeRemoved = "removed" // the machine is forgotten
	ChangeReset   = "reset"   // forget everything: all machines follow anew
)

// Change is one message of the event stream.
type Change struct {
	Kind    string   `json:"kind"`
	MAC     string   `json:"mac,omitempty"`
	Machine *Machine `json:"machine,omitempty"`
	Event   *Event   `json:"event,omitempty"`
}

// Problem is an error on the wire (RFC 9457): Detail says what went wrong and
// what to do about it.
type Problem struct {
	Title  string `json:"title,omitempty"`
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail,omitempty"`
}
