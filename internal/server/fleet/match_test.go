package fleet_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
	"github.com/gild-dev/gild/internal/settings"
)

const (
	other = "52:54:00:00:00:02"
	uuid1 = "00112233-4455-6677-8899-aabbccddeeff"
	uuid2 = "4c4c4544-0051-3510-8052-b4c04f4a4c32"
)

func TestMatch(t *testing.T) {
	// seen was met on the wire under its MAC; with NICs an agent told of it.
	seen := func(id, uuid string, nics ...string) fleet.Record {
		m := fleet.Record{ID: id, MAC: id, Inventory: &api.Inventory{MAC: id, UUID: uuid}}
		for _, n := range nics {
			m.Inventory.NICs = append(m.Inventory.NICs, api.NIC{MAC: n})
		}
		return m
	}
	armed := func(m fleet.Record) fleet.Record { m.Armed = &fleet.Armed{}; return m }
	named := func(m fleet.Record) fleet.Record { m.Spec.Name = "n"; return m }
	byUUID := func(uuid string) fleet.Record { return fleet.Record{ID: uuid, Spec: api.Spec{UUID: uuid}} }
	bySerial := fleet.Record{ID: "serial-x7", Spec: api.Spec{Serial: "X7"}}
	list := func(m ...fleet.Record) []fleet.Record { return m }
	for _, tt := range []struct {
		name       string
		candidates []fleet.Record
		uuid       string
		serial     string
		want, from string
		fails      bool
		fresh      bool // the record is not there yet
	}{
		{name: "new", want: mac},
		{name: "itself", candidates: list(seen(mac, "")), want: mac},
		{name: "by another NIC", candidates: list(seen(other, uuid1, mac, other)), uuid: uuid1, want: other},
		{name: "armed by a card that it only claims", candidates: list(seen(mac, ""), armed(seen(other, "", mac))), want: mac},
		{name: "both armed, one only claims the card", candidates: list(armed(seen(mac, "")), armed(seen(other, "", mac))), want: mac},
		{name: "armed by another NIC", candidates: list(armed(seen(other, uuid1, mac, other))), uuid: uuid1, want: other},
		{name: "adapter moved here", candidates: list(armed(seen(other, uuid1, mac, other))), uuid: uuid2, want: mac},
		{
			name: "UUID in the other byte order", candidates: list(armed(seen(other, uuid1, mac, other))),
			uuid: "33221100-5544-7766-8899-AABBCCDDEEFF", want: other,
		},
		{name: "another board with its address", candidates: list(armed(seen(mac, uuid1, mac))), uuid: uuid2, want: uuid2, fresh: true},
		{name: "registered by UUID", candidates: list(byUUID(uuid1)), uuid: "33221100-5544-7766-8899-AABBCCDDEEFF", want: uuid1},
		{name: "registered by serial", candidates: list(bySerial), serial: "x7", want: "serial-x7"},
		{name: "registered by UUID, seen before", candidates: list(seen(mac, uuid1), byUUID(uuid1)), uuid: uuid1, want: uuid1, from: mac},
		{name: "registered by UUID, seen without one", candidates: list(seen(mac, ""), byUUID(uuid1)), uuid: uuid1, want: uuid1},
		{name: "registered by UUID, the adapter is another's", candidates: list(named(seen(mac, "")), byUUID(uuid1)), uuid: uuid1, want: uuid1},
		{name: "registered by UUID, the adapter is armed", candidates: list(armed(seen(mac, "")), byUUID(uuid1)), uuid: uuid1, want: uuid1},
		{name: "armed by UUID, the adapter is armed", candidates: list(armed(seen(mac, "")), armed(byUUID(uuid1))), uuid: uuid1, want: uuid1},
		{name: "both registered by what it shows", candidates: list(armed(fleet.Record{ID: "a", Spec: api.Spec{UUID: uuid1}}),
			armed(fleet.Record{ID: "b", Spec: api.Spec{Serial: "X7"}})), uuid: uuid1, serial: "X7", fails: true},
		{name: "copied UUID", candidates: list(named(seen(other, uuid1))), uuid: uuid1, want: mac},
		{
			name: "serial fits, UUID does not", candidates: list(fleet.Record{ID: "x", Spec: api.Spec{Serial: "X7", UUID: uuid2}}), uuid: uuid1,
			serial: "X7", want: mac,
		},
		{
			name:       "two registrations fit",
			candidates: list(byUUID(uuid1), bySerial), uuid: uuid1, serial: "X7", want: uuid1,
		},
	} {
		f, err := fleet.Match(tt.candidates, fleet.Shown{MACs: []string{mac}, UUID: tt.uuid, Serial: tt.serial})
		if (err != nil) != tt.fails || err == nil && (f.ID != tt.want || f.From != tt.from ||
			f.Known != (!tt.fresh && (tt.want != mac || len(tt.candidates) > 0 && tt.candidates[0].ID == mac))) {
			t.Errorf("%s: Match = %+v, %v; want %q joined with %q, failure: %v", tt.name, f, err, tt.want, tt.from, tt.fails)
		}
	}
}

