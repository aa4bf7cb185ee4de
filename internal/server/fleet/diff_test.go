package fleet

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
)

func room() api.Fleet {
	return api.Fleet{
		Machines: []api.Spec{
			{Name: "n1", MACs: []string{"52:54:00:00:00:01"}, Labels: map[string]string{"rack": "b7"}, Values: map[string]string{"key": "canary-1"}},
			{Serial: "S2"},
		},
		Groups:     []api.Group{{Name: "web", Selector: "rack=b7", Flash: api.Defaults{Identity: "node"}}},
		Identities: map[string]api.Identity{"node": {Credentials: map[string]string{"pw": "canary-2"}}},
		Images:     map[string]string{"web": "sha256:" + strings.Repeat("0", 64)},
	}
}

func TestDiff(t *testing.T) {
	if got := Diff(room(), room()); len(got) != 0 {
		t.Errorf("Diff of the same = %+v; want nothing", got)
	}
	want := room()
	want.Machines[0].Labels = map[string]string{"rack": "b8", "new": ""}
	want.Machines[0].Values = map[string]string{"key": "canary-3"}
	want.Machines[1] = api.Spec{Name: "n3", Serial: "S3"}
	want.Groups = nil
	want.Identities["node"] = api.Identity{Credentials: map[string]string{"pw": "canary-4"}}
	line := func(c api.FleetChange) string { return c.Kind + " " + c.Name + " " + c.Do + " " + c.Field }
	var got []string
	for _, c := range Diff(room(), want) {
		got = append(got, line(c))
	}
	lines := []string{
		"machine n1 change labels.new", "machine n1 change labels.rack", "machine n1 change values.key",
		"machine n3 add ", "identity node change credentials",
	}
	if d := cmp.Diff(lines, got); d != "" {
		t.Errorf("Diff, -want +got:\n%s", d)
	}
	want.Prune = true
	pruned := Diff(room(), want)
	if text := fmt.Sprint(pruned); strings.Contains(text, "canary") {
		t.Errorf("Diff shows a secret: %s", text)
	}
	if n := len(pruned); n != len(lines)+2 {
		t.Errorf("Diff with prune = %+v; want the machine S2 and the group web removed as well", pruned)
	}
}

func TestCheckFleet(t *testing.T) {
	if err := CheckFleet(room()); err != nil {
		t.Fatalf("CheckFleet = %v", err)
	}
	f := room()
	f.Machines = append(f.Machines, api.Spec{Name: "n1", MACs: []string{"52-54-00-00-00-01"}}, api.Spec{Name: "bad name", Serial: "S9"})
	f.Groups = append(f.Groups, api.Group{Name: "web", Selector: "rack=", Flash: api.Defaults{Identity: "gone", Disk: "colour=red"}}, api.Group{Name: "all"})
	f.Identities["none"] = api.Identity{}
	f.Images["db"] = "sha256:12"
	err := CheckFleet(f)
	if err == nil {
		t.Fatal("CheckFleet of bad files = nil")
	}
	for _, want := range []string{
		"machines[2]: ", "is that of machines[0] already", "machines[3]: name \"bad name\"",
		"groups[1]: the name \"web\" is that of groups[0]", "groups[1]: selector \"rack=\", byte 6", "groups[1]: no identity \"gone\"",
		"groups[2]: no selector", "identities.none: ", "images.db: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("CheckFleet = %v\nwant %q in it", err, want)
		}
	}
}
