package fleet

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/evidence"
)

// AmbiguousError says that what a machine shows leads to several armed
// records, or to none that could be told from another, so that nobody can say
// which plan is meant.
type AmbiguousError struct {
	Problem string
	Help    string // what the operator can do
}

func (e *AmbiguousError) Error() string { return e.Problem }

// Hint says what the operator can do.
func (e *AmbiguousError) Hint() string { return e.Help }

// Found says which record a machine belongs to.
type Found struct {
	ID    string // of the record, which may be new
	Known bool   // there is a record
	// From is a record that was made when the machine was first seen, and that
	// is to be marked as one with ID, which the operator registered; empty: none.
	From string
	// Doubt says why the machine may be another than that of the record, although
	// the evidence is too weak to say so: it gets no plan, and the record learns
	// nothing from it. Empty: there is no such doubt. Holds says that one of them
	// is armed: an agent is to wait until a person has looked.
	Doubt string
	Holds bool
	// Others are records of which the machine showed something although it is
	// not theirs. They are told.
	Others []Other
	// Foreign are addresses that the inventory claims and that are another
	// record's: see [Disclaim].
	Foreign []string
}

// Other is a record that a machine was mistaken for.
type Other struct {
	ID     string
	Why    string // what came, and why it is not that machine, as a sentence without its stop
	Shared string // the address that two machines are known to show; empty: none
}

// kin is how a record stands to a machine, by the table in docs/operations.md.
type kin int

const (
	stranger kin = iota // nothing that counts is shown of it
	contrary            // something strong contradicts: another machine, whatever else is shown
	likely              // UUID or serial agree, but by an address that is not the record's
	byCard              // the record's address is in use, and nothing contradicts
	same                // something strong agrees, and so does all else
)

// weighed is a record with how it stands to a machine.
type weighed struct {
	*Record
	kin  kin
	owns int // how much the address in use is the record's: see owns
}

// Match picks the record of a machine that shows labels on the wire.
// candidates are the records that any of the labels belongs to. A machine that
// none of them fits is new. An *AmbiguousError says that nobody can tell.
//
// A record that something strong contradicts is never the machine's, whatever
// its address or its arm says. Else UUID and serial count before the address in
// use, and that before nothing: the other addresses that an inventory claims
// lead nowhere by themselves, as anybody can claim them.
func Match(candidates []Record, s Shown) (Found, error) {
	all := weigh(candidates, s)
	best, err := best(all)
	f := Found{}
	switch {
	case err != nil:
		f.Others = others(all, nil, s)
		return f, err
	case best != nil:
		f.ID, f.Known = best.ID, true
	default:
		if f.ID, err = newID(candidates, s); err != nil {
			f.Others = others(all, nil, s)
			return f, err
		}
	}
	f.Others = others(all, best, s)
	for _, w := range all {
		switch {
		case best != nil && w.Record == best.Record:
		case best != nil && best.kin == same && w.owns > OwnsNot && joins(best.Record, w.Record):
			f.From = cmp.Or(f.From, w.ID)
		case w.kin == likely && doubts(w, best):
			f.Doubt = fmt.Sprintf("its UUID or serial are those of %s, but its address %s is not", Called(w.Record), s.MACs[0])
			f.Holds = f.Holds || w.Armed != nil || best != nil && best.Armed != nil
		}
	}
	return f, nil
}

// doubts reports whether a record that UUID or serial speak for throws doubt on
// the one that was found; nil: none was.
func doubts(w weighed, best *weighed) bool {
	switch {
	case best == nil:
		return w.Armed != nil
	case best.kin == same:
		return w.Armed != nil && !Registered(best.Record)
	}
	return w.Armed != nil || Registered(w.Record)
}

// weigh compares a machine with each record.
func weigh(candidates []Record, s Shown) []weighed {
	var all []weighed
	shared := sharedBy(candidates, s.MACs[0])
	copied := copied(candidates, s)
	for i := range candidates {
		m := &candidates[i]
		if m.Joined != "" {
			continue
		}
		w := weighed{Record: m, owns: Owns(m, s.MACs[0])}
		if w.owns < ownsByID && slices.ContainsFunc(candidates, func(o Record) bool { return o.Joined == m.ID && o.ID == s.MACs[0] }) {
			w.owns = ownsByID
		}
		if shared {
			w.owns = OwnsNot
		}
		w.kin = kinship(w, s, shared, copied)
		all = append(all, w)
	}
	return all
}

