package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/clone"
	"github.com/gild-dev/gild/internal/server/fleet/selector"
	"github.com/gild-dev/gild/internal/settings"
)

// Kinds and deeds of a FleetChange.
const (
	kindMachine, kindGroup, kindIdentity = "machine", "group", "identity"
	doAdd, doChange, doRemove, doKeep    = "add", "change", "remove", "keep"
)

// field is one thing that is said. A secret is compared and never shown.
type field struct {
	text   string
	secret bool
}

// fields is a thing as a flat list of what it says: "labels.rack" -> "b7".
type fields map[string]field

// changesOf lists what differs, sorted by field.
func changesOf(kind, name string, now, want fields) []api.FleetChange {
	var out []api.FleetChange
	for _, f := range keysOf(now, want) {
		if a, b := now[f], want[f]; a != b {
			out = append(out, api.FleetChange{Kind: kind, Name: name, Do: doChange, Field: f, Old: a.shown(), New: b.shown()})
		}
	}
	return out
}

func (f field) shown() string {
	if f.secret {
		return "not shown"
	}
	return f.text
}

func specFields(s api.Spec) fields {
	x := fields{}
	x.put("name", s.Name)
	x.put("macs", strings.Join(s.MACs, " "))
	x.put("sharedMACs", strings.Join(s.SharedMACs, " "))
	x.put("uuid", s.UUID)
	x.put("serial", s.Serial)
	for k, v := range s.Labels {
		x["labels."+k] = field{text: labelText(v)}
	}
	x.secrets("values.", s.Values)
	x.settings(s.Flash)
	return x
}

func groupFields(g api.Group) fields {
	x := fields{}
	x.put("selector", g.Selector)
	x.settings(g.Flash)
	x.secrets("values.", g.Values)
	return x
}

// identityFields shows no text of an identity at all: any of its templates
// may hold a secret, and which one does is not ours to guess.
func identityFields(id api.Identity) fields {
	// The types of the wire always encode.
	p, _ := json.Marshal(id)
	var parts map[string]json.RawMessage
	_ = json.Unmarshal(p, &parts)
	x := fields{}
	for k, v := range parts {
		x[k] = field{string(v), true}
	}
	return x
}

// labelText tells a label that is there and empty from one that is not there.
func labelText(v string) string {
	if v == "" || strings.Contains(v, `"`) {
		return strconv.Quote(v)
	}
	return v
}

func (x fields) put(name, v string) {
	if v != "" {
		x[name] = field{text: v}
	}
}

func (x fields) secrets(prefix string, values map[string]string) {
	for k, v := range values {
		x[prefix+k] = field{v, true}
	}
}

func (x fields) settings(d settings.Settings) {
	for i := range settings.Fields {
		f := &settings.Fields[i]
		x.put("flash."+f.Name, f.String(&d))
	}
}

// FieldError is what is wrong with one part of a fleet.
type FieldError struct {
	Path string // as in its JSON: "machines[3]"
	Err  error
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// BadFilesError is everything that is wrong with a fleet; nothing of it was
// applied.
type BadFilesError struct{ Fields []*FieldError }

func (e *BadFilesError) Error() string {
	lines := make([]string, len(e.Fields))
	for i, f := range e.Fields {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// CheckFleet checks everything that files say, alone and of each other, and
// brings its machines into the form of [CheckSpec]. stored are the identities
// that the server has already. An error is a *BadFilesError with all that is
// wrong.
func CheckFleet(f api.Fleet, stored map[string]api.Identity) error {
	c := fleetCheck{fleet: f, stored: stored}
	c.machines()
	c.groups()
	for _, name := range slices.Sorted(maps.Keys(f.Identities)) {
		at := fmt.Sprintf("identities.%.63s", name)
		c.add(at, CheckName(name))
		if name == noIdentity {
			c.add(at, errors.New(`"none" means no identity and cannot name one`))
		}
		c.add(at, clone.Check(f.Identities[name]))
	}
	for _, name := range slices.Sorted(maps.Keys(f.Images)) {
		if _, err := golden.ParseDigest(f.Images[name]); err != nil {
			c.add(fmt.Sprintf("images.%.128s", name), fmt.Errorf("%.80q is no digest: it looks like sha256: and 64 hex digits", f.Images[name]))
		}
	}
	return c.err()
}

type fleetCheck struct {
	fleet  api.Fleet
	stored map[string]api.Identity
	errs   []*FieldError
}

func (c *fleetCheck) err() error {
	if len(c.errs) == 0 {
		return nil
	}
	return &BadFilesError{c.errs}
}

func (c *fleetCheck) add(at string, err error) {
	if err != nil {
		c.errs = append(c.errs, &FieldError{at, err})
	}
}

func (c *fleetCheck) machines() {
	first := map[string]int{} // name or label -> index of the machine that has it
	for i := range c.fleet.Machines {
		s, at := &c.fleet.Machines[i], fmt.Sprintf("machines[%d]", i)
		if err := CheckSpec(s); err != nil {
			c.add(at, err)
			continue
		}
		c.identity(at, s.Flash.Identity)
		for _, l := range SpecLabels(*s) {
			if j, ok := first[l]; ok && j != i {
				c.add(at, fmt.Errorf("%s is that of machines[%d] already", l, j))
				continue
			}
			first[l] = i
		}
	}
}

func (c *fleetCheck) groups() {
	first := map[string]int{}
	for i, g := range c.fleet.Groups {
		at := fmt.Sprintf("groups[%d]", i)
		c.add(at, CheckName(g.Name))
		if j, ok := first[g.Name]; ok {
			c.add(at, fmt.Errorf("the name %.63q is that of groups[%d] already", g.Name, j))
		} else {
			first[g.Name] = i
		}
		_, err := selector.ForGroup(g.Selector)
		c.add(at+".selector", err)
		c.add(at+".flash", CheckSettings(g.Flash))
		c.add(at+".values", checkPairs("values", g.Values))
		c.identity(at, g.Flash.Identity)
	}
}

func (c *fleetCheck) identity(at, name string) {
	_, said := c.fleet.Identities[name]
	if _, stored := c.stored[name]; !said && !stored && name != "" && name != noIdentity {
		c.add(at+".flash.identity", fmt.Errorf("there is no identity %.63q, neither here nor on the server", name))
	}
}
