package fleet

import (
	"errors"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet/history"
	"github.com/gild-dev/gild/internal/settings"
)

// Record is one computer as it is stored: all that the rules need to continue.
// What is shown of it is built by package view, never the record with parts
// left out. The JSON is what the state holds: a field may be added, and one
// that goes is still to be read from what older servers stored.
type Record struct {
	// ID is what the record is kept under and never changes: the label that
	// the machine was first known by.
	ID string `json:"id"`
	// MAC is the address that the machine last booted or reported by; empty
	// for one that is registered by other labels and was never seen.
	MAC       string         `json:"mac,omitempty"`
	Spec      api.Spec       `json:"spec,omitzero"`
	State     string         `json:"state"`
	Since     time.Time      `json:"since"` // of the state
	FirstSeen time.Time      `json:"firstSeen,omitzero"`
	LastSeen  time.Time      `json:"lastSeen,omitzero"`
	Firmware  string         `json:"firmware,omitempty"` // as DHCP told: "BIOS", "UEFI x64", ...
	Address   string         `json:"address,omitempty"`  // IP that it was last heard from
	Inventory *api.Inventory `json:"inventory,omitempty"`
	Armed     *Armed         `json:"armed,omitempty"`
	// Session is of the agent that is or was last in the machine. With the
	// plan's ID it opens the identity.
	Session string `json:"session,omitempty"`
	Seq     uint64 `json:"seq,omitempty"` // of the last event kept of Session
	// AgentSeen is when Session last spoke, FirmwareSeen when firmware or iPXE
	// of this machine did: an agent that is older than its firmware is gone.
	AgentSeen    time.Time `json:"agentSeen,omitzero"`
	FirmwareSeen time.Time `json:"firmwareSeen,omitzero"`
	// Asked is when firmware or iPXE first showed this machine's address after
	// Session had last spoken: if Session speaks again, it was not this machine.
	Asked time.Time `json:"asked,omitzero"`
	// Waiting is set while an agent waits here for an arm.
	Waiting bool `json:"waiting,omitempty"`
	// Stuck is since when an agent that should speak is silent; zero: it is not.
	Stuck time.Time `json:"stuck,omitzero"`
	// Conflict says which second agent claims to be this machine; empty: none.
	// ConflictSince is when one first did, ConflictSeen when it last did.
	Conflict      string    `json:"conflict,omitempty"`
	ConflictSince time.Time `json:"conflictSince,omitzero"`
	ConflictSeen  time.Time `json:"conflictSeen,omitzero"`
	// NotBooted says what came in this machine's place, or as itself but
	// unlike what was agreed to, and was not given its plan, NotBootedCause the
	// code of that; NotBootedSince is when it first did, NotBootedSeen when it
	// last did. Empty: nothing since it was armed or had its plan.
	NotBooted      string    `json:"notBooted,omitempty"`
	NotBootedCause string    `json:"notBootedCause,omitempty"`
	NotBootedSince time.Time `json:"notBootedSince,omitzero"`
	NotBootedSeen  time.Time `json:"notBootedSeen,omitzero"`
	// SharedMACs are addresses of this machine that another one was seen with:
	// they identify neither.
	SharedMACs []string `json:"sharedMACs,omitempty"`
	// Joined is the ID of the record that this one turned out to be the same
	// machine as; empty: it stands for itself.
	Joined string `json:"joined,omitempty"`
	// Tickets are those of the boot scripts that were given not long ago.
	Tickets []Ticket `json:"tickets,omitempty"`
	// Writing is set from the first write of the armed flash to its receipt:
	// the disk is then neither what it was nor what it will be.
	Writing bool `json:"writing,omitempty"`
	// Live is set from an instant handoff to the receipt: the new system runs,
	// and its disk is completed underneath (Writing, Progress).
	Live     bool          `json:"live,omitempty"`
	Progress *api.Progress `json:"progress,omitempty"`
	Receipt  *api.Receipt  `json:"receipt,omitempty"` // of the last flash that ended well
	// System is the image of that flash: what is on the disk, as far as gild
	// knows.
	System *api.PlanImage `json:"system,omitempty"`
	// Took is how long the end of that flash took.
	Took history.Took `json:"took,omitzero"`
	// Awaited is what will confirm that the system of the last flash runs. It
	// stays when that has happened, for a call that comes again.
	Awaited *Awaited `json:"awaited,omitempty"`
	// Rationed is how fast what its agent and firmware say is still kept.
	Rationed Bucket `json:"ration,omitzero"`
	// Trouble is what went wrong and has not come right; nil: nothing. What is
	// shown takes more into account: see troubleOf.
	Trouble *Trouble `json:"trouble,omitempty"`
	Message string   `json:"message,omitempty"` // the last message about it
	// OldCause is where older servers stored why a machine had failed: see
	// Upgrade.
	OldCause string `json:"cause,omitempty"`
}