func TestJoin(t *testing.T) {
	into := fleet.Record{ID: uuid1, State: api.MachineArmed, Spec: api.Spec{UUID: uuid1, Name: "b7"}, Armed: &fleet.Armed{Plan: plan("p1")}}
	from := fleet.Record{ID: mac}
	fleet.Seen(&from, fleet.Sighting{MAC: mac, UUID: uuid1, Source: fleet.FromFirmware, Firmware: "BIOS", Message: "x"}, at(5))
	events, err := fleet.Join(&into, &from, at(6))
	if err != nil || len(events) != 1 || into.MAC != mac || into.FirstSeen != at(5) || into.Firmware != "BIOS" ||
		into.State != api.MachineArmed || from.Joined != uuid1 {
		t.Errorf("Join = %+v, %v; machine %+v", events, err, into)
	}
	from.Armed = &fleet.Armed{}
	if _, err := fleet.Join(&into, &from, at(7)); err == nil {
		t.Error("Join of an armed machine = nil; want a refusal")
	}
}

func TestAdopt(t *testing.T) {
	seen := func(id string) fleet.Record {
		return fleet.Record{ID: id, MAC: id, State: api.MachineDiscovered, Inventory: &api.Inventory{UUID: uuid1, Serial: "X7"}}
	}
	taken := seen(other)
	taken.Spec.Name = "b7"
	for _, tt := range []struct {
		name  string
		found []fleet.Record
		spec  api.Spec
		want  string
		fails bool
	}{
		{"new", nil, api.Spec{MACs: []string{mac}}, mac, false},
		{"new by UUID", nil, api.Spec{UUID: uuid1}, uuid1, false},
		{"new by serial", nil, api.Spec{Serial: "A/7"}, "serial-a%2F7", false},
		{"seen", []fleet.Record{seen(mac)}, api.Spec{MACs: []string{other, mac}}, mac, false},
		{"seen, by serial", []fleet.Record{seen(mac)}, api.Spec{Serial: "x7"}, mac, false},
		{"serial of two", []fleet.Record{seen(mac), seen(other)}, api.Spec{Serial: "x7"}, "serial-x7", false},
		{"serial fits, UUID does not", []fleet.Record{seen(mac)}, api.Spec{Serial: "x7", UUID: uuid2}, uuid2, false},
		{"name taken", []fleet.Record{taken}, api.Spec{Name: "B7", MACs: []string{mac}}, "", true},
	} {
		got, err := specs.Adopt(tt.found, tt.spec)
		if got != tt.want || (err != nil) != tt.fails {
			t.Errorf("%s: Adopt = %q, %v; want %q, failure: %v", tt.name, got, err, tt.want, tt.fails)
		}
	}
}

func TestCheckSpec(t *testing.T) {
	ok := api.Spec{Name: "web-1.b7", MACs: []string{"5254.0000.0001", mac}, UUID: " " + uuid1, Labels: map[string]string{"site/rack": "b7"}}
	if err := specs.Check(&ok); err != nil || len(ok.MACs) != 1 || ok.UUID != uuid1 {
		t.Errorf("CheckSpec = %+v, %v; want it in one form", ok, err)
	}
	for name, s := range map[string]api.Spec{
		"no label":         {Name: "a"},
		"MAC":              {MACs: []string{"1"}},
		"UUID":             {UUID: "1"},
		"common UUID":      {UUID: "03000200-0400-0500-0006-000700080009"},
		"worthless serial": {Serial: "None"},
		"name":             {Name: "a b", MACs: []string{mac}},
		"name like a MAC":  {Name: "52-54-00-00-00-01", MACs: []string{mac}},
		"name with hyphen": {Name: "-a", MACs: []string{mac}},
		"label":            {MACs: []string{mac}, Labels: map[string]string{"a b": ""}},
		"value":            {MACs: []string{mac}, Values: map[string]string{"a": "x\ny"}},
		"disk rule":        {MACs: []string{mac}, Flash: settings.Settings{Agent: settings.Agent{Disk: "colour=red"}}},
		"read-back":        {MACs: []string{mac}, Flash: settings.Settings{Agent: settings.Agent{ReadBack: "never"}}},
		"probe":            {MACs: []string{mac}, Flash: settings.Settings{Confirm: &settings.Confirm{Probe: "tcp:0"}}},
		"within":           {MACs: []string{mac}, Flash: settings.Settings{Confirm: &settings.Confirm{Within: -1}}},
	} {
		if err := specs.Check(&s); err == nil {
			t.Errorf("CheckSpec of a bad %s = nil; want an error", name)
		}
	}
}

// Labels are keys of the store, which a log may name: none tells a secret.
func TestLabelsHoldNoBeacon(t *testing.T) {
	const token = "BIZFNRNXQP2AL4ZZFKPYXPB4CT"
	m := fleet.Record{ID: "52:54:00:00:00:01", Awaited: &fleet.Awaited{Beacon: token}}
	labels := fleet.Labels(&m)
	if !slices.Contains(labels, fleet.BeaconLabel(token)) {
		t.Errorf("Labels = %q; want the beacon's among them", labels)
	}
	if text := strings.ToUpper(strings.Join(labels, " ")); strings.Contains(text, token) {
		t.Errorf("Labels = %q; they hold the token", labels)
	}
}
