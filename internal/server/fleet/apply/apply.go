// Package apply plans how what is stored becomes what the files of an operator
// say.
package apply

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/differ"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
)

// What is done to a thing, beside [differ.Change].
const doAdd, doRemove, doKeep = "add", "remove", "keep"

// Stored is what the server knows when files are applied.
type Stored struct {
	Machines   []fleet.Record
	Groups     map[string]api.Group
	Identities map[string]api.Identity
	Named      Named
}

// Named is what files of earlier applies have named: what a prune may remove.
type Named struct {
	Machines   []string `json:"machines,omitempty"` // IDs
	Groups     []string `json:"groups,omitempty"`
	Identities []string `json:"identities,omitempty"`
}

// Plan is what an apply does, in the order of its fields.
type Plan struct {
	Changes    []api.FleetChange // the same for a person
	Identities map[string]api.Identity
	Groups     map[string]api.Group
	Machines   []Placed

	RemoveMachines, RemoveGroups, RemoveIdentities []string

	Named Named // after it
}

// Placed is a machine of the files and the ID of its record.
type Placed struct {
	ID   string
	Spec api.Spec
}

// Make works out what an apply changes. What is said already is left
// alone, so that a second apply, or one after a crash in the middle, does what
// is left to do. Everything is checked before anything is done: an error is a
// *BadFilesError.
//
// A machine of the files is the record that has its name, else the one that is
// registered with one of its addresses, else the one that was seen with them.
func Make(have Stored, want api.Fleet, now time.Time) (Plan, error) {
	if err := Check(want, have.Identities); err != nil {
		return Plan{}, err
	}
	p := planner{have: have, want: want, now: now, of: map[string]int{}}
	p.check.fleet = want
	p.place()
	p.machines()
	things(&p, differ.Group, have.Groups, groupsByName(want), differ.Groups, have.Named.Groups, nil, &p.out.Groups, &p.out.RemoveGroups,
		&p.out.Named.Groups)
	things(&p, differ.Identity, have.Identities, want.Identities, differ.Identities, have.Named.Identities, p.identitiesNamed(),
		&p.out.Identities, &p.out.RemoveIdentities, &p.out.Named.Identities)
	return p.out, p.check.err()
}

// identitiesNamed are the identities that something names which stands after
// the apply.
func (p *planner) identitiesNamed() map[string]bool {
	named := map[string]bool{}
	for _, s := range p.want.Machines {
		named[s.Flash.Identity] = true
	}
	for i := range p.have.Machines {
		m := &p.have.Machines[i]
		if _, replaced := p.of[m.ID]; !replaced && !slices.Contains(p.out.RemoveMachines, m.ID) {
			named[m.Spec.Flash.Identity] = true
		}
	}
	groups := groupsByName(p.want)
	for name, g := range p.have.Groups {
		if _, replaced := groups[name]; !replaced && !slices.Contains(p.out.RemoveGroups, name) {
			groups[name] = g
		}
	}
	for _, g := range groups {
		named[g.Flash.Identity] = true
	}
	return named
}

func groupsByName(f api.Fleet) map[string]api.Group {
	out := map[string]api.Group{}
	for _, g := range f.Groups {
		out[g.Name] = g
	}
	return out
}

type planner struct {
	have  Stored
	want  api.Fleet
	now   time.Time
	of    map[string]int // ID of a record -> index of the machine of the files that it is
	ids   []string       // of the machines of the files
	check checker
	out   Plan
}

func pathOf(i int) string { return fmt.Sprintf("machines[%d]", i) }

// place finds the record of each machine of the files.
func (p *planner) place() {
	p.ids = make([]string, len(p.want.Machines))
	registered := map[string][]*fleet.Record{} // by what they were registered with
	seen := map[string][]fleet.Record{}        // by whatever they show
	for i := range p.have.Machines {
		m := &p.have.Machines[i]
		labels := specs.Labels(m.Spec)
		for _, l := range labels {
			registered[l] = append(registered[l], m)
		}
		if len(labels) == 0 {
			for _, l := range fleet.Labels(m) {
				seen[l] = append(seen[l], *m)
			}
		}
	}
	for i, s := range p.want.Machines {
		if name := fleet.NameLabel(s.Name); name != "" && len(registered[name]) > 0 {
			p.put(i, registered[name][0].ID)
		}
	}
	for i, s := range p.want.Machines {
		if p.ids[i] != "" {
			continue
		}
		if ids := p.free(specs.Labels(s), registered); len(ids) > 1 {
			p.check.add(pathOf(i), fmt.Errorf("several machines are registered with what it says: %s", strings.Join(ids, ", ")))
		} else if len(ids) == 1 {
			p.put(i, ids[0])
		}
	}
	for i, s := range p.want.Machines {
		if p.ids[i] == "" {
			var found []fleet.Record
			for _, l := range specs.Labels(s) {
				found = append(found, seen[l]...)
			}
			slices.SortFunc(found, func(a, b fleet.Record) int { return strings.Compare(a.ID, b.ID) })
			found = slices.CompactFunc(found, func(a, b fleet.Record) bool { return a.ID == b.ID })
			id, err := specs.Adopt(found, s)
			p.check.add(pathOf(i), err)
			p.put(i, id)
		}
	}
}

func (p *planner) put(i int, id string) {
	if j, taken := p.of[id]; taken && id != "" {
		p.check.add(pathOf(i), fmt.Errorf("is the same machine as machines[%d]: %s", j, id))
		return
	}
	p.ids[i], p.of[id] = id, i
}

