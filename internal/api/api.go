// Package api is the wire: the JSON that gild's programs exchange, with the
// bounds that every reader holds to.
//
// Three doors speak it. The agent API (PathAgent...) is for machines: hello,
// identity, events. The image door is the pull half of the OCI distribution
// specification under /v2/. The operator API (operator.go) is for people and
// scripts: on loopback, or with the admin token.
package api

import (
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/disk"
	"github.com/gild-dev/gild/internal/progress"
	"github.com/gild-dev/gild/internal/settings"
)

// Version of the agent protocol. Server and agent are built from one commit
// and meet because the server hands out the agent; a mismatch means that a
// stale initramfs is cached somewhere.
const Version = 1

// FileCA is the path in the initramfs of the certificate, in PEM, of who signs
// for the servers. An agent that has it says nothing in plain HTTP.
const FileCA = "etc/gild/ca.pem"

// Paths of the agent API, by TLS. Bodies are JSON, at most MaxHello and
// MaxReport bytes.
const (
	PathHello = "/agent/v1/hello" // POST Hello -> Answer
	// PathEvents takes what happens: POST Report -> 204; 409: the plan is lost,
	// write nothing more; 425: say hello first, then send it again.
	PathEvents = "/agent/v1/events"
	// PathIdentity gives what the clone is to be: POST IdentityRequest ->
	// Identity, or 204 when the plan has none. Only the session that is bound
	// to the plan gets it; any other is refused with 409, and what comes in
	// plain HTTP with 426.
	PathIdentity = "/agent/v1/identity"
	// PathBeacon is where a new system says that it runs: POST, an empty body
	// or any form (cloud-init's phone_home sends one) -> 204.
	PathBeacon = "/agent/v1/running/{beacon}"
)

// Bounds of JSON bodies in bytes: of a hello, of a report, of anything else.
const (
	MaxHello  = 256 << 10
	MaxReport = 64 << 10
	MaxBody   = 1 << 20
)

// MaxEvents bounds the events of one report.
const MaxEvents = 64

// Hello is what an agent says first, and again whenever it was told to wait.
type Hello struct {
	Version int `json:"version"`
	// Session is chosen at random by the agent once per boot; it keeps a
	// retried request from counting twice and two agents apart.
	Session   string    `json:"session"`
	Build     string    `json:"build"` // version of the agent, for people
	Inventory Inventory `json:"inventory"`
	// Ticket is gild.ticket= of the kernel command line: it ties the agent to
	// the decision of the boot script that booted it. Empty where no script of
	// this server did.
	Ticket string `json:"ticket,omitempty"`
	// Plain is the server's own note: the hello came in plain HTTP.
	Plain bool `json:"-"`
}

// Inventory is what the machine is. MACs, UUID and serial are labels by which
// a machine is recognised, never proof of who it is.
type Inventory struct {
	MAC      string `json:"mac"` // of the link that reached the server, lower case with colons
	UUID     string `json:"uuid,omitempty"`
	Serial   string `json:"serial,omitempty"`
	Vendor   string `json:"vendor,omitempty"`
	Product  string `json:"product,omitempty"`
	Firmware string `json:"firmware"` // "bios" or "uefi"
	Kernel   string `json:"kernel"`   // uname -r
	Arch     string `json:"arch"`     // as GOARCH
	CPU      string `json:"cpu,omitempty"`
	CPUs     int    `json:"cpus"`
	Memory   int64  `json:"memory"` // bytes
	Disks    []Disk `json:"disks,omitempty"`
	NICs     []NIC  `json:"nics,omitempty"`
}

type (
	// Disk is a disk of a machine, on the wire as it is.
	Disk = disk.Disk
	// Partition is a partition of a machine's disk or of an image.
	Partition = disk.Partition
)

// NIC is one network interface of a machine.
type NIC struct {
	Name    string `json:"name"`
	MAC     string `json:"mac"`
	Driver  string `json:"driver,omitempty"`
	Carrier bool   `json:"carrier"`
}

// Actions that an Answer can ask for.
const (
	ActionFlash     = "flash"      // carry out Answer.Plan
	ActionWait      = "wait"       // say hello again after Answer.Retry seconds
	ActionLocalDisk = "local-disk" // nothing to do here: boot the local disk
)

// Answer is the server's reply to Hello.
type Answer struct {
	Action  string `json:"action"`
	Plan    *Plan  `json:"plan,omitempty"`
	Retry   int    `json:"retry,omitempty"` // seconds
	Message string `json:"message,omitempty"`
	// Name is what operators call the machine; empty: nothing yet.
	Name string `json:"name,omitempty"`
	// Servers are base URLs of every server of this cluster, the one that
	// answers first: an agent continues with another when its own is gone.
	Servers []string `json:"servers,omitempty"`
}

