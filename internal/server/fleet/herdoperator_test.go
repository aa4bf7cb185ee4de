package fleet_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/evidence"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
)

func (h *herd) register(b *board) {
	spec := api.Spec{Name: fmt.Sprintf("b%d", b.n)}
	if h.rng.IntN(2) == 0 {
		spec.MACs = []string{b.mac()}
	}
	if h.rng.IntN(2) == 0 && evidence.UUID(b.uuid) != "" {
		spec.UUID = b.uuid
	}
	if h.rng.IntN(3) == 0 && evidence.Serial(b.serial) != "" {
		spec.Serial = b.serial
	}
	if h.rng.IntN(6) == 0 {
		spec.SharedMACs = []string{oneOf(h.rng, adapters)}
	}
	if specs.Check(&spec) != nil {
		return
	}
	id, err := specs.Adopt(h.find(specs.Labels(spec)), spec)
	h.note("register %+v as %s: %v", spec, id, err)
	if err == nil {
		_, _ = specs.Set(h.record(id), spec, "", h.now)
	}
}

// arm arms what the operator sees: a record that has something to tell it by.
func (h *herd) arm(b *board) {
	var m *fleet.Record
	for _, id := range slices.Sorted(maps.Keys(h.records)) {
		if r := h.records[id]; r.Joined == "" && (m == nil || h.rng.IntN(3) == 0) {
			m = r
		}
	}
	if theirs := h.find(fleet.ShownBy(new(b.shows(false))).Labels()); len(theirs) > 0 && h.rng.IntN(3) > 0 {
		if m = h.records[theirs[h.rng.IntN(len(theirs))].ID]; m.Joined != "" {
			m = h.records[m.Joined]
		}
	}
	if m == nil {
		m = h.record(b.mac())
	}
	id := fmt.Sprintf("p%d", len(h.plans))
	var shown *api.Disk
	if m.Inventory != nil && len(m.Inventory.Disks) > 0 {
		shown = &m.Inventory.Disks[0]
	}
	p := plan(id)
	p.Identity = "x"
	p.Agreed = fleet.Agree(m, shown, shown == nil)
	_, err := fleet.Arm(m, fleet.Armed{Plan: p}, h.now)
	h.note("arm %s with %s, agreed %+v: %v", m.ID, id, p.Agreed, err)
	if err == nil {
		h.plans[id] = p.Agreed
	}
}

func (h *herd) cancel() {
	for _, id := range slices.Sorted(maps.Keys(h.records)) {
		if m := h.records[id]; m.Armed != nil && h.rng.IntN(2) == 0 {
			h.note("cancel %s", id)
			_, _ = fleet.Cancel(m, "", h.rng.IntN(2) == 0, h.now)
			return
		}
	}
}
