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
	Session   string     `json:"session,omitempty"` // of the agent that holds the plan
	Progress  *Progress  `json:"progress,omitempty"`
	Receipt   *Receipt   `json:"receipt,omitempty"` // of the last flash that ended well
	Cause     string     `json:"cause,omitempty"`   // why it failed
	Message   string     `json:"message,omitempty"` // the last thing heard of it
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
}

// Problem is an error on the wire (RFC 9457): Detail says what went wrong,
// Hint what to do about it.
type Problem struct {
	Title  string `json:"title,omitempty"`
	Status int    `json:"status,omitempty"`
	Detail string `json:"detail,omitempty"`
}