// kinship weighs the evidence of one record. shared says that the address in
// use identifies nothing, copied that neither does the UUID.
func kinship(w weighed, s Shown, shared, copied bool) kin {
	uuid, serial := Strong(w.Record, s)
	switch agree := uuid == evidence.Agrees || uuid == evidence.Silent && serial == evidence.Agrees; {
	case uuid == evidence.Contradicts || serial == evidence.Contradicts:
		return contrary
	case agree && w.owns > OwnsNot:
		return same
	case agree && copied:
		return likely
	case agree && (shared || vouched(w.Record, s) || sameParts(w.Record, s)):
		return same
	case agree:
		return likely
	case w.owns > OwnsNot:
		return byCard
	}
	return stranger
}

// Strong compares UUID and serial with what is known of a record: what the
// operator said of it goes before what was seen.
func Strong(m *Record, s Shown) (uuid, serial evidence.Verdict) {
	known := Knows(m)
	return evidence.UUIDs(known.UUID, s.UUID), evidence.Serials(known.Serial, s.Serial)
}

// Knows is what is known of a machine that identifies it: UUID, serial and
// addresses. What identifies nothing is left out.
func Knows(m *Record) api.Agreed {
	seen := cmp.Or(m.Inventory, &api.Inventory{})
	k := api.Agreed{MACs: MACs(m)}
	for _, u := range []string{seen.UUID, m.Spec.UUID} {
		if evidence.UUID(u) != "" {
			k.UUID = u
		}
	}
	for _, s := range []string{seen.Serial, m.Spec.Serial} {
		if evidence.Serial(s) != "" {
			k.Serial = s
		}
	}
	return k
}

// vouched reports whether the operator registered the record by what the
// machine shows.
func vouched(m *Record, s Shown) bool {
	return evidence.UUIDs(m.Spec.UUID, s.UUID) == evidence.Agrees || evidence.Serials(m.Spec.Serial, s.Serial) == evidence.Agrees
}

// sameParts reports whether a card or disk that was seen in the record's
// machine is in this one.
func sameParts(m *Record, s Shown) bool {
	if m.Inventory == nil {
		return false
	}
	return slices.ContainsFunc(s.MACs, func(mac string) bool { return slices.Contains(MACs(m), mac) && !shares(m, mac) }) ||
		slices.ContainsFunc(diskSerials(m.Inventory), func(serial string) bool { return slices.Contains(s.Disks, serial) })
}

// copied reports whether several machines are known that show the UUID or
// serial of this one, each by an address of its own: boards of a batch, nodes
// of a chassis. It tells none of them from another.
func copied(candidates []Record, s Shown) bool {
	var seen []*Record
	for i := range candidates {
		m := &candidates[i]
		uuid, serial := evidence.Silent, evidence.Silent
		if m.Inventory != nil && m.Joined == "" {
			uuid, serial = evidence.UUIDs(m.Inventory.UUID, s.UUID), evidence.Serials(m.Inventory.Serial, s.Serial)
		}
		if m.MAC != "" && uuid != evidence.Contradicts && serial != evidence.Contradicts &&
			(uuid == evidence.Agrees || serial == evidence.Agrees) {
			seen = append(seen, m)
		}
	}
	return slices.ContainsFunc(seen, func(m *Record) bool { return m.MAC != seen[0].MAC })
}

// How much an address is a record's.
const (
	OwnsNot    = iota
	ownsByUse  // the machine was last seen with it
	ownsByID   // it was first seen with it
	ownsBySpec // the operator said so
)

// Owns says how much an address is the record's: [OwnsNot], or more the surer
// it is.
func Owns(m *Record, mac string) int {
	switch {
	case slices.Contains(m.Spec.MACs, mac):
		return ownsBySpec
	case m.ID == mac:
		return ownsByID
	case m.MAC == mac:
		return ownsByUse
	}
	return OwnsNot
}

// shares reports whether an address of the record is known to be in several
// machines.
func shares(m *Record, mac string) bool {
	return slices.Contains(m.SharedMACs, mac) || slices.Contains(m.Spec.SharedMACs, mac)
}

func sharedBy(candidates []Record, mac string) bool {
	return evidence.SharedCard(mac) || slices.ContainsFunc(candidates, func(m Record) bool { return shares(&m, mac) })
}

