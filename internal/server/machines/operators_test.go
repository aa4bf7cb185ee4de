package machines

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/settings"
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
		{"only a default", mac, api.Inventory{MAC: mac}, api.Spec{Flash: settings.Settings{Image: "debian"}}, []string{mac}},
		{"own words first", mac, api.Inventory{MAC: mac, UUID: uuid}, api.Spec{Name: "web-1", UUID: uuid}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newMachines(t)
			if _, err := s.Agents().Boot(t.Context(), tt.who, ""); err != nil {
				t.Fatal(err)
			}
			m, err := s.Operators().Edit(t.Context(), "", tt.by, "", tt.spec)
			if err != nil || m.State != api.MachineRegistered && m.State != api.MachineLocalDisk || !slices.Equal(m.Spec.MACs, tt.want) {
				t.Fatalf("Edit(%s) = %+v, %v; want it registered by %v", tt.by, m, err, tt.want)
			}
			// Again, under what it is called now, and by a file.
			spec := m.Spec
			spec.Name = "web-2"
			if m, err = s.Operators().Edit(t.Context(), "", cmp.Or(m.Spec.Name, m.ID), m.SpecRevision, spec); err != nil || m.Spec.Name != "web-2" {
				t.Fatalf("Edit, to rename it = %+v, %v", m, err)
			}
			if _, err := s.Operators().Apply(t.Context(), "", api.Fleet{Machines: []api.Spec{{Name: "web-3", MACs: []string{mac}}}},
				false); err != nil {
				t.Errorf("Apply of a file that names it: %v", err)
			}
			if all, err := s.Operators().Machines(t.Context(), ""); err != nil || len(all) != 1 {
				t.Errorf("Machines = %d, %v; want the one", len(all), err)
			}
			spec.MACs, spec.UUID = nil, ""
			if _, err := s.Operators().Edit(t.Context(), "", mac, "", spec); err == nil {
				t.Error("a registered machine lost what it is recognised by")
			}
		})
	}
}

