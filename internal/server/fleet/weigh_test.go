package fleet_test

import (
	"fmt"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/evidence"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// What a label of a machine says against a record's, by how both are made.
var said = map[evidence.Verdict][][2]string{
	evidence.Agrees:      {{"1", "1"}},
	evidence.Contradicts: {{"1", "2"}},
	evidence.Silent:      {{"", "1"}, {"1", ""}, {"", ""}, {"w", "1"}, {"1", "w"}, {"w", "w"}}, // missing or worthless, on one side or both
}

func uuidOf(s string) string {
	return map[string]string{"1": uuid1, "2": uuid2, "w": "03000200-0400-0500-0006-000700080009"}[s]
}

func serialOf(s string) string {
	return map[string]string{"1": "X7", "2": "Y8", "w": "Default string"}[s]
}

// The table of docs/operations.md, over the whole of its space: UUID and serial
// that agree, contradict or are silent, whose the address in use is, whether a
// disk is known, what the operator has said, and whether the record is armed.
func TestEveryEvidence(t *testing.T) {
	n := 0
	for uuid, uuids := range said {
		for serial, serials := range said {
			for _, u := range uuids {
				for _, s := range serials {
					for _, address := range []string{"registered", "first seen", "last used", "only claimed", "none", "shared"} {
						for _, disk := range []bool{true, false} {
							for _, vouched := range []bool{true, false} {
								for _, armed := range []bool{true, false} {
									n++
									m, shown := evidenceOf(u, s, address, disk, vouched, armed)
									f, err := fleet.Match([]fleet.Record{m}, shown)
									got := err == nil && f.ID == m.ID
									if want := belongs(uuid, serial, address, disk, vouched); got != want {
										t.Fatalf("UUID %v, serial %v, address %s, disk known %v, registered by them %v, armed %v: Match = %+v, %v; want that "+
											"record: %v\nrecord %+v %+v\nshown %+v",
											uuid, serial, address, disk, vouched, armed, f, err, want, m.Spec, m.Inventory, shown)
									}
									if told := len(f.Others) > 0; !got && armed && uuid == evidence.Contradicts && address != "none" && address != "shared" && !told {
										t.Fatalf("UUID contradicts at address %s, and the armed record is told nothing: %+v", address, f)
									}
								}
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d cases", n)
}

// belongs is the table in words.
func belongs(uuid, serial evidence.Verdict, address string, disk, vouched bool) bool {
	own := address == "registered" || address == "first seen" || address == "last used"
	agree := uuid == evidence.Agrees || serial == evidence.Agrees
	switch {
	case uuid == evidence.Contradicts || serial == evidence.Contradicts:
		return false // outvoted by nothing
	case agree && (own || address == "shared"):
		return true
	case agree:
		// By another card: the operator's word, a disk or a card that was seen.
		return vouched || disk || address == "only claimed"
	}
	return own // and nothing strong on either side
}

func evidenceOf(uuid, serial [2]string, address string, disk, vouched, armed bool) (fleet.Record, fleet.Shown) {
	const own = "52:54:00:00:00:77"
	shown := fleet.Shown{MACs: []string{mac}, UUID: uuidOf(uuid[0]), Serial: serialOf(serial[0])}
	m := fleet.Record{ID: own, MAC: own, Inventory: &api.Inventory{MAC: own}}
	if vouched {
		m.Spec.UUID, m.Spec.Serial = uuidOf(uuid[1]), serialOf(serial[1])
	} else {
		m.Inventory.UUID, m.Inventory.Serial = uuidOf(uuid[1]), serialOf(serial[1])
	}
	switch address {
	case "registered":
		m.Spec.MACs = []string{mac}
	case "first seen":
		m.ID = mac
	case "last used":
		m.MAC = mac
	case "only claimed":
		m.Inventory.NICs = []api.NIC{{MAC: mac}}
	case "shared":
		m.ID, m.MAC, m.SharedMACs = "some", mac, []string{mac}
	}
	if disk {
		m.Inventory.Disks = []api.Disk{{Name: "sda", Serial: "D1", Size: 1}}
		shown.Disks = []string{"D1"}
	}
	if armed {
		m.Armed = &fleet.Armed{Plan: plan("p1")}
	}
	return m, shown
}

// What is known of several machines tells none of them from another.
func TestCopiedUUID(t *testing.T) {
	node := func(i int) fleet.Record {
		id := fmt.Sprintf("52:54:00:00:02:%02x", i)
		return fleet.Record{ID: id, MAC: id, Inventory: &api.Inventory{MAC: id, UUID: uuid1, Serial: "X7"}}
	}
	registered := fleet.Record{ID: uuid1, Spec: api.Spec{UUID: uuid1}, Armed: &fleet.Armed{Plan: plan("p1")}}
	all := []fleet.Record{node(1), node(2), registered}
	for i := range 3 {
		want := fmt.Sprintf("52:54:00:00:02:%02x", i+1)
		if f, err := fleet.Match(all, fleet.Shown{MACs: []string{want}, UUID: uuid1, Serial: "X7"}); err != nil || f.ID != want || f.From != "" {
			t.Errorf("Match of node %d = %+v, %v; want its own record", i+1, f, err)
		}
	}
}

// A machine that comes by another's card is neither: it gets the plan of none,
// and what it shows does not become the other's.
func TestBorrowedDock(t *testing.T) {
	laptop := fleet.Record{ID: other, MAC: other, Spec: api.Spec{MACs: []string{other}}, Inventory: &api.Inventory{MAC: other, UUID: uuid1}}
	docked := fleet.Record{ID: mac, MAC: mac, Spec: api.Spec{MACs: []string{mac}}}
	for _, armed := range []*fleet.Record{&laptop, &docked} {
		armed.Armed = &fleet.Armed{Plan: plan("p1")}
		f, err := fleet.Match([]fleet.Record{laptop, docked}, fleet.Shown{MACs: []string{mac}, UUID: uuid1})
		if err != nil || f.ID != mac || f.Doubt == "" || !f.Holds {
			t.Fatalf("Match with %s armed = %+v, %v; want %s in doubt", armed.ID, f, err, mac)
		}
		m, h := docked, hello("s1")
		h.Inventory.UUID = uuid1
		if d, _ := fleet.DoubtedBoot(&m, h.Inventory, f, at(1)); d.Image != nil || m.NotBooted == "" {
			t.Errorf("DoubtedBoot with %s armed = %+v, told %q; want the local disk, and why", armed.ID, d, m.NotBooted)
		}
		if a, _ := fleet.Doubted(&m, h, f, at(2)); a.Action != api.ActionWait || a.Message == "" || m.Session != "" {
			t.Errorf("Doubted with %s armed = %+v; want it to wait with the reason", armed.ID, a)
		}
		if m.Inventory != nil {
			t.Errorf("the record of the dock's owner has learnt %+v", m.Inventory)
		}
		armed.Armed = nil
	}
}
