package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// AmbiguousError says that one machine's addresses lead to several armed
// records, so that nobody can say which plan is meant.
type AmbiguousError struct{ MACs []string }

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("the addresses %s belong to one machine but are armed apart", strings.Join(e.MACs, ", "))
}

// Hint says what the operator can do.
func (e *AmbiguousError) Hint() string { return "delete all of them but one" }

// Found says which record a machine belongs to.
type Found struct {
	ID    string // of the record, which may be new
	Known bool   // there is a record
	// From is a record that was made when the machine was first seen, and that
	// is to be folded into ID, which the operator registered; empty: none.
	From string
}

// Match picks the record of a machine that shows labels on the wire.
// candidates are the records that any of the labels belongs to. A machine that
// none of them fits is new, under its first MAC. An *AmbiguousError says that
// nobody can tell which plan is meant.
//
// A machine may boot by one NIC and be armed by another, so an armed record
// goes before one that is not, and one that was registered before one that was
// only seen. A record found by another label than the address in use must not
// contradict the rest: a USB adapter carries its address to the next machine,
// which is not to be flashed for it, and so does a copied UUID.
func Match(candidates []api.Machine, s Shown) (Found, error) {
	var byMAC, byLabel []*api.Machine
	for i := range candidates {
		m := &candidates[i]
		switch {
		case m.ID != s.MACs[0] && contradicts(m, s):
		case m.ID == s.MACs[0] || sharesMAC(m, s):
			byMAC = append(byMAC, m)
		case expects(m, s):
			byLabel = append(byLabel, m)
		}
	}
	// A label that two records have identifies neither, and a machine that is
	// registered by its address is not also another one; where both are armed,
	// nobody can tell.
	if len(byLabel) == 1 {
		l := byLabel[0]
		apart := func(m *api.Machine) bool { return Registered(m) && (l.Armed == nil || m.Armed == nil) }
		if !slices.ContainsFunc(byMAC, apart) {
			byMAC = append(byMAC, l)
		}
	}
	best, err := best(byMAC, s.MACs[0])
	if err != nil || best == nil {
		return Found{ID: s.MACs[0]}, err
	}
	f := Found{ID: best.ID, Known: true}
	for _, m := range byMAC {
		if m != best && Registered(best) && !Registered(m) && !contradicts(m, s) {
			f.From = m.ID
			break // the next one is found at the machine's next word
		}
	}
	return f, nil
}

// best is the record that counts: armed, then registered, then the one under
// the address in use, then the first by ID.
func best(records []*api.Machine, first string) (*api.Machine, error) {
	var armed []string
	for _, m := range records {
		if m.Armed != nil {
			armed = append(armed, cmp.Or(m.MAC, m.ID))
		}
	}
	if len(armed) > 1 {
		slices.Sort(armed)
		return nil, &AmbiguousError{armed}
	}
	if len(records) == 0 {
		return nil, nil
	}
	rank := func(m *api.Machine) int {
		switch {
		case m.Armed != nil:
			return 0
		case Registered(m):
			return 1
		case m.ID == first:
			return 2
		}
		return 3
	}
	return slices.MinFunc(records, func(a, b *api.Machine) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a.ID, b.ID))
	}), nil
}

func sharesMAC(m *api.Machine, s Shown) bool {
	return slices.ContainsFunc(MACs(m), func(mac string) bool { return slices.Contains(s.MACs, mac) })
}

// expects reports whether the operator registered the record by a UUID or
// serial that the machine shows, and no machine was seen for it yet: once one
// was, its addresses are what it is known by, and another that shows the same
// label is another machine.
func expects(m *api.Machine, s Shown) bool {
	if len(MACs(m)) > 0 {
		return false
	}
	uuid, serial := UUIDLabel(m.Spec.UUID), SerialLabel(m.Spec.Serial)
	return uuid != "" && uuid == UUIDLabel(s.UUID) || serial != "" && serial == SerialLabel(s.Serial)
}

// contradicts reports whether what is known of the record cannot be true of
// the machine.
func contradicts(m *api.Machine, s Shown) bool {
	differ := func(a, b string) bool { return a != "" && b != "" && a != b }
	if m.Inventory != nil && differ(UUIDLabel(m.Inventory.UUID), UUIDLabel(s.UUID)) {
		return true
	}
	return differ(UUIDLabel(m.Spec.UUID), UUIDLabel(s.UUID)) || differ(SerialLabel(m.Spec.Serial), SerialLabel(s.Serial))
}

// Join folds a record that was made when the machine was first seen into the
// one that the operator registered for it. It refuses when that is no longer
// what they are.
func Join(into, from *api.Machine, now time.Time) ([]api.Event, error) {
	if !Registered(into) || Registered(from) {
		return nil, &ConflictError{Problem: "the records " + into.ID + " and " + from.ID + " are not of one machine any more"}
	}
	t := begin(into, api.ActorServer, now)
	if into.FirstSeen.IsZero() || !from.FirstSeen.IsZero() && from.FirstSeen.Before(into.FirstSeen) {
		into.FirstSeen = from.FirstSeen
	}
	if from.LastSeen.After(into.LastSeen) {
		into.LastSeen, into.MAC, into.Address = from.LastSeen, cmp.Or(from.MAC, into.MAC), cmp.Or(from.Address, into.Address)
	}
	if from.FirmwareSeen.After(into.FirmwareSeen) {
		into.FirmwareSeen = from.FirmwareSeen
	}
	into.Firmware = cmp.Or(into.Firmware, from.Firmware)
	if into.Inventory == nil || into.Inventory.Kernel == "" {
		into.Inventory = cmp.Or(from.Inventory, into.Inventory)
	}
	if into.Session == "" {
		into.Session, into.Seq, into.AgentSeen, into.Waiting = from.Session, from.Seq, from.AgentSeen, from.Waiting
	}
	t.note(done(StepJoin, "joined with the machine seen as "+cmp.Or(from.MAC, from.ID)))
	return t.events, nil
}
