// Package differ tells what differs between two things that operators say.
package differ

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/settings"
)

// Kinds of things that differ.
const (
	Machine  = "machine"
	Group    = "group"
	Identity = "identity"
)

// Change is what is done to a thing that differs.
const Change = "change"

// Specs lists what differs between what is said of one machine, by field.
func Specs(name string, now, want api.Spec) []api.FleetChange {
	return changes(Machine, name, specFields(now), specFields(want))
}

// Groups lists what differs between a group and the same one as it is to be.
func Groups(name string, now, want api.Group) []api.FleetChange {
	return changes(Group, name, groupFields(now), groupFields(want))
}

// Identities lists what differs between two identities, and shows none of it.
func Identities(name string, now, want api.Identity) []api.FleetChange {
	return changes(Identity, name, identityFields(now), identityFields(want))
}

// field is one thing that is said. A secret is compared and never shown.
type field struct {
	text   string
	secret bool
}

// fields is a thing as a flat list of what it says: "labels.rack" -> "b7".
type fields map[string]field

// changes lists what differs, sorted by field.
func changes(kind, name string, now, want fields) []api.FleetChange {
	var out []api.FleetChange
	for _, f := range keysOf(now, want) {
		if a, b := now[f], want[f]; a != b {
			out = append(out, api.FleetChange{Kind: kind, Name: name, Do: Change, Field: f, Old: a.shown(), New: b.shown()})
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
	x.power(s.Power)
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

// power has no password: who seals it tells that it differs.
func (x fields) power(p api.Power) {
	x.put("power.driver", p.Driver)
	x.put("power.address", p.Address)
	x.put("power.user", p.User)
	x.put("power.system", p.System)
	x.put("power.pin", p.Pin)
	x.put("power.command", strings.Join(p.Command, " "))
}

func keysOf[V any](a, b map[string]V) []string {
	keys := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(keys)
	return slices.Compact(keys)
}
