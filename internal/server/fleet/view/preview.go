package view

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/diskrule"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// oldInventory is how old an inventory may be before it is worth a warning.
const oldInventory = 24 * time.Hour

// Proposal is an arm before it is made: req has all defaults filled in.
type Proposal struct {
	Machine fleet.Record
	Image   api.Image
	Request api.FlashRequest
	Known   []string // see api.Plan.Known
	NewIDs  bool     // its identity asks for them: api.Identity
	NoHost  bool     // its identity gives the clone no host name
	// Listening is since when this server hears machines: see [Machine].
	Listening time.Time
}

// Preview tells what the arm would do, as far as the last inventory tells.
// refused is why the arm is not to be made; what only the agent would refuse,
// who sees the machine as it then is, stands in Preview.Refusal alone.
func (p Proposal) Preview(now time.Time) (v api.Preview, refused error) {
	v = api.Preview{Machine: Machine(p.Machine, Operator, now, p.Listening), Image: p.Image, Request: p.Request}
	v.Request.Shown = ""
	v.Warnings = p.warnings(now)
	refused = p.disk(&v)
	if refused == nil && fleet.Writing(&p.Machine, now) {
		refused = fleet.Busy(&p.Machine, "arm")
	}
	if refused != nil {
		v.Refusal = refused.Error()
	}
	v.Digest = digest(v, &p.Machine)
	return v, refused
}

func (p Proposal) warnings(now time.Time) []string {
	m := &p.Machine
	var out []string
	seen := m.AgentSeen
	switch {
	case m.LastSeen.IsZero():
		out = append(out, "this machine was never seen")
	case m.Inventory == nil || len(m.Inventory.Disks) == 0:
		out = append(out, "what is on its disks is not known: it has not run the agent yet")
	case !seen.IsZero() && now.Sub(seen) > oldInventory:
		out = append(out, fmt.Sprintf("what is known of its disks is %d days old", int(now.Sub(seen)/(24*time.Hour))))
	}
	if weak := fleet.Weak(m); weak != "" {
		out = append(out, weak)
	}
	if m.Armed != nil {
		out = append(out, "it is armed already, with "+m.Armed.Plan.Image.Name+": this arm takes its place")
	}
	if m.Writing {
		out = append(out, "an earlier flash was cut off: its disk may not boot now")
	}
	if p.NoHost {
		out = append(out, "the clone keeps the image's host name: its identity says none, and the machine has no name to take for it")
	}
	out = append(out, p.instant()...)
	if p.Request.Wipe {
		out = append(out, "the disk is overwritten whatever it holds")
	}
	return append(out, p.Image.Unfit(m.Inventory)...)
}

// instant tells what an instant handoff brings, or why there will be none.
func (p Proposal) instant() []string {
	why := p.Image.Instant
	switch {
	case p.Request.Handoff != api.HandoffInstant:
		return nil
	case why == api.InstantReady && p.NewIDs:
		why = "new IDs can only be given to a disk that is not in use"
	case why == api.InstantReady:
		return []string{"its system runs before its disk is complete: if the machine loses power or restarts until then, what the " +
			"system wrote is lost, and it is flashed again"}
	case why == "":
		why = "the image was stored without a look at whether its system can; add it again"
	}
	return []string{"no instant handoff, the system is entered when its disk is complete: " + why}
}

// disk finds the disk and what would be lost on it.
func (p Proposal) disk(v *api.Preview) error {
	rule, err := diskrule.Parse(p.Request.Disk)
	if err != nil {
		return &fleet.InvalidError{Problem: err.Error(), Help: "a disk rule looks like serial=S4EW, transport=nvme,smallest or size>=100G"}
	}
	if p.Machine.Inventory == nil || len(p.Machine.Inventory.Disks) == 0 {
		return nil
	}
	d, err := rule.Select(p.Machine.Inventory.Disks)
	if err != nil {
		v.Refusal = err.Error()
		return nil //nolint:nilerr // the agent's to refuse: the disks may be others by then
	}
	v.Disk = &d
	lost, kept, claim, err := Loss(d, p.Image, p.Request.Keep, p.Known)
	v.Lost, v.Kept = lost, kept
	switch {
	case err != nil:
		return &fleet.InvalidError{Problem: err.Error(), Help: "the partitions that are there stand in gild machine show"}
	case claim != "" && !p.Request.Wipe:
		return &fleet.InvalidError{Problem: "disk " + d.Name + " " + claim, Help: "to overwrite it all the same, say so (--wipe)"}
	case p.Image.Size > d.Size && d.Size > 0:
		v.Refusal = fmt.Sprintf("disk %s has %d bytes, the image %d", d.Name, d.Size, p.Image.Size)
	case d.ReadOnly:
		v.Refusal = "disk " + d.Name + " is read-only"
	}
	return nil
}

// parts of a digest, so that what has changed can be told from two of them.
var digestParts = []string{"what the machine is known by, or the image", "the settings of the flash", "the disk or what is on it"}

// digest stands for what a preview shows: one short hash for each of
// digestParts.
func digest(v api.Preview, m *fleet.Record) string {
	v.Request.Expires, v.Request.Unseen = 0, false
	known := fleet.Knows(m)
	var disk any
	if v.Disk != nil {
		// Where a disk is called sda today and sdb tomorrow, it is the same.
		disk = []string{v.Disk.Serial, v.Disk.WWN, v.Disk.Model, v.Disk.TableID, fmt.Sprint(v.Disk.Size)}
	}
	var out []string
	for _, part := range []any{
		[]string{v.Machine.ID, known.UUID, known.Serial, v.Image.Name, v.Image.Digest},
		v.Request,
		[]any{disk, v.Lost, v.Kept, v.Refusal},
	} {
		p, _ := json.Marshal(part) // plain texts and numbers
		sum := sha256.Sum256(p)
		out = append(out, hex.EncodeToString(sum[:8]))
	}
	return strings.Join(out, ".")
}

// Agreed refuses an arm whose preview is not the one that the operator agreed
// to: shown is its digest, empty for whatever it may be.
func Agreed(v api.Preview, shown string) error {
	if shown == "" || shown == v.Digest {
		return nil
	}
	old, now := strings.Split(shown, "."), strings.Split(v.Digest, ".")
	changed := slices.Clone(digestParts)
	if len(old) == len(now) {
		changed = nil
		for i := range now {
			if old[i] != now[i] {
				changed = append(changed, digestParts[i])
			}
		}
	}
	problem := "since it was shown, " + strings.Join(changed, " and ") + " changed"
	if len(v.Lost) > 0 {
		problem += "; now lost: " + strings.Join(v.Lost, ", ")
	}
	return &fleet.ConflictError{Problem: problem, Help: "look again at what will be lost, and then arm"}
}
