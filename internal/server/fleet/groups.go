package fleet

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet/selector"
)

// noIdentity in a request, a machine or a group means none, whatever those
// behind it say.
const noIdentity = "none"

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
	pick(&r, "image", &req.Image, func(d *api.Defaults) string { return d.Image })
	pick(&r, "disk", &req.Disk, func(d *api.Defaults) string { return d.Disk })
	pick(&r, "identity", &req.Identity, func(d *api.Defaults) string { return d.Identity })
	pick(&r, "readBack", &req.ReadBack, func(d *api.Defaults) string { return d.ReadBack })
	pick(&r, "handoff", &req.Handoff, func(d *api.Defaults) string { return d.Handoff })
	pick(&r, "keep", &req.Keep, func(d *api.Defaults) []string { return d.Keep })
	pick(&r, "holdReboot", &req.HoldReboot, func(d *api.Defaults) bool { return d.HoldReboot })
	pick(&r, "confirm", &req.Confirm, func(d *api.Defaults) *api.Confirm { return d.Confirm })
	values := r.values()
	if r.err != nil {
		return req, nil, r.err
	}
	if req.Identity == noIdentity {
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

// pick sets a field that is still empty.
func pick[T any](r *resolver, field string, into *T, from func(*api.Defaults) T) {
	if !empty(*into) {
		return
	}
	if own := from(&r.spec.Flash); !empty(own) {
		*into = own
		return
	}
	said := -1 // the group that has decided
	for i := range r.groups {
		v := from(&r.groups[i].Flash)
		if empty(v) {
			continue
		}
		if said < 0 {
			*into, said = v, i
		} else if !reflect.DeepEqual(*into, v) {
			r.conflict(r.groups[said], r.groups[i], field)
			return
		}
	}
}

// empty is also true of a list without entries, which JSON may carry.
func empty(v any) bool {
	x := reflect.ValueOf(v)
	return x.IsZero() || x.Kind() == reflect.Slice && x.Len() == 0
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
