// Package specs holds the rules of what an operator says of a machine, itself
// or by its groups.
package specs

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/evidence"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/differ"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
	"github.com/gild-dev/gild/internal/settings"
)

// Bounds of what an operator says of one machine.
const (
	maxName   = 63
	maxLabels = 64
	maxLabel  = 128 // bytes of a key
	maxValue  = 4096
)

// Check checks what an operator says of a machine and brings it into the
// form that the rules expect: addresses and UUID in one spelling, lists sorted
// as given. Errors are *InvalidError.
func Check(s *api.Spec) error {
	if err := checkLabels(s); err != nil {
		return err
	}
	for what, m := range map[string]map[string]string{"labels": s.Labels, "values": s.Values} {
		if err := CheckPairs(what, m); err != nil {
			return err
		}
	}
	if err := checkPower(&s.Power); err != nil {
		return err
	}
	return CheckSettings(s.Flash)
}

// checkLabels checks what the machine is to be recognised by.
func checkLabels(s *api.Spec) error {
	if s.Name != "" {
		if err := CheckName(s.Name); err != nil {
			return err
		}
	}
	for _, list := range []*[]string{&s.MACs, &s.SharedMACs} {
		macs := make([]string, 0, len(*list))
		for _, text := range *list {
			mac, err := wire.ParseMAC(text)
			if err != nil {
				return &fleet.InvalidError{Problem: err.Error(), Help: "give the address as it stands on the machine's label"}
			}
			macs = append(macs, mac)
		}
		*list = fleet.Compact(macs)
	}
	if s.UUID = strings.ToLower(strings.TrimSpace(s.UUID)); s.UUID != "" {
		if !evidence.IsUUID(s.UUID) {
			return &fleet.InvalidError{
				Problem: fmt.Sprintf("%.40q is not a valid UUID", s.UUID),
				Help:    "it looks like 4c4c4544-0051-3510-8052-b4c04f4a4c32",
			}
		}
		if fleet.UUIDLabel(s.UUID) == "" {
			return &fleet.InvalidError{
				Problem: "UUID " + s.UUID + " is one that many machines have",
				Help:    "register the machine by its MAC address",
			}
		}
	}
	if s.Serial = strings.TrimSpace(s.Serial); s.Serial != "" {
		if wire.Clean(s.Serial) != s.Serial || fleet.SerialLabel(s.Serial) == "" {
			return &fleet.InvalidError{
				Problem: fmt.Sprintf("serial %.40q names no machine", s.Serial),
				Help:    "register the machine by its MAC address",
			}
		}
	}
	own := slices.ContainsFunc(s.MACs, func(mac string) bool { return !slices.Contains(s.SharedMACs, mac) })
	if !own && s.UUID == "" && s.Serial == "" {
		return &fleet.InvalidError{Problem: "nothing to recognise the machine by", Help: "give a MAC address, the SMBIOS UUID or the serial"}
	}
	return nil
}

// CheckName checks a name for people: letters, digits, hyphens and dots, from
// 1 to 63 of them, a letter or digit first and last. A name must not look like
// a MAC address or UUID, which would name another machine.
func CheckName(name string) error {
	bad := func(why string) error {
		return &fleet.InvalidError{Problem: fmt.Sprintf("name %.80q %s", name, why), Help: "use letters, digits, hyphens and dots, at most 63"}
	}
	if name == "" || len(name) > maxName {
		return bad("has " + strconv.Itoa(len(name)) + " characters")
	}
	for i, c := range []byte(name) {
		word := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !word && c != '-' && c != '.' {
			return bad(fmt.Sprintf("holds %q", c))
		}
		if !word && (i == 0 || i == len(name)-1) {
			return bad("begins or ends with neither letter nor digit")
		}
	}
	if wire.IsMAC(name) || evidence.IsUUID(strings.ToLower(name)) {
		return bad("looks like an address")
	}
	return nil
}