// IdentityRequest asks for the identity of the plan that a session holds.
type IdentityRequest struct {
	Session string `json:"session"`
	MAC     string `json:"mac"`
	Plan    string `json:"plan"`
}

// Plan is what the server tells one agent to do, once.
type Plan struct {
	ID    string    `json:"id"` // of the arming; one arm, one flash
	Image PlanImage `json:"image"`
	// Agent is the settings to carry out. An empty disk rule means: the
	// machine's only disk, and stop if there are several. A partition to keep
	// that the image overlaps stops the flash before the first write.
	settings.Agent
	Grow bool `json:"grow"` // grow the last partition to the disk's end
	// Wipe permits overwriting a disk that Disk.Claims speaks of, or that has
	// partitions which neither this image nor an earlier flash put there.
	Wipe bool `json:"wipe,omitempty"`
	// Known are the IDs of what earlier flashes of this machine left: of
	// tables (Disk.TableID) and of their partitions (Partition.UUID). Such are
	// ours to overwrite without Wipe.
	Known []string `json:"known,omitempty"`
	// Identity is the digest of the identity that the agent must fetch and
	// write before it leaves; empty: none.
	Identity string `json:"identity,omitempty"`
	// Agreed is what the operator was shown when the machine was armed. The
	// agent holds its machine against it before the first write.
	Agreed Agreed `json:"agreed"`
}

// Agreed is the machine and the disk that the operator was shown when the
// machine was armed: see package evidence.
type Agreed struct {
	UUID   string `json:"uuid,omitempty"`   // SMBIOS UUID; empty: none that identifies was known
	Serial string `json:"serial,omitempty"` // of the machine, likewise
	// MACs are the addresses that were known. They count only where UUID and
	// Serial are both empty.
	MACs []string    `json:"macs,omitempty"`
	Disk *AgreedDisk `json:"disk,omitempty"` // nil: no disk was seen then
	// Unseen says that the operator armed a machine although its hardware was
	// not seen.
	Unseen bool `json:"unseen,omitempty"`
}

// AgreedDisk is the disk that was shown, in the fields of [Disk].
type AgreedDisk struct {
	Name   string `json:"name"` // as it was then: names move
	Serial string `json:"serial,omitempty"`
	WWN    string `json:"wwn,omitempty"`
	Path   string `json:"path,omitempty"`
	Size   int64  `json:"size"` // bytes
	Model  string `json:"model,omitempty"`
}

// PlanImage says which image and where to pull it from.
type PlanImage struct {
	Name       string `json:"name"`       // for people
	Repository string `json:"repository"` // under /v2/, "golden/debian-12"
	Digest     string `json:"digest"`     // of the manifest
}

// DHCPClass is the vendor class (RFC 2132, 9.13) by which an agent asks on its
// network where its server is now, and by which the server answers with the URL
// of its first boot script in option 67.
const DHCPClass = "gild-agent"

// HeartbeatEvery is how often an agent that has nothing to tell sends a Report
// without events, in seconds. One that is silent for StuckAfter seconds is
// shown as stuck.
const (
	HeartbeatEvery = 10
	StuckAfter     = 25
)

// Report carries events from an agent, or none as a heartbeat. Sending one
// again is harmless: the server keeps each Seq of a session once.
type Report struct {
	Session string  `json:"session"`
	MAC     string  `json:"mac"`
	Plan    string  `json:"plan,omitempty"`
	Events  []Event `json:"events"`
}

// States of a step, as an Event tells them.
const (
	StateStart    = "start"
	StateProgress = "progress"
	StateDone     = "done"
	StateFailed   = "failed"
)

