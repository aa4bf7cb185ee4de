package apply

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
	"github.com/gild-dev/gild/internal/settings"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

// carryOut does what the server does with an application.
func carryOut(t *testing.T, have Stored, a Plan, now time.Time) Stored {
	t.Helper()
	out := Stored{Groups: maps.Clone(have.Groups), Identities: maps.Clone(have.Identities), Named: a.Named}
	for _, m := range have.Machines {
		if !slices.Contains(a.RemoveMachines, m.ID) {
			out.Machines = append(out.Machines, m)
		}
	}
	for _, p := range a.Machines {
		i := slices.IndexFunc(out.Machines, func(m fleet.Record) bool { return m.ID == p.ID })
		if i < 0 {
			out.Machines = append(out.Machines, fleet.Record{ID: p.ID})
			i = len(out.Machines) - 1
		}
		if _, err := specs.Set(&out.Machines[i], p.Spec, "", now); err != nil {
			t.Fatalf("specs.Set(%s) = %v after it was checked", p.ID, err)
		}
	}
	if out.Groups == nil {
		out.Groups, out.Identities = map[string]api.Group{}, map[string]api.Identity{}
	}
	maps.Copy(out.Groups, a.Groups)
	maps.Copy(out.Identities, a.Identities)
	for _, n := range a.RemoveGroups {
		delete(out.Groups, n)
	}
	for _, n := range a.RemoveIdentities {
		delete(out.Identities, n)
	}
	return out
}

func lines(changes []api.FleetChange) []string {
	var out []string
	for _, c := range changes {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s %s %s %s", c.Do, c.Kind, c.Name, c.Field, c.Old, c.New)))
	}
	return out
}

func apply(t *testing.T, have Stored, want api.Fleet, expect ...string) Stored {
	t.Helper()
	a, err := Make(have, want, noon)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(expect, lines(a.Changes)); d != "" {
		t.Errorf("changes, -want +got:\n%s", d)
	}
	after := carryOut(t, have, a, noon)
	again, err := Make(after, want, noon)
	if err != nil || len(again.Changes) > 0 && again.Changes[0].Do != doKeep {
		t.Errorf("the same once more changes %q, %v; want nothing", lines(again.Changes), err)
	}
	return after
}

func TestApply(t *testing.T) {
	seen := fleet.Record{ID: "52:54:00:00:00:01", MAC: "52:54:00:00:00:01", State: api.MachineDiscovered}
	have := apply(t, Stored{Machines: []fleet.Record{seen}}, room(),
		"add machine n1", "add machine serial-s2", "add group web", "add identity node")
	if len(have.Machines) != 2 || have.Machines[0].State != api.MachineRegistered {
		t.Errorf("machines = %+v; want the seen one registered, and another", have.Machines)
	}

	// A new network card, a label, another secret; the other machine gets a name.
	want := room()
	want.Machines[0].MACs = []string{"52:54:00:00:00:aa"}
	want.Machines[0].Labels = map[string]string{"rack": "b8", "new": ""}
	want.Machines[0].Values = map[string]string{"key": "canary-3"}
	want.Machines[1].Name = "n2"
	want.Groups = nil
	want.Identities["node"] = api.Identity{Credentials: map[string]string{"pw": "canary-4"}}
	have = apply(t, have, want,
		"change machine n1 labels.new  \"\"", "change machine n1 labels.rack b7 b8",
		"change machine n1 macs 52:54:00:00:00:01 52:54:00:00:00:aa", "change machine n1 values.key not shown not shown",
		"change machine n2 name  n2", "change identity node credentials not shown not shown")
	if len(have.Machines) != 2 || have.Machines[0].ID != seen.ID {
		t.Errorf("machines = %+v; want the same two records", have.Machines)
	}

	// Two machines swap their addresses.
	have = apply(t, have, api.Fleet{Machines: []api.Spec{{Name: "n1", Serial: "S2"}, {Name: "n2", MACs: []string{"52:54:00:00:00:aa"}}}},
		"change machine n1 labels.new \"\"", "change machine n1 labels.rack b8", "change machine n1 macs 52:54:00:00:00:aa",
		"change machine n1 serial  S2", "change machine n1 values.key not shown",
		"change machine n2 macs  52:54:00:00:00:aa", "change machine n2 serial S2")

	// What no file names any more goes when asked, but nothing that is armed.
	have.Machines[1].Armed = &fleet.Armed{Plan: api.Plan{ID: "p"}}
	have.Machines = append(have.Machines, fleet.Record{ID: "x", Spec: api.Spec{Name: "by-hand", Serial: "X"}},
		fleet.Record{ID: "y", State: api.MachineDiscovered})
	have = apply(t, have, api.Fleet{Prune: true}, "remove machine n1", "keep machine n2", "remove group web", "remove identity node")
	if len(have.Machines) != 3 || len(have.Groups)+len(have.Identities) != 0 {
		t.Errorf("left are %+v, %v, %v; want the armed machine and those that were never applied", have.Machines, have.Groups, have.Identities)
	}
	have.Machines[0].Armed = nil
	apply(t, have, api.Fleet{Prune: true}, "remove machine n2")
}

