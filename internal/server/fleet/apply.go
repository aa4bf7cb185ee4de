package fleet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
)

// Stored is what the server knows when files are applied.
type Stored struct {
	Machines   []Record
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

// Application is what an apply does, in the order of its fields.
type Application struct {
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

// PlanApply works out what an apply changes. What is said already is left
// alone, so that a second apply, or one after a crash in the middle, does what
// is left to do. Everything is checked before anything is done: an error is a
// *BadFilesError.
//
// A machine of the files is the record that has its name, else the one that is
// registered with one of its addresses, else the one that was seen with them.
func PlanApply(have Stored, want api.Fleet, now time.Time) (Application, error) {
	if err := CheckFleet(want, have.Identities); err != nil {
		return Application{}, err
	}
	p := applyPlan{have: have, want: want, now: now, of: map[string]int{}}
	p.check.fleet = want
	p.place()
	p.machines()
	things(&p, kindGroup, have.Groups, groupsByName(want), groupFields, have.Named.Groups, &p.out.Groups, &p.out.RemoveGroups, &p.out.Named.Groups)
	things(&p, kindIdentity, have.Identities, want.Identities, identityFields, have.Named.Identities, &p.out.Identities, &p.out.RemoveIdentities, &p.out.Named.Identities)
	return p.out, p.check.err()
}

func groupsByName(f api.Fleet) map[string]api.Group {
	out := map[string]api.Group{}
	for _, g := range f.Groups {
		out[g.Name] = g
	}
	return out
}

type applyPlan struct {
	have  Stored
	want  api.Fleet
	now   time.Time
	of    map[string]int // ID of a record -> index of the machine of the files that it is
	ids   []string       // of the machines of the files
	check fleetCheck
	out   Application
}

func pathOf(i int) string { return fmt.Sprintf("machines[%d]", i) }

// place finds the record of each machine of the files.
func (p *applyPlan) place() {
	p.ids = make([]string, len(p.want.Machines))
	registered := map[string][]*Record{} // by what they were registered with
	seen := map[string][]Record{}        // by whatever they show
	for i := range p.have.Machines {
		m := &p.have.Machines[i]
		labels := SpecLabels(m.Spec)
		for _, l := range labels {
			registered[l] = append(registered[l], m)
		}
		if len(labels) == 0 {
			for _, l := range Labels(m) {
				seen[l] = append(seen[l], *m)
			}
		}
	}
	for i, s := range p.want.Machines {
		if name := NameLabel(s.Name); name != "" && len(registered[name]) > 0 {
			p.put(i, registered[name][0].ID)
		}
	}
	for i, s := range p.want.Machines {
		if p.ids[i] != "" {
			continue
		}
		if ids := p.free(SpecLabels(s), registered); len(ids) > 1 {
			p.check.add(pathOf(i), fmt.Errorf("several machines are registered with what it says: %s", strings.Join(ids, ", ")))
		} else if len(ids) == 1 {
			p.put(i, ids[0])
		}
	}
	for i, s := range p.want.Machines {
		if p.ids[i] == "" {
			var found []Record
			for _, l := range SpecLabels(s) {
				found = append(found, seen[l]...)
			}
			slices.SortFunc(found, func(a, b Record) int { return strings.Compare(a.ID, b.ID) })
			found = slices.CompactFunc(found, func(a, b Record) bool { return a.ID == b.ID })
			id, err := Adopt(found, s)
			p.check.add(pathOf(i), err)
			p.put(i, id)
		}
	}
}

func (p *applyPlan) put(i int, id string) {
	if j, taken := p.of[id]; taken && id != "" {
		p.check.add(pathOf(i), fmt.Errorf("is the same machine as machines[%d]: %s", j, id))
		return
	}
	p.ids[i], p.of[id] = id, i
}

// free is the registered records with one of the labels that no machine of the
// files is yet.
func (p *applyPlan) free(labels []string, registered map[string][]*Record) []string {
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
func (p *applyPlan) machines() {
	records := map[string]*Record{}
	for i := range p.have.Machines {
		records[p.have.Machines[i].ID] = &p.have.Machines[i]
	}
	p.prune(records)
	taken := map[string]*Record{} // by machines that the files do not name
	gone := map[string]bool{}
	for _, id := range p.out.RemoveMachines {
		gone[id] = true
	}
	for id, m := range records {
		if _, named := p.of[id]; !named && !gone[id] {
			for _, l := range SpecLabels(m.Spec) {
				taken[l] = m
			}
		}
	}
	for i, s := range p.want.Machines {
		for _, l := range SpecLabels(s) {
			if m := taken[l]; m != nil {
				p.check.add(pathOf(i), fmt.Errorf("%s, which is not in the files", takenBy(m, l)))
			}
		}
		p.machine(i, records[p.ids[i]])
	}
	p.out.Named.Machines = sorted(p.out.Named.Machines)
}

func (p *applyPlan) machine(i int, m *Record) {
	s, id := p.want.Machines[i], p.ids[i]
	p.out.Named.Machines = append(p.out.Named.Machines, id)
	name := cmp.Or(s.Name, id)
	var changes []api.FleetChange
	if m == nil || len(SpecLabels(m.Spec)) == 0 {
		changes = []api.FleetChange{{Kind: kindMachine, Name: name, Do: doAdd}}
	} else {
		changes = changesOf(kindMachine, name, specFields(m.Spec), specFields(s))
	}
	if len(changes) == 0 {
		return
	}
	record := Record{ID: id}
	if m != nil {
		record = *m
	}
	_, err := SetSpec(&record, s, "", p.now)
	p.check.add(pathOf(i), err)
	p.out.Changes = append(p.out.Changes, changes...)
	p.out.Machines = append(p.out.Machines, Placed{id, s})
}

// prune finds the machines that go. One that is armed or whose disk is being
// written stays, and stays named: the next prune may have it.
func (p *applyPlan) prune(records map[string]*Record) {
	for _, id := range sorted(p.have.Named.Machines) {
		m := records[id]
		if _, named := p.of[id]; named || m == nil {
			continue
		}
		if p.want.Prune {
			c := api.FleetChange{Kind: kindMachine, Name: Called(m), Do: doRemove}
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
func Prunable(m *Record, now time.Time) bool { return m.Armed == nil && !writing(m, now) }

// things lists what is done to groups, or to identities.
func things[T any](p *applyPlan, kind string, have, want map[string]T, say func(T) fields, named []string,
	put *map[string]T, remove, after *[]string,
) {
	*put = map[string]T{}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		changes := []api.FleetChange{{Kind: kind, Name: name, Do: doAdd}}
		if old, ok := have[name]; ok {
			changes = changesOf(kind, name, say(old), say(want[name]))
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
func Applied(plan Application, actor string, now time.Time) (e api.Event, changed bool) {
	var did []string
	for _, c := range plan.Changes {
		if one := c.Kind + " " + c.Name + ": " + c.Do; c.Kind != kindMachine && !slices.Contains(did, one) {
			did = append(did, one)
		}
	}
	if len(did) == 0 {
		return e, false
	}
	e = done(StepApply, wire.Clean(strings.Join(did, ", ")))
	e.Time, e.Actor = now, cmp.Or(actor, api.ActorOperator)
	return e, true
}

// And is everything that either names.
func (n Named) And(o Named) Named {
	both := func(a, b []string) []string { return sorted(slices.Concat(a, b)) }
	return Named{both(n.Machines, o.Machines), both(n.Groups, o.Groups), both(n.Identities, o.Identities)}
}