// Event is one thing that happened on a machine. The console, the kernel log
// and the server show the same ones.
type Event struct {
	Seq uint64 `json:"seq,omitempty"` // from 1 within a session; 0 for events that the server notes itself
	// Time is when the server took it. An agent sends its own, which comes to
	// be Sent: its clock may be wrong.
	Time time.Time `json:"time"`
	Sent time.Time `json:"sent,omitzero"`
	// Number counts the events of a machine in the order in which the server
	// took them; it fills it in.
	Number  uint64  `json:"number,omitempty"`
	Uptime  float64 `json:"uptime,omitempty"` // seconds since the kernel started
	Step    string  `json:"step"`             // a boot step's name: "network", "flash", ...
	State   string  `json:"state"`
	Message string  `json:"message,omitempty"`
	Cause   string  `json:"cause,omitempty"` // stable code of a failure, one of Causes or a newer one
	// Retry is after how many seconds what failed is tried again; 0: nobody has
	// said so.
	Retry int    `json:"retry,omitempty"`
	Actor string `json:"actor,omitempty"` // who made it happen: see the Actor constants
	To    string `json:"to,omitempty"`    // state of the machine that it entered by this
	Plan  string `json:"plan,omitempty"`  // that it belongs to: Flash.Plan
	// Image and Identity are what an arm is for; they stand on its event only.
	Image    *PlanImage `json:"image,omitempty"`
	Identity string     `json:"identity,omitempty"` // name
	Progress *Progress  `json:"progress,omitempty"`
	// Receipt is on the last event before the handoff, and after an instant one
	// on the last event of all.
	Receipt *Receipt `json:"receipt,omitempty"`
	// Live marks the one event that tells of an instant handoff: the new system
	// runs from now on, and the agent completes the disk underneath.
	Live bool `json:"live,omitempty"`
}

// ByOperator reports whether an operator made it happen.
func (e *Event) ByOperator() bool {
	return e.Actor == ActorOperator || strings.HasPrefix(e.Actor, ActorOperator+":")
}

// Happened reports whether it is more than a word of how far a step is.
func (e *Event) Happened() bool { return e.State != StateProgress || e.To != "" || e.Receipt != nil }

// Audited reports whether it is what operators or the server did, or a receipt:
// all that no host on the boot network can make up.
func (e *Event) Audited() bool {
	return e.Receipt != nil || e.ByOperator() || e.Actor == ActorServer
}

// Actors of events. An operator may be more closely named after a colon.
const (
	ActorOperator = "operator"
	ActorMachine  = "machine" // its firmware, or the system on its disk
	ActorAgent    = "agent"
	ActorServer   = "server" // a deadline, a rule
)

// Progress of a flash. All figures are bytes on the disk, not in a cache.
type Progress struct {
	Phase string  `json:"phase"` // "write" or "read back"
	Done  int64   `json:"done"`  // bytes
	Total int64   `json:"total"` // bytes
	Rate  float64 `json:"rate"`  // bytes a second, recent
	Wire  int64   `json:"wire"`  // bytes fetched so far
	// Unanswered is how long the disk has not answered a call, in seconds; 0
	// below ten.
	Unanswered int `json:"unanswered,omitempty"`
	// Work is the whole flash, zeros apart from data; nil: an agent of before
	// it was counted.
	Work *progress.Work `json:"work,omitempty"`
}

// Receipt is the agent's final record of one flash. It is sent when the disk
// is sealed: before the handoff, or long after an instant one.
type Receipt struct {
	Plan       string             `json:"plan"`
	Image      string             `json:"image"` // digest of the manifest
	Disk       Disk               `json:"disk"`
	ReadBack   string             `json:"readBack"`            // what was really done: "full", "sample", "off"
	Handoff    string             `json:"handoff"`             // one of Handoffs, but for auto
	Reasons    []string           `json:"reasons,omitempty"`   // why the ways before it were not taken
	Written    int64              `json:"written"`             // bytes written to the disk
	Zeroed     int64              `json:"zeroed"`              // bytes that the disk zeroed itself
	Kept       int64              `json:"kept"`                // bytes that were already right
	Wire       int64              `json:"wire"`                // bytes fetched
	Repaired   int                `json:"repaired,omitempty"`  // chunks that read back wrong once
	Demanded   int                `json:"demanded,omitempty"`  // chunks that a system waited for, which ran from the disk meanwhile
	Waited     float64            `json:"waited,omitempty"`    // how long it waited for them, all waits added up, seconds
	Memory     int64              `json:"memory,omitempty"`    // bytes that the agent had resident at most
	PhaseTimes map[string]float64 `json:"phaseTimes"`          // seconds by the words of Phases
	Identity   string             `json:"identity,omitempty"`  // digest of the identity that was written
	Preserved  []string           `json:"preserved,omitempty"` // partitions that were kept: "4 (data)"
	// Samples are the throughput over time, at most 120. They are kept with
	// the event, not in the machine's record.
	Samples []Sample `json:"samples,omitempty"`
}

// Phases are the parts of a flash that have times of their own, in their order.
var Phases = []string{"prepare", "scan", "write", "read back", "seal", "live", "grow", "identity", "handoff"}