// Damaged reports whether the machine stands for a record that cannot be read:
// what was known of it, and whether it was armed, is not known any more.
func (m *Record) Damaged() bool {
	return m.Trouble != nil && m.Trouble.Cause == api.CauseRecord && m.Since.IsZero()
}

// Armed is the operator's permission for exactly one flash.
type Armed struct {
	Plan         api.Plan         `json:"plan"`
	Since        time.Time        `json:"since"`
	Expires      time.Time        `json:"expires,omitzero"`
	By           string           `json:"by,omitempty"` // actor
	IdentityName string           `json:"identityName,omitempty"`
	Confirm      settings.Confirm `json:"confirm"`
	// Boots is what the machine was to boot when it was armed; nil: not known.
	Boots *api.Boots `json:"boots,omitempty"`
	// Beacon is the secret part of the address that the new system calls;
	// empty: the identity sets up no beacon.
	Beacon string `json:"beacon,omitempty"`
	// IdentityTo is the session that the identity was given to.
	IdentityTo string `json:"identityTo,omitempty"`
	// Reach is where the new system will be.
	Reach Reach `json:"reach,omitzero"`
	// Before is how the machine was when it was armed; nil: as one that is
	// registered and has nothing to do.
	Before *Before `json:"before,omitempty"`
}

// What the rules ask an order, whatever its kind. A flash is the only one: the
// kind is the action of the answer that its agent gets.

// Holds is the image that is kept for as long as the order stands.
func (a *Armed) Holds() api.PlanImage { return a.Plan.Image }

// proves says why a receipt does not show that the order was carried out; nil:
// it does.
func (a *Armed) proves(r *api.Receipt) error {
	if r.Plan != a.Plan.ID || r.Image != a.Plan.Image.Digest {
		return errors.New("the receipt is for another plan or image than the armed one")
	}
	return nil
}

// Before is what an arm that is not used leaves as it was.
type Before struct {
	State   string    `json:"state"`
	Since   time.Time `json:"since"`
	Awaited *Awaited  `json:"awaited,omitempty"`
	Trouble *Trouble  `json:"trouble,omitempty"`
}

// Awaited is the wait for a sign of life of a new system.
type Awaited struct {
	Plan   string    `json:"plan"`
	Beacon string    `json:"beacon,omitempty"` // its secret part
	Probe  string    `json:"probe,omitempty"`
	Reach  Reach     `json:"reach,omitzero"` // where the probe asks
	Until  time.Time `json:"until"`
	Boots  int       `json:"boots"` // network boots since the handoff, at most one a minute
	// Counted is when the last of them was.
	Counted time.Time `json:"counted,omitzero"`
	Limit   int       `json:"limit"` // boots that are taken for a failure; 0: none are
}

// Ticket ties an agent to the decision of the boot script that booted it.
type Ticket struct {
	Hash   string    `json:"hash"` // SHA-256 of the ticket, hex
	Issued time.Time `json:"issued"`
	Plan   string    `json:"plan,omitempty"` // that the script was given for; empty: to see what the machine is
	// What the machine showed.
	MAC    string `json:"mac"`
	UUID   string `json:"uuid,omitempty"`
	Serial string `json:"serial,omitempty"`
	// Session is the agent that presented it; empty: none did yet.
	Session string `json:"session,omitempty"`
}

// Reach is where a new system can be asked whether it lives.
type Reach struct {
	// Addresses are those that its identity gives it; none: the one that the
	// agent had.
	Addresses []string `json:"addresses,omitempty"`
	// Leased says that it asks DHCP too, and then has what the agent had.
	Leased bool `json:"leased,omitempty"`
}

// Bucket is a token bucket of events: so many at once, and then so many a
// second.
type Bucket struct {
	Full    time.Time `json:"full,omitzero"`     // when the bucket is full again
	Dropped int       `json:"dropped,omitempty"` // events that were not kept since it was
}

// noConflict notes that no second agent claims the machine.
func (m *Record) noConflict() {
	m.Conflict, m.ConflictSince, m.ConflictSeen = "", time.Time{}, time.Time{}
}
