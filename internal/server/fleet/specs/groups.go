package specs

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet/selector"
	"github.com/gild-dev/gild/internal/settings"
)

// NoIdentity means none, whatever stands behind a request, machine or group.
const NoIdentity = "none"

// Resolve fills in what a request leaves open: first from the machine, then
// from the groups whose selectors match its labels, field by field, and gives
// the values for its templates merged the same way. Two groups that say
// different things of one field that neither request nor machine decides are
// an error that names both: an order of groups would be a guess, and a guess
// must not pick the disk that is erased.
//
// A group's selector sees the labels and the name of the machine, not its
// state: what is written to a machine must not change while it boots.
func Resolve(spec api.Spec, groups []api.Group, req api.FlashRequest) (api.FlashRequest, map[string]string, error) {
	matching, err := groupsOf(spec, groups)
	if err != nil {
		return req, nil, err
	}
	r := resolver{spec: spec, groups: matching}
	for i := range settings.Fields {
		r.pick(&settings.Fields[i], &req.Settings)
	}
	values := r.values()
	if r.err != nil {
		return req, nil, r.err
	}
	if req.Identity == NoIdentity {
		req.Identity = ""
	}
	return req, values, nil
}

// groupsOf is the groups that a machine is in, sorted by name, so that the
// same error names them in the same order on every server.
func groupsOf(spec api.Spec, groups []api.Group) ([]api.Group, error) {
	var out []api.Group
	for _, g := range groups {
		s, err := selector.Parse(g.Selector)
		if err != nil {
			return nil, fmt.Errorf("group %.63q: %w", g.Name, err)
		}
		if !s.Empty() && s.MatchesSpec(spec) {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b api.Group) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// InGroup reports whether a group's selector picks a machine.
func InGroup(spec api.Spec, g api.Group) bool {
	in, err := groupsOf(spec, []api.Group{g})
	return err == nil && len(in) > 0
}

type resolver struct {
	spec   api.Spec
	groups []api.Group
	err    error // the first
}

func (r *resolver) conflict(a, b api.Group, field string) {
	if r.err == nil {
		r.err = fmt.Errorf("groups %q and %q say different things of %s: say it in the machine, or in one of them", a.Name, b.Name, field)
	}
}

// pick sets a setting that is still empty.
func (r *resolver) pick(f *settings.Field, into *settings.Settings) {
	if f.Said(into) {
		return
	}
	if f.Said(&r.spec.Flash) {
		f.Copy(into, &r.spec.Flash)
		return
	}
	said := -1 // the group that has decided
	for i := range r.groups {
		group := &r.groups[i].Flash
		if !f.Said(group) {
			continue
		}
		if said < 0 {
			f.Copy(into, group)
			said = i
		} else if !f.Equal(into, group) {
			r.conflict(r.groups[said], r.groups[i], f.Name)
			return
		}
	}
}

// values merges key by key. A conflict names the key, never what it holds.
func (r *resolver) values() map[string]string {
	var out map[string]string
	said := map[string]api.Group{}
	for _, g := range r.groups {
		for _, key := range slices.Sorted(maps.Keys(g.Values)) {
			if _, own := r.spec.Values[key]; own {
				continue
			}
			if first, ok := said[key]; ok && out[key] != g.Values[key] {
				r.conflict(first, g, "values."+key)
				continue
			}
			set(&out, key, g.Values[key])
			said[key] = g
		}
	}
	for key, v := range r.spec.Values {
		set(&out, key, v)
	}
	return out
}

func set(m *map[string]string, key, value string) {
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
}