// CheckPairs checks labels or values, by what they are called.
func CheckPairs(what string, m map[string]string) error {
	if len(m) > maxLabels {
		return &fleet.InvalidError{Problem: fmt.Sprintf("%d %s", len(m), what), Help: fmt.Sprintf("at most %d are kept", maxLabels)}
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		switch {
		case k == "" || len(k) > maxLabel || strings.ContainsAny(k, " ,=!()\t\"'") || wire.Clean(k) != k:
			return &fleet.InvalidError{Problem: fmt.Sprintf("%s: %.80q is no key", what, k), Help: "use letters, digits, hyphens, dots and slashes"}
		case len(m[k]) > maxValue || strings.ContainsFunc(m[k], func(r rune) bool { return r < ' ' || r == 0x7f }):
			return &fleet.InvalidError{
				Problem: fmt.Sprintf("%s: the value of %s is too long or holds control characters", what, k),
				Help:    "use one line of text",
			}
		}
	}
	return nil
}

// CheckSettings checks settings of a flash. Errors are *InvalidError.
func CheckSettings(s settings.Settings) error {
	err := settings.Check(&s)
	if bad, ok := errors.AsType[*settings.InvalidError](err); ok {
		return &fleet.InvalidError{Problem: bad.Problem, Help: bad.Help}
	}
	return err
}

// ID is what a machine that was registered before it was seen is kept
// under. The caller has checked s with [Check].
func ID(s api.Spec) string {
	switch {
	case len(s.MACs) > 0:
		return s.MACs[0]
	case s.UUID != "":
		return s.UUID
	}
	return fleet.SerialID(s.Serial)
}

// Labels are the labels that no other machine may have.
func Labels(s api.Spec) []string {
	s.MACs = slices.DeleteFunc(slices.Clone(s.MACs), func(mac string) bool { return slices.Contains(s.SharedMACs, mac) })
	s.SharedMACs = nil
	return fleet.Labels(&fleet.Record{Spec: s})
}

// Revision tells one spec of a machine from another.
func Revision(s api.Spec) string {
	p, _ := json.Marshal(s) // strings and numbers: never fails
	sum := sha256.Sum256(p)
	return hex.EncodeToString(sum[:8])
}

// Introduced is the spec of a machine that was only seen so far: one that says
// nothing to recognise the machine by means the address that it was seen by.
func Introduced(m *fleet.Record, spec api.Spec) api.Spec {
	if !fleet.Registered(m) && m.MAC != "" && len(spec.MACs) == 0 && spec.UUID == "" && spec.Serial == "" {
		spec.MACs = []string{m.MAC}
	}
	return spec
}

// Unread refuses a change of a machine whose spec is not of the revision that
// the operator has read; empty: whatever it is.
func Unread(m *fleet.Record, revision string) error {
	if revision == "" || revision == Revision(m.Spec) {
		return nil
	}
	return &fleet.ConflictError{
		Problem: fleet.Called(m) + " was changed by somebody else since it was read, and is left as it is",
		Help:    "look at it again (gild machine show), and repeat what is still to be changed",
	}
}

