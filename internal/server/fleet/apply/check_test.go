package apply

import (
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/settings"
)

func room() api.Fleet {
	return api.Fleet{
		Machines: []api.Spec{
			{Name: "n1", MACs: []string{"52:54:00:00:00:01"}, Labels: map[string]string{"rack": "b7"}, Values: map[string]string{"key": "canary-1"}},
			{Serial: "S2"},
		},
		Groups:     []api.Group{{Name: "web", Selector: "rack=b7", Flash: settings.Settings{Identity: "node"}}},
		Identities: map[string]api.Identity{"node": {Credentials: map[string]string{"pw": "canary-2"}}},
		Images:     map[string]string{"web": "sha256:" + strings.Repeat("0", 64)},
	}
}

func TestCheck(t *testing.T) {
	if err := Check(room(), nil); err != nil {
		t.Fatalf("Check = %v", err)
	}
	f := room()
	f.Machines = append(f.Machines, api.Spec{Name: "n1", MACs: []string{"52-54-00-00-00-01"}}, api.Spec{Name: "bad name", Serial: "S9"})
	f.Groups = append(f.Groups, api.Group{
		Name: "web", Selector: "rack=",
		Flash: settings.Settings{Identity: "gone", Agent: settings.Agent{Disk: "colour=red"}},
	}, api.Group{Name: "all"})
	f.Identities["none"] = api.Identity{}
	f.Images["db"] = "sha256:12"
	err := Check(f, nil)
	if err == nil {
		t.Fatal("Check of bad files = nil")
	}
	for _, want := range []string{
		"machines[2]: ", "is that of machines[0] already", "machines[3]: name \"bad name\"",
		"groups[1]: the name \"web\" is that of groups[0]", "groups[1].selector: selector \"rack=\", byte 6",
		"groups[1].flash.identity: there is no identity \"gone\"",
		"groups[2].selector: no selector", "identities.none: ", "images.db: ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("Check = %v\nwant %q in it", err, want)
		}
	}
}