// However many records show one label, each is found by the ID that it is
// listed under: an operator must be able to remove what a host has made up.
// A name goes first.
func TestEachRecordIsFoundByItsID(t *testing.T) {
	const uuid, other = "4c4c4544-0051-3510-8052-b4c04f4a4c32", "52:54:00:00:00:02"
	s := newMachines(t)
	for _, m := range []fleet.Record{
		{ID: mac, MAC: mac, Inventory: &api.Inventory{MAC: mac, UUID: uuid, Serial: "X7"}},
		{ID: uuid, MAC: mac, Inventory: &api.Inventory{MAC: mac, UUID: uuid, Serial: "X7"}},
		{ID: "serial-x7", MAC: mac, Inventory: &api.Inventory{MAC: mac, UUID: uuid, Serial: "X7"}},
		{ID: "serial-x8", MAC: mac, Inventory: &api.Inventory{MAC: mac, Serial: "X8"}},
		{ID: other, MAC: other, Spec: api.Spec{Name: "serial-x8", MACs: []string{other}}},
	} {
		_, err := s.Store.Update(t.Context(), m.ID, func(kept *fleet.Record) ([]api.Event, error) {
			*kept = m
			return nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for spelling, want := range map[string]string{
		mac: mac, uuid: uuid, strings.ToUpper(uuid): uuid, "serial-x7": "serial-x7", "serial-x8": other, "X8": "serial-x8",
	} {
		if f, err := s.Operators().named(t.Context(), spelling); err != nil || f.ID != want {
			t.Errorf("named(%s) = %s, %v; want %s", spelling, f.ID, err, want)
		}
	}
	if _, err := s.Operators().named(t.Context(), "X7"); err == nil {
		t.Error("a serial that three records show names one of them")
	}
}

// The operator is rid of a machine in mid-flash, and its agent is told at its
// next word; what was armed instead is what it gets then.
func TestForce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		force func(s *Core) error
		known bool // it still is
	}{
		{"cancel", func(s *Core) error { _, err := s.Operators().Cancel(t.Context(), "", mac, true); return err }, true},
		{"rm", func(s *Core) error { return s.Operators().Delete(t.Context(), "", mac, true) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newMachines(t)
			if _, err := s.Operators().Flash(t.Context(), "", mac, machinestest.Flash("debian")); err != nil {
				t.Fatal(err)
			}
			a, err := s.Agents().Hello(t.Context(), machinestest.Hello("s1", mac), "")
			if err != nil || a.Plan == nil {
				t.Fatalf("Hello = %+v, %v; want the plan", a, err)
			}
			say := func(seq uint64) error {
				return s.Agents().Report(t.Context(), api.Report{Session: "s1", MAC: mac, Plan: a.Plan.ID, Events: []api.Event{
					{Seq: seq, Time: time.Now(), Step: fleet.StepFlash, State: api.StateStart},
				}}, "")
			}
			if err := say(1); err != nil {
				t.Fatal(err)
			}
			busy := func(err error) {
				t.Helper()
				if _, ok := errors.AsType[*fleet.BusyError](err); !ok {
					t.Errorf("without force = %v; want that its disk is being written", err)
				}
			}
			_, err = s.Operators().Cancel(t.Context(), "", mac, false)
			busy(err)
			busy(s.Operators().Delete(t.Context(), "", mac, false))
			_, err = s.Operators().Flash(t.Context(), "", mac, api.FlashRequest{Settings: settings.Settings{Image: "debian"}})
			busy(err)
			if err := tt.force(s); err != nil {
				t.Fatal(err)
			}
			if _, ok := errors.AsType[*fleet.SessionError](say(2)); !ok {
				t.Errorf("the agent's next word = %v; want that its plan is lost", say(2))
			}
			if _, err := s.Store.Get(t.Context(), mac); (err == nil) != tt.known {
				t.Errorf("Get = %v; want the machine known: %v", err, tt.known)
			}
			if _, err := s.Operators().Flash(t.Context(), "", mac, machinestest.Flash("debian")); err != nil {
				t.Errorf("Flash after it = %v", err)
			}
		})
	}
}

// An arm that nobody uses lapses after a day, unless it or the server says
// otherwise; the preview tells.
func TestArmsLapse(t *testing.T) {
	const hour = 60 * 60
	for _, tt := range []struct{ server, asked, want int }{
		{0, 0, 24 * hour},
		{0, 2 * hour, 2 * hour},
		{0, api.NeverExpires, api.NeverExpires},
		{8 * hour, 0, 8 * hour},
		{8 * hour, 24 * hour, 24 * hour},
		{api.NeverExpires, 0, api.NeverExpires},
		{api.NeverExpires, hour, hour},
	} {
		s := newMachines(t)
		now := time.Now()
		s.Now, s.Expires = func() time.Time { return now }, tt.server
		f := api.FlashRequest{Settings: settings.Settings{Image: "debian"}, Unseen: true, Expires: tt.asked}
		v, err := s.Operators().Preview(t.Context(), mac, f)
		if err != nil || v.Request.Expires != tt.want {
			t.Errorf("Preview of %+v says %d s, %v; want %d", tt, v.Request.Expires, err, tt.want)
		}
		m, err := s.Operators().Flash(t.Context(), "", mac, f)
		if err != nil {
			t.Fatal(err)
		}
		if tt.want == api.NeverExpires {
			if !m.Armed.Expires.IsZero() {
				t.Errorf("%+v lapses at %v; want never", tt, m.Armed.Expires)
			}
			continue
		}
		if got := int(m.Armed.Expires.Sub(now) / time.Second); got != tt.want {
			t.Errorf("%+v lapses after %d s; want %d", tt, got, tt.want)
		}
		now = m.Armed.Expires
		if d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: mac}, ""); err != nil || d.Image != nil {
			t.Errorf("Boot when %+v is over = %+v, %v; want the local disk", tt, d, err)
		}
	}
}

