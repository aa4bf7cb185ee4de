package server

import (
	"slices"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// A machine that was only seen is described by whatever it is named by, and is
// registered by the address that it was seen by.
func TestEditOfASeenMachine(t *testing.T) {
	const uuid = "4c4c4544-0051-3510-8052-b4c04f4a4c32"
	for _, tt := range []struct {
		name, by string
		who      api.Inventory
		spec     api.Spec
		want     []string // MACs
	}{
		{"name by MAC", "52-54-00-00-00-01", api.Inventory{MAC: mac}, api.Spec{Name: "web-1"}, []string{mac}},
		{"name by UUID", uuid, api.Inventory{MAC: mac, UUID: uuid}, api.Spec{Name: "web-1"}, []string{mac}},
		{"name by serial", "X7", api.Inventory{MAC: mac, Serial: "X7"}, api.Spec{Name: "web-1"}, []string{mac}},
		{"only a label", mac, api.Inventory{MAC: mac}, api.Spec{Labels: map[string]string{"rack": "b7"}}, []string{mac}},
		{"only a default", mac, api.Inventory{MAC: mac}, api.Spec{Flash: api.Defaults{Image: "debian"}}, []string{mac}},
		{"own words first", mac, api.Inventory{MAC: mac, UUID: uuid}, api.Spec{Name: "web-1", UUID: uuid}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newMachines(t)
			if _, err := s.Boot(t.Context(), tt.who); err != nil {
				t.Fatal(err)
			}
			m, err := s.Edit(t.Context(), "", tt.by, "", tt.spec)
			if err != nil || m.State != api.MachineRegistered && m.State != api.MachineLocalDisk || !slices.Equal(m.Spec.MACs, tt.want) {
				t.Fatalf("Edit(%s) = %+v, %v; want it registered by %v", tt.by, m, err, tt.want)
			}
			// Again, under what it is called now, and by a file.
			spec := m.Spec
			spec.Name = "web-2"
			if m, err = s.Edit(t.Context(), "", fleet.Called(&m), m.SpecRevision, spec); err != nil || m.Spec.Name != "web-2" {
				t.Fatalf("Edit, to rename it = %+v, %v", m, err)
			}
			if _, err := s.Apply(t.Context(), "", api.Fleet{Machines: []api.Spec{{Name: "web-3", MACs: []string{mac}}}}, false); err != nil {
				t.Errorf("Apply of a file that names it: %v", err)
			}
			if all, err := s.Machines(t.Context(), ""); err != nil || len(all) != 1 {
				t.Errorf("Machines = %d, %v; want the one", len(all), err)
			}
			spec.MACs, spec.UUID = nil, ""
			if _, err := s.Edit(t.Context(), "", mac, "", spec); err == nil {
				t.Error("a registered machine lost what it is recognised by")
			}
		})
	}
}