// An identity that something names which stays is not pruned from below it.
func TestPruneKeepsIdentitiesThatAreNamed(t *testing.T) {
	node := map[string]api.Identity{"node": {}, "spare": {}}
	named := settings.Settings{Identity: "node"}
	machine := api.Spec{Name: "n1", Serial: "S1", Flash: named}
	group := api.Group{Name: "web", Selector: "rack=b7", Flash: named}
	for what, tt := range map[string]struct {
		before, files api.Fleet
		more          []fleet.Record // registered by hand
		want, then    []string       // what the prune does, and another one when all machines are gone
	}{
		"a machine of the files": {
			api.Fleet{Machines: []api.Spec{machine}},
			api.Fleet{Machines: []api.Spec{machine}},
			nil,
			[]string{"keep identity node", "remove identity spare"},
			[]string{"remove identity node"},
		},
		"a group of the files": {
			api.Fleet{},
			api.Fleet{Groups: []api.Group{group}},
			nil,
			[]string{"add group web", "keep identity node", "remove identity spare"},
			[]string{"remove group web", "remove identity node"},
		},
		"a machine of no file": {
			api.Fleet{},
			api.Fleet{},
			[]fleet.Record{{ID: "x", Spec: machine}},
			[]string{"keep identity node", "remove identity spare"},
			[]string{"remove identity node"},
		},
		"a machine that goes": {
			api.Fleet{Machines: []api.Spec{machine}},
			api.Fleet{},
			nil,
			[]string{"remove machine n1", "remove identity node", "remove identity spare"},
			nil,
		},
		"a group that goes": {
			api.Fleet{Groups: []api.Group{group}},
			api.Fleet{},
			nil,
			[]string{"remove group web", "remove identity node", "remove identity spare"},
			nil,
		},
	} {
		t.Run(what, func(t *testing.T) {
			tt.before.Identities = node
			plan, err := Make(Stored{}, tt.before, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			have := carryOut(t, Stored{}, plan, time.Now())
			have.Machines = append(have.Machines, tt.more...)
			tt.files.Prune = true
			have = apply(t, have, tt.files, tt.want...)
			if left := len(have.Identities); left != len(tt.then)-len(have.Groups) {
				t.Errorf("%d identities are left: %v", left, have.Identities)
			}
			have.Machines = nil
			apply(t, have, api.Fleet{Prune: true}, tt.then...)
		})
	}
}

func TestApplyRefuses(t *testing.T) {
	have := Stored{Machines: []fleet.Record{
		{ID: "m1", Spec: api.Spec{Name: "n1", Serial: "S1"}, Armed: &fleet.Armed{}},
		{ID: "m2", Spec: api.Spec{Name: "n2", Serial: "S2", MACs: []string{"52:54:00:00:00:02"}}},
		{ID: "m3", Spec: api.Spec{Name: "n3", Serial: "S3"}},
	}}
	for _, tt := range []struct {
		name string
		want []api.Spec
		says string
	}{
		{"armed and moved", []api.Spec{{Name: "n1", Serial: "S9"}}, "machines[0]: n1 is armed"},
		{
			"of one not in the files",
			[]api.Spec{{Name: "n1", Serial: "S2"}},
			"machines[0]: the serial s2 is taken by n2, which is not in the files",
		},
		{"several", []api.Spec{{Serial: "S3", MACs: []string{"52:54:00:00:00:02"}}}, "machines[0]: several machines"},
		{"wrong", []api.Spec{{Name: "a b", Serial: "S7"}, {Name: "c"}}, "machines[1]: nothing to recognise"},
		{
			"no identity",
			[]api.Spec{{Name: "n3", Serial: "S3", Flash: settings.Settings{Identity: "gone"}}},
			"machines[0].flash.identity: there is no identity",
		},
	} {
		_, err := Make(have, api.Fleet{Machines: tt.want}, noon)
		if _, typed := errors.AsType[*BadFilesError](err); !typed || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: Make = %v; want %q", tt.name, err, tt.says)
		}
	}
}

