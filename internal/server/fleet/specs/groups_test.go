package specs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/settings"
)

func TestResolve(t *testing.T) {
	spec := api.Spec{
		Name: "n1", Labels: map[string]string{"rack": "b7"},
		Flash: settings.Settings{Agent: settings.Agent{Disk: "smallest"}}, Values: map[string]string{"ip": "own"},
	}
	groups := []api.Group{
		{
			Name: "z", Selector: "rack", Flash: settings.Settings{Image: "web", Identity: "node", Agent: settings.Agent{Disk: "size>=1T"}},
			Values: map[string]string{"ip": "group", "dns": "d"},
		},
		{
			Name: "a", Selector: "rack=b7", Flash: settings.Settings{Image: "web", Agent: settings.Agent{Keep: []string{"data"}}},
			Values: map[string]string{"dns": "d"},
		},
		{Name: "other", Selector: "rack=b8", Flash: settings.Settings{Image: "db"}},
		{Name: "forgotten", Flash: settings.Settings{Image: "db"}},
	}
	got, values, err := Resolve(spec, groups,
		api.FlashRequest{Settings: settings.Settings{Identity: "none", Agent: settings.Agent{Keep: []string{}}}})
	want := api.FlashRequest{Settings: settings.Settings{Image: "web", Agent: settings.Agent{Disk: "smallest", Keep: []string{"data"}}}}
	if d := cmp.Diff(want, got); err != nil || d != "" {
		t.Errorf("Resolve = %v, -want +got:\n%s", err, d)
	}
	if d := cmp.Diff(map[string]string{"ip": "own", "dns": "d"}, values); d != "" {
		t.Errorf("values, -want +got:\n%s", d)
	}

	groups[1].Flash.Image = "db"
	_, _, err = Resolve(spec, groups, api.FlashRequest{})
	if err == nil || !strings.Contains(err.Error(), `groups "a" and "z" say different things of image`) {
		t.Errorf("Resolve of a conflict = %v", err)
	}
	if _, _, err = Resolve(spec, groups, api.FlashRequest{Settings: settings.Settings{Image: "web"}}); err != nil {
		t.Errorf("Resolve of a conflict that the request decides = %v", err)
	}
	groups[1].Flash.Image, groups[1].Values = "", map[string]string{"dns": "s3cret"}
	_, _, err = Resolve(spec, groups, api.FlashRequest{})
	if err == nil || !strings.Contains(err.Error(), "values.dns") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("Resolve of values in conflict = %v", err)
	}
}