// Set notes what the operator says of a machine: registers one that is
// new, changes another. Saying the same again changes nothing. What an armed
// machine is recognised by stays as it is: the arm would move to another. The
// caller has checked spec with [Check].
func Set(m *fleet.Record, spec api.Spec, actor string, now time.Time) ([]api.Event, error) {
	if m.Joined != "" {
		return nil, &fleet.ConflictError{
			Problem: m.ID + " is the same machine as " + m.Joined,
			Help:    "change that one: gild machine edit " + m.Joined,
		}
	}
	t := fleet.Begin(m, cmp.Or(actor, api.ActorOperator), now)
	changes := specChanges(m.Spec, spec)
	known := fleet.Registered(m)
	if known && len(changes) == 0 && m.State != "" {
		return nil, nil
	}
	moved := !slices.Equal(m.Spec.MACs, spec.MACs) || !slices.Equal(m.Spec.SharedMACs, spec.SharedMACs) || m.Spec.UUID != spec.UUID ||
		m.Spec.Serial != spec.Serial
	if m.Armed != nil && moved {
		return nil, &fleet.ConflictError{
			Problem: fleet.Called(m) + " is armed: what it is recognised by cannot change now",
			Help:    "disarm it first: gild cancel " + fleet.Called(m),
		}
	}
	said := fleet.Shown{UUID: spec.UUID, Serial: spec.Serial}
	if uuid, serial := fleet.Strong(&fleet.Record{Inventory: m.Inventory}, said); uuid == evidence.Contradicts ||
		serial == evidence.Contradicts {
		m.Inventory = nil // what was seen is of another machine
	}
	if moved {
		m.SharedMACs = nil // the operator has looked at it
	}
	m.Spec = spec
	if m.MAC == "" && len(spec.MACs) > 0 {
		m.MAC = spec.MACs[0]
	}
	e := fleet.Did(fleet.StepRegister, "changed: "+strings.Join(changes, ", "))
	if !known {
		e.Message = "registered"
		if spec.Name != "" {
			e.Message += " as " + spec.Name
		}
	}
	heard := m.Message
	if m.State == "" || m.State == api.MachineDiscovered {
		t.Enter(api.MachineRegistered, e)
	} else {
		t.Note(e)
	}
	m.Message = heard // an operator's word is not the machine's
	return t.Events, nil
}

// specChanges names what differs. Values may be secret: only their names are
// told.
func specChanges(old, s api.Spec) []string {
	var out []string
	for _, c := range differ.Specs("", old, s) {
		text := strings.TrimPrefix(c.Field, "flash.")
		if !strings.HasPrefix(c.Field, "values.") {
			text = fmt.Sprintf("%s %s -> %s", text, cmp.Or(c.Old, "none"), cmp.Or(c.New, "none"))
		}
		out = append(out, text)
	}
	return out
}

// Taken refuses what another machine than id was registered with. found are
// the records that any of [SpecLabels] belongs to.
func Taken(found []fleet.Record, id string, spec api.Spec) error {
	for i := range found {
		m := &found[i]
		if m.ID == id || !fleet.Registered(m) {
			continue
		}
		for _, l := range Labels(m.Spec) {
			if slices.Contains(Labels(spec), l) {
				return &fleet.ConflictError{
					Problem: TakenBy(m, l),
					Help:    "change or remove that one first: gild machine edit, gild machine rm",
				}
			}
		}
	}
	return nil
}

// TakenBy says that a label is another machine's, which is called by something
// else than that label.
func TakenBy(m *fleet.Record, label string) string {
	owner := fleet.Called(m)
	if strings.HasPrefix(label, "name/") {
		owner = cmp.Or(m.MAC, m.ID)
	}
	return fmt.Sprintf("the %s is taken by %s", strings.Replace(label, "/", " ", 1), owner)
}

// Adopt picks the record that a machine is registered under: the one that was
// made when it was seen, or a new one.
func Adopt(found []fleet.Record, spec api.Spec) (id string, err error) {
	if err := Taken(found, "", spec); err != nil {
		return "", err
	}
	want := fleet.Shown{MACs: spec.MACs, UUID: spec.UUID, Serial: spec.Serial}
	id = ID(spec)
	var seen []string
	for i := range found {
		m := &found[i]
		uuid, serial := fleet.Strong(m, want)
		contradicted := uuid == evidence.Contradicts || serial == evidence.Contradicts
		switch {
		case m.ID == id && m.Joined != "":
			return "", &fleet.ConflictError{
				Problem: id + " is the same machine as " + m.Joined,
				Help:    "change that one: gild machine edit " + m.Joined,
			}
		case m.ID == id:
			return id, nil
		case m.Joined != "" || len(Labels(m.Spec)) > 0: // registered as another
		case slices.ContainsFunc(want.MACs, func(mac string) bool { return fleet.Owns(m, mac) > fleet.OwnsNot }) ||
			len(want.MACs) == 0 && !contradicted:
			seen = append(seen, m.ID)
		}
	}
	// One that two machines show says of neither that it is meant.
	if len(seen) == 1 || len(seen) > 1 && len(spec.MACs) > 0 {
		return slices.Min(seen), nil
	}
	return id, nil
}
