package server

import (
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/alarm"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/stored"
	"github.com/gild-dev/gild/internal/settings"
)

// An image that is not stored is refused where one machine is told of it, and
// a warning where files name it: it may come later.
func TestNamingAnImageThatIsNotStored(t *testing.T) {
	s := newMachines(t)
	images := storeWith(t, "web")
	s.Images = stored.Images{Store: images}
	op := s.Operators()
	spec := func(image string) api.Spec {
		return api.Spec{Name: "db-1", MACs: []string{mac}, Flash: settings.Settings{Image: image}}
	}
	if _, err := op.Register(t.Context(), "", spec("nope")); !errors.As(err, new(*fleet.UnknownError)) {
		t.Errorf("Register with it: %v; want it refused", err)
	}
	if _, err := op.Register(t.Context(), "", spec("web")); err != nil {
		t.Fatal(err)
	}
	if _, err := op.Edit(t.Context(), "", "db-1", "", spec("nope")); !errors.As(err, new(*fleet.UnknownError)) {
		t.Errorf("Edit with it: %v; want it refused", err)
	}
	if err := images.Remove(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	relabelled := spec("web")
	relabelled.Labels = map[string]string{"rack": "b7"}
	if _, err := op.Edit(t.Context(), "", "db-1", "", relabelled); err != nil {
		t.Errorf("another edit once it is gone: %v", err)
	}
	diff, err := op.Apply(t.Context(), "", api.Fleet{
		Machines: []api.Spec{{Name: "web-1", Serial: "S1"}, {Name: "web-2", Serial: "S2", Flash: settings.Settings{Image: "web"}}},
		Groups:   []api.Group{{Name: "all", Selector: "rack", Flash: settings.Settings{Image: "nope"}}},
	}, false)
	var at []string
	for _, w := range diff.Warnings {
		at = append(at, w.Path)
	}
	if want := []string{"machines[1].flash.image", "groups[0].flash.image"}; err != nil || !cmp.Equal(want, at) || len(diff.Changes) != 3 {
		t.Errorf("Apply = %+v, %v; want everything applied, and warnings at %q", diff, err, want)
	}
}

// What names a group or an identity keeps it; force says what did.
func TestRemovalOfAGroupOrAnIdentityThatIsNamed(t *testing.T) {
	s := newMachines(t)
	images := storeWith(t, "web")
	s.Images, s.Pins = stored.Images{Store: images, Log: slog.New(slog.DiscardHandler)}, images
	op := s.Operators()
	if _, err := op.Apply(t.Context(), "", api.Fleet{
		Machines: []api.Spec{
			{Name: "db-1", MACs: []string{mac}, Flash: settings.Settings{Identity: "own"}},
			{Name: "web-1", MACs: []string{"52:54:00:00:00:77"}, Labels: map[string]string{"rack": "b7"}},
		},
		Groups: []api.Group{
			{Name: "racks", Selector: "rack=b7", Flash: settings.Settings{Identity: "grouped"}},
			{Name: "empty", Selector: "rack=c1"},
		},
		Identities: map[string]api.Identity{"own": {}, "grouped": {}, "armed": {}, "free": {}},
	}, false); err != nil {
		t.Fatal(err)
	}
	arm := machinestest.Flash("web")
	arm.Identity = "armed"
	if _, err := op.Flash(t.Context(), "", "db-1", arm); err != nil {
		t.Fatal(err)
	}
	left := func() []string {
		a, err := op.Applied(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range a.Groups {
			a.Identities = append(a.Identities, "group "+g.Name)
		}
		return a.Identities
	}
	all := left()
	for _, tt := range []struct {
		kind, name string
		want       api.Use
	}{
		{api.KindIdentity, "armed", api.Use{Kind: api.UseArm, Name: "db-1"}},
		{api.KindIdentity, "own", api.Use{Kind: api.UseMachine, Name: "db-1"}},
		{api.KindIdentity, "grouped", api.Use{Kind: api.UseGroup, Name: "racks"}},
		{api.KindGroup, "racks", api.Use{Kind: api.UseMember, Name: "web-1"}},
	} {
		_, err := op.RemoveNamed(t.Context(), "", tt.kind, tt.name, false)
		if !errors.As(err, new(*fleet.ConflictError)) || !strings.Contains(err.Error(), tt.want.String()) || !cmp.Equal(all, left()) {
			t.Errorf("removing %s %s: %v; want it refused: %s", tt.kind, tt.name, err, tt.want)
		}
		gone, err := op.RemoveNamed(t.Context(), "", tt.kind, tt.name, true)
		if diff := cmp.Diff(api.Removed{Kind: tt.kind, Name: tt.name, Uses: []api.Use{tt.want}}, gone); err != nil || diff != "" {
			t.Errorf("removing %s %s by force: %v (-want +got):\n%s", tt.kind, tt.name, err, diff)
		}
		all = left()
	}
	for _, of := range [][2]string{{api.KindIdentity, "free"}, {api.KindGroup, "empty"}} {
		if gone, err := op.RemoveNamed(t.Context(), "", of[0], of[1], false); err != nil || len(gone.Uses) > 0 {
			t.Errorf("removing %v, which nothing names: %v, %v", of, gone, err)
		}
		if _, err := op.RemoveNamed(t.Context(), "", of[0], of[1], false); !errors.As(err, new(*fleet.UnknownError)) {
			t.Errorf("removing %v again: %v", of, err)
		}
	}
	if len(left()) > 0 {
		t.Errorf("left: %q", left())
	}
}

// Whatever names an image keeps it from being removed with the others; force
// says what did.
func TestRemovalOfAnImageThatIsNamed(t *testing.T) {
	s := newMachines(t)
	s.Alarms = alarm.New(slog.New(slog.DiscardHandler))
	images := storeWith(t, "armed", "own", "grouped", "discover", "free", "free-too")
	s.Images, s.Pins, s.RemoveImage = stored.Images{Store: images}, images, images.Remove
	s.Discover = "discover"
	op := s.Operators()
	if _, err := op.Flash(t.Context(), "", mac, machinestest.Flash("armed")); err != nil {
		t.Fatal(err)
	}
	if _, err := op.Apply(t.Context(), "", api.Fleet{
		Machines: []api.Spec{{Name: "db-1", MACs: []string{"52:54:00:00:00:77"}, Flash: settings.Settings{Image: "own"}}},
		Groups:   []api.Group{{Name: "racks", Selector: "rack=b7", Flash: settings.Settings{Image: "grouped"}}},
	}, false); err != nil {
		t.Fatal(err)
	}
	stored := func(name string) bool { _, err := images.Resolve(name); return err == nil }
	uses := map[string][]api.Use{
		"armed":    {{Kind: api.UseArm, Name: mac}},
		"own":      {{Kind: api.UseMachine, Name: "db-1"}},
		"grouped":  {{Kind: api.UseGroup, Name: "racks"}},
		"discover": {{Kind: api.UseDiscover}},
	}
	for name, want := range uses {
		_, err := op.RemoveImages(t.Context(), "", []string{"free", name}, false)
		if _, refused := errors.AsType[*fleet.ConflictError](err); !refused || !strings.Contains(err.Error(), want[0].String()) {
			t.Errorf("removing %s: %v; want it refused: %s", name, err, want[0])
		}
		if !stored("free") || !stored(name) {
			t.Fatalf("something was removed by a removal of %s that was refused", name)
		}
	}
	if _, err := op.RemoveImages(t.Context(), "", []string{"free", "no such"}, true); !errors.As(err, new(*fleet.UnknownError)) ||
		!stored("free") {
		t.Errorf("removing what is not stored: %v, and the other is still there: %v", err, stored("free"))
	}
	if gone, err := op.RemoveImages(t.Context(), "", []string{"free-too", "free"}, false); err != nil || len(gone) != 2 || stored("free") ||
		stored("free-too") {
		t.Errorf("removing what nobody names: %v, %v", gone, err)
	}
	for name, want := range uses {
		gone, err := op.RemoveImages(t.Context(), "", []string{name}, true)
		if diff := cmp.Diff([]api.RemovedImage{{Name: name, Uses: want}}, gone); err != nil || diff != "" || stored(name) {
			t.Errorf("removing %s by force: %v (-want +got):\n%s", name, err, diff)
		}
	}
	if raised, _ := s.Alarms.List(); len(raised) != 1 || raised[0].Kind != api.AlarmDiscover {
		t.Errorf("alarms: %v; want %s", raised, api.AlarmDiscover)
	}
	// An arm that has lapsed needs nothing.
	addTo(t, images, "armed")
	if _, err := op.Cancel(t.Context(), "", mac, false); err != nil {
		t.Fatal(err)
	}
	if _, err := op.RemoveImages(t.Context(), "", []string{"armed"}, false); err != nil {
		t.Errorf("an image that no machine is armed with any more: %v", err)
	}
}