// What one host tells, in one request or in thousands, takes no operator's
// event and no receipt from anybody, neither from the machine's past nor from
// the log, and what time it says it was counts for nothing.
func TestChatterCrowdsOutNothing(t *testing.T) {
	s := newMachines(t)
	now := time.Now()
	s.Now = func() time.Time { return now }
	if _, err := s.Operators().Register(t.Context(), "", api.Spec{Name: "web-1", MACs: []string{mac}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Operators().Flash(t.Context(), "", "web-1", api.FlashRequest{Settings: settings.Settings{Image: "debian"}}); err != nil {
		t.Fatal(err)
	}
	a, err := s.Agents().Hello(t.Context(), machinestest.Hello("s1", mac), "")
	if err != nil || a.Plan == nil {
		t.Fatalf("Hello = %+v, %v; want the plan", a, err)
	}
	seq := uint64(0)
	say := func(plan string, events ...api.Event) {
		t.Helper()
		for i := range events {
			seq++
			events[i].Seq, events[i].State = seq, api.StateDone
			if events[i].Time.IsZero() {
				events[i].Time = now
			}
		}
		r := api.Report{Session: "s1", MAC: mac, Plan: plan, Events: events}
		if err := wire.CheckReport(&r, now); err != nil {
			t.Fatal(err)
		}
		if err := s.Agents().Report(t.Context(), r, ""); err != nil {
			t.Fatal(err)
		}
	}
	say(a.Plan.ID, api.Event{Step: "seal", Receipt: &api.Receipt{Plan: a.Plan.ID, Image: a.Plan.Image.Digest}})
	past := time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC)
	for range 60 {
		chatter := make([]api.Event, 50)
		for i := range chatter {
			chatter[i] = api.Event{Step: "x", Time: past, Message: "flashed by someone", Actor: api.ActorOperator}
		}
		say("", chatter...)
		now = now.Add(20 * time.Second) // so that much of it is kept
	}
	told, did, got := 0, 0, 0
	count := func(e *api.Event) {
		switch {
		case e.Receipt != nil:
			got++
		case e.ByOperator():
			did++
		case e.Step == "x":
			told++
			if e.Time.Equal(past) || !e.Sent.Equal(past) {
				t.Fatalf("an event of an agent = %+v; want the server's time, and its own beside it", e)
			}
		}
	}
	events, err := s.Operators().Events(t.Context(), "web-1")
	for i := range events {
		count(&events[i])
	}
	if err != nil || told < 500 || did != 2 || got != 1 {
		t.Errorf("%d events told, %d of operators, %d receipts, %v; want both of those and the receipt", told, did, got, err)
	}
	told, did, got = 0, 0, 0
	log, err := s.Operators().Log(t.Context(), 0, false)
	for i := range log {
		count(&log[i].Event)
	}
	if err != nil || told == 0 || did != 2 || got != 1 {
		t.Errorf("in the log %d told, %d of operators, %d receipts, %v; want both of those and the receipt", told, did, got, err)
	}
	flashes, err := s.Operators().Flashes(t.Context(), "web-1")
	if err != nil || len(flashes) != 1 || flashes[0].Receipt == nil {
		t.Errorf("Flashes = %+v, %v; want the one with its receipt", flashes, err)
	}
	// Nor does an end of the machine hide who ended it.
	if err := s.Operators().Delete(t.Context(), "operator:ci", "web-1", false); err != nil {
		t.Fatal(err)
	}
	log, err = s.Operators().Log(t.Context(), 1, true)
	if err != nil || len(log) != 1 || log[0].Name != "web-1" || log[0].Event.Message != "forgotten" || log[0].Event.Actor != "operator:ci" {
		t.Errorf("Log for audit = %+v, %v; want who forgot it", log, err)
	}
}