// best is the record that the evidence says most for. Several that it says as
// much for are told apart by the operator's word on the address, and are an
// *AmbiguousError where more than one is armed.
func best(all []weighed) (*weighed, error) {
	var top []*weighed
	for i := range all {
		w := &all[i]
		switch {
		case w.kin < byCard:
		case len(top) > 0 && top[0].kin > w.kin:
		case len(top) > 0 && top[0].kin == w.kin:
			top = append(top, w)
		default:
			top = []*weighed{w}
		}
	}
	if len(top) == 0 {
		return nil, nil
	}
	var armed []string
	for _, w := range top {
		if w.Armed != nil {
			armed = append(armed, Called(w.Record))
		}
	}
	if len(armed) > 1 {
		slices.Sort(armed)
		return nil, &AmbiguousError{
			Problem: "what this machine shows belongs to several armed ones: " + strings.Join(armed, ", "),
			Help:    "cancel all of them but one",
		}
	}
	registered := func(w *weighed) int {
		if Registered(w.Record) {
			return 1
		}
		return 0
	}
	return slices.MinFunc(top, func(a, b *weighed) int {
		return cmp.Or(cmp.Compare(registered(b), registered(a)), cmp.Compare(b.owns, a.owns), strings.Compare(a.ID, b.ID))
	}), nil
}

// others are the records that are told of a machine which is not theirs.
func others(all []weighed, best *weighed, s Shown) []Other {
	var out []Other
	for _, w := range all {
		if best != nil && w.Record == best.Record {
			continue
		}
		o := Other{ID: w.ID}
		switch who := s.text(); {
		case w.kin == contrary && (w.owns > OwnsNot || slices.Contains(MACs(w.Record), s.MACs[0])):
			o.Why = fmt.Sprintf("a machine with %s came by the address %s, but this one has %s", who, s.MACs[0],
				Shown{UUID: Knows(w.Record).UUID, Serial: Knows(w.Record).Serial}.text())
			if w.owns > OwnsNot {
				o.Shared = s.MACs[0]
			}
		case w.kin == likely && w.Armed != nil:
			o.Why = fmt.Sprintf("a machine with the same %s came by the address %s, which is not known to be of this one; if it is, say "+
				"so: gild machine edit %s --mac %s", who, s.MACs[0], Called(w.Record), s.MACs[0])
		case w.kin == byCard && best != nil && best.kin == same:
			o.Why = fmt.Sprintf("its address %s was used by %s, which is known by its %s", s.MACs[0], Called(best.Record), who)
		case w.Armed != nil && w.kin == stranger && slices.Contains(MACs(w.Record), s.MACs[0]):
			o.Why = fmt.Sprintf("a machine came by the address %s, which is of one of its cards, but nothing confirms that it is this one; "+
				"if it is, say so: gild machine edit %s --mac %s", s.MACs[0], Called(w.Record), s.MACs[0])
		default:
			continue
		}
		out = append(out, o)
	}
	return out
}

// newID is what a machine without a record is kept under: its address, unless
// that is another's or is shared, else the best that it shows.
func newID(candidates []Record, s Shown) (string, error) {
	taken := func(id string) bool {
		return slices.ContainsFunc(candidates, func(m Record) bool { return m.ID == id })
	}
	mac := s.MACs[0]
	owned := sharedBy(candidates, mac) || slices.ContainsFunc(candidates, func(m Record) bool { return Owns(&m, mac) > OwnsNot })
	uuid, serial := "", ""
	if evidence.UUID(s.UUID) != "" {
		uuid = strings.ToLower(strings.TrimSpace(s.UUID))
	}
	if evidence.Serial(s.Serial) != "" {
		serial = SerialID(s.Serial)
	}
	switch {
	case !owned && !taken(mac):
		return mac, nil
	case uuid != "" && !taken(uuid):
		return uuid, nil
	case serial != "" && !taken(serial):
		return serial, nil
	}
	return "", &AmbiguousError{
		Problem: "the address " + mac + " is in several machines, and this one shows nothing else to tell it by",
		Help:    "start it with a network card of its own, or register it by its UUID or serial",
	}
}

// SerialID is the ID of a machine that is known by its serial number alone.
func SerialID(serial string) string {
	return "serial-" + url.QueryEscape(strings.ToLower(strings.TrimSpace(serial)))
}

// sameHardware reports whether two inventories are of one machine as far as
// labels can tell: one UUID and the same disks. There cannot be two agents in
// one machine: the one that was there is gone, if it is silent from now on.
func sameHardware(a, b *api.Inventory) bool {
	if a == nil || evidence.UUIDs(a.UUID, b.UUID) != evidence.Agrees {
		return false
	}
	x, y := diskSerials(a), diskSerials(b)
	return len(x) > 0 && slices.Equal(x, y)
}

func diskSerials(inv *api.Inventory) []string {
	var out []string
	for _, d := range inv.Disks {
		if evidence.Serial(d.Serial) != "" {
			out = append(out, d.Serial)
		} else if evidence.WWN(d.WWN) != "" {
			out = append(out, d.WWN)
		}
	}
	slices.Sort(out)
	return out
}