// free is the registered records with one of the labels that no machine of the
// files is yet.
func (p *planner) free(labels []string, registered map[string][]*fleet.Record) []string {
	var ids []string
	for _, l := range labels {
		for _, m := range registered[l] {
			if _, taken := p.of[m.ID]; !taken {
				ids = append(ids, m.ID)
			}
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// machines lists what is done to them.
func (p *planner) machines() {
	records := map[string]*fleet.Record{}
	for i := range p.have.Machines {
		records[p.have.Machines[i].ID] = &p.have.Machines[i]
	}
	p.prune(records)
	taken := map[string]*fleet.Record{} // by machines that the files do not name
	gone := map[string]bool{}
	for _, id := range p.out.RemoveMachines {
		gone[id] = true
	}
	for id, m := range records {
		if _, named := p.of[id]; !named && !gone[id] {
			for _, l := range specs.Labels(m.Spec) {
				taken[l] = m
			}
		}
	}
	for i, s := range p.want.Machines {
		for _, l := range specs.Labels(s) {
			if m := taken[l]; m != nil {
				p.check.add(pathOf(i), fmt.Errorf("%s, which is not in the files", specs.TakenBy(m, l)))
			}
		}
		p.machine(i, records[p.ids[i]])
	}
	p.out.Named.Machines = sorted(p.out.Named.Machines)
}

func (p *planner) machine(i int, m *fleet.Record) {
	s, id := p.want.Machines[i], p.ids[i]
	p.out.Named.Machines = append(p.out.Named.Machines, id)
	name := cmp.Or(s.Name, id)
	var changes []api.FleetChange
	if m == nil || len(specs.Labels(m.Spec)) == 0 {
		changes = []api.FleetChange{{Kind: differ.Machine, Name: name, Do: doAdd}}
	} else {
		changes = differ.Specs(name, m.Spec, s)
	}
	if len(changes) == 0 {
		return
	}
	record := fleet.Record{ID: id}
	if m != nil {
		record = *m
	}
	_, err := specs.Set(&record, s, "", p.now)
	p.check.add(pathOf(i), err)
	p.out.Changes = append(p.out.Changes, changes...)
	p.out.Machines = append(p.out.Machines, Placed{id, s})
}

// prune finds the machines that go. One that is armed or whose disk is being
// written stays, and stays named: the next prune may have it.
func (p *planner) prune(records map[string]*fleet.Record) {
	for _, id := range sorted(p.have.Named.Machines) {
		m := records[id]
		if _, named := p.of[id]; named || m == nil {
			continue
		}
		if p.want.Prune {
			c := api.FleetChange{Kind: differ.Machine, Name: fleet.Called(m), Do: doRemove}
			if Prunable(m, p.now) {
				p.out.Changes = append(p.out.Changes, c)
				p.out.RemoveMachines = append(p.out.RemoveMachines, id)
				continue
			}
			c.Do = doKeep
			p.out.Changes = append(p.out.Changes, c)
		}
		p.out.Named.Machines = append(p.out.Named.Machines, id)
	}
}

// Prunable reports whether a prune may have the machine: it is not armed, and
// its disk is not being written.
func Prunable(m *fleet.Record, now time.Time) bool { return m.Armed == nil && !fleet.Writing(m, now) }

// things lists what is done to groups, or to identities. What is needed stays,
// and stays named: the next prune may have it.
func things[T any](p *planner, kind string, have, want map[string]T, say func(name string, now, want T) []api.FleetChange, named []string,
	needed map[string]bool,
	put *map[string]T, remove, after *[]string,
) {
	*put = map[string]T{}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		changes := []api.FleetChange{{Kind: kind, Name: name, Do: doAdd}}
		if old, ok := have[name]; ok {
			changes = say(name, old, want[name])
		}
		if len(changes) > 0 {
			p.out.Changes = append(p.out.Changes, changes...)
			(*put)[name] = want[name]
		}
		*after = append(*after, name)
	}
	for _, name := range named {
		_, wanted := want[name]
		_, there := have[name]
		switch {
		case wanted || !there:
		case p.want.Prune && needed[name]:
			p.out.Changes = append(p.out.Changes, api.FleetChange{Kind: kind, Name: name, Do: doKeep})
			*after = append(*after, name)
		case p.want.Prune:
			p.out.Changes = append(p.out.Changes, api.FleetChange{Kind: kind, Name: name, Do: doRemove})
			*remove = append(*remove, name)
		default:
			*after = append(*after, name)
		}
	}
	*after = sorted(*after)
}

// sorted sorts in place and drops what is there twice.
func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

// Applied tells what an apply changes that is of no one machine; each machine's
// own past tells the rest.
func Applied(plan Plan, actor string, now time.Time) (e api.Event, changed bool) {
	var did []string
	for _, c := range plan.Changes {
		if one := c.Kind + " " + c.Name + ": " + c.Do; c.Kind != differ.Machine && !slices.Contains(did, one) {
			did = append(did, one)
		}
	}
	if len(did) == 0 {
		return e, false
	}
	return api.Event{
		Time: now, Step: fleet.StepApply, State: api.StateDone, Actor: cmp.Or(actor, api.ActorOperator),
		Message: wire.Clean(strings.Join(did, ", ")),
	}, true
}

// And is everything that either names.
func (n Named) And(o Named) Named {
	both := func(a, b []string) []string { return sorted(slices.Concat(a, b)) }
	return Named{both(n.Machines, o.Machines), both(n.Groups, o.Groups), both(n.Identities, o.Identities)}
}
