package fleet

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

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/clone"
)

// Kinds and deeds of a FleetChange.
const (
	kindMachine, kindGroup, kindIdentity, kindImage = "machine", "group", "identity", "image"
	doAdd, doChange, doRemove                       = "add", "change", "remove"
)

// fields is a thing as a flat list of what it says: "labels.rack" -> "b7".
type fields map[string]string

// Diff lists what an apply of want changes in now, sorted by kind, name and
// field; nothing when it changes nothing. What only now holds is left alone
// unless want.Prune: now is then what an earlier apply named, not all that the
// server knows. Contents that may be secret are shown as short digests.
func Diff(now, want api.Fleet) []api.FleetChange {
	out := compare(kindMachine, machineFields(now), machineFields(want), want.Prune)
	out = append(out, compare(kindGroup, groupFields(now), groupFields(want), want.Prune)...)
	out = append(out, compare(kindIdentity, identityFields(now), identityFields(want), want.Prune)...)
	return append(out, compare(kindImage, imageFields(now), imageFields(want), want.Prune)...)
}

func compare(kind string, now, want map[string]fields, prune bool) []api.FleetChange {
	var out []api.FleetChange
	names := slices.Sorted(maps.Keys(want))
	if prune {
		names = slices.AppendSeq(names, maps.Keys(now))
		slices.Sort(names)
		names = slices.Compact(names)
	}
	for _, name := range names {
		a, had := now[name]
		b, has := want[name]
		switch {
		case !had:
			out = append(out, api.FleetChange{Kind: kind, Name: name, Do: doAdd})
		case !has:
			out = append(out, api.FleetChange{Kind: kind, Name: name, Do: doRemove})
		default:
			for _, f := range keysOf(a, b) {
				if a[f] != b[f] {
					out = append(out, api.FleetChange{Kind: kind, Name: name, Do: doChange, Field: f, Old: a[f], New: b[f]})
				}
			}
		}
	}
	return out
}

// machineFields goes by name where there is one: a machine whose network card
// was replaced is still the same one to its operator.
func machineFields(f api.Fleet) map[string]fields {
	out := map[string]fields{}
	for _, s := range f.Machines {
		x := fields{}
		x.put("macs", strings.Join(s.MACs, " "))
		x.put("uuid", s.UUID)
		x.put("serial", s.Serial)
		for k, v := range s.Labels {
			x["labels."+k] = strconv.Quote(v) // a label may be there and empty
		}
		x.defaults(s.Flash)
		x.secrets("values.", s.Values)
		out[cmp.Or(s.Name, SpecID(s))] = x
	}
	return out
}

func groupFields(f api.Fleet) map[string]fields {
	out := map[string]fields{}
	for _, g := range f.Groups {
		x := fields{}
		x.put("selector", g.Selector)
		x.defaults(g.Flash)
		x.secrets("values.", g.Values)
		out[g.Name] = x
	}
	return out
}

func imageFields(f api.Fleet) map[string]fields {
	out := map[string]fields{}
	for name, digest := range f.Images {
		out[name] = fields{"digest": digest}
	}
	return out
}

// identityFields shows no text of an identity at all: any of its templates
// may hold a secret, and which one does is not ours to guess.
func identityFields(f api.Fleet) map[string]fields {
	out := map[string]fields{}
	for name, id := range f.Identities {
		// The types of the wire always encode.
		p, _ := json.Marshal(id)
		var parts map[string]json.RawMessage
		_ = json.Unmarshal(p, &parts)
		x := fields{}
		for k, v := range parts {
			x[k] = digestOf(string(v))
		}
		out[name] = x
	}
	return out
}

func (x fields) put(field, v string) {
	if v != "" {
		x[field] = v
	}
}

func (x fields) secrets(prefix string, values map[string]string) {
	for k, v := range values {
		x[prefix+k] = digestOf(v)
	}
}

func (x fields) defaults(d api.Defaults) {
	x.put("flash.image", d.Image)
	x.put("flash.disk", d.Disk)
	x.put("flash.identity", d.Identity)
	x.put("flash.readBack", d.ReadBack)
	x.put("flash.handoff", d.Handoff)
	if len(d.Keep) > 0 {
		x.put("flash.keep", fmt.Sprintf("%q", d.Keep)) // a partition's label may hold a comma or blank
	}
	x.put("flash.confirm", confirmText(d.Confirm))
}

// digestOf tells that a text differs, not what it is.
func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:4]) + "..."
}

// CheckFleet checks everything that files say, alone and of each other, and
// brings its machines into the form of [CheckSpec]. It tells all that is wrong
// at once, as joined errors that name their place: "machines[3]: ...".
func CheckFleet(f api.Fleet) error {
	c := fleetCheck{fleet: f}
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
		if !isDigest(f.Images[name]) {
			c.add(fmt.Sprintf("images.%.128s", name), fmt.Errorf("%.80q is no digest: it looks like sha256: and 64 hex digits", f.Images[name]))
		}
	}
	return errors.Join(c.errs...)
}

type fleetCheck struct {
	fleet api.Fleet
	errs  []error
}

func (c *fleetCheck) add(at string, err error) {
	if err != nil {
		c.errs = append(c.errs, fmt.Errorf("%s: %w", at, err))
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
		s, err := ParseSelector(g.Selector)
		if err == nil && len(s.terms) == 0 {
			err = errors.New("no selector: say which machines, such as rack=b7")
		}
		c.add(at, err)
		c.add(at, CheckDefaults(g.Flash))
		c.add(at, checkPairs("values", g.Values))
		c.identity(at, g.Flash.Identity)
	}
}

func (c *fleetCheck) identity(at, name string) {
	if _, ok := c.fleet.Identities[name]; !ok && name != "" && name != noIdentity {
		c.add(at, fmt.Errorf("no identity %.63q is among identities", name))
	}
}

func isDigest(s string) bool {
	digits, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(digits) == 64 && strings.Trim(digits, "0123456789abcdef") == ""
}