// Whatever was there, an apply ends in what the files say, and a second one
// has nothing to do. One that is cut off is completed.
func TestApplyRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	fleetOf := func() api.Fleet {
		f := api.Fleet{Identities: map[string]api.Identity{}, Prune: r.IntN(2) == 0}
		used := map[string]bool{}
		pick := func(pattern string) string {
			s := fmt.Sprintf(pattern, r.IntN(6))
			if used[s] {
				return ""
			}
			used[s] = true
			return s
		}
		for range r.IntN(6) {
			s := api.Spec{Name: pick("n%d"), Serial: pick("S%d")}
			if mac := pick("52:54:00:00:00:0%d"); mac != "" {
				s.MACs = []string{mac}
			}
			if r.IntN(2) == 0 {
				s.Labels = map[string]string{"rack": fmt.Sprint(r.IntN(3))}
			}
			if s.Serial != "" || len(s.MACs) > 0 {
				f.Machines = append(f.Machines, s)
			}
		}
		for i := range r.IntN(3) {
			f.Groups = append(f.Groups, api.Group{Name: fmt.Sprint("g", i), Selector: fmt.Sprint("rack=", r.IntN(2))})
		}
		if r.IntN(2) == 0 {
			f.Identities["node"] = api.Identity{Hostname: fmt.Sprint("h", r.IntN(2))}
		}
		return f
	}
	applied := 0
	for range 500 {
		var have Stored
		for range 5 {
			want := fleetOf()
			a, err := Make(have, want, noon)
			if err != nil {
				continue // such as an address of a machine that stays
			}
			applied++
			if cut := a; len(cut.Machines) > 1 && r.IntN(3) == 0 {
				cut.Named = have.Named.And(a.Named)
				cut.Machines, cut.RemoveGroups, cut.RemoveIdentities = cut.Machines[:1], nil, nil
				half := carryOut(t, have, cut, noon)
				if a, err = Make(half, want, noon); err != nil {
					t.Fatalf("after a cut: %v", err)
				}
				have = half
			}
			have = carryOut(t, have, a, noon)
			again, err := Make(have, want, noon)
			if err != nil || len(again.Changes) > 0 {
				t.Fatalf("%+v\nonce more changes %q, %v", want, lines(again.Changes), err)
			}
			owner := map[string]string{}
			for _, m := range have.Machines {
				for _, l := range specs.Labels(m.Spec) {
					if other, twice := owner[l]; twice {
						t.Fatalf("%s is of %s and of %s", l, m.ID, other)
					}
					owner[l] = m.ID
				}
			}
			if want.Prune && len(have.Machines) != len(want.Machines) {
				t.Fatalf("%d machines after a prune; want %d", len(have.Machines), len(want.Machines))
			}
		}
	}
	if applied < 300 {
		t.Errorf("only %d of the fleets could be applied", applied)
	}
}
