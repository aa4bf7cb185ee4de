package machines

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/settings"
)

// spoil makes the record of a machine one that nobody can read.
func spoil(t *testing.T, s *Core, id string) {
	t.Helper()
	if _, err := s.Store.Client.Put(t.Context(), s.Store.Prefix+"machine/"+id, "no JSON"); err != nil {
		t.Fatal(err)
	}
}

// A machine whose record cannot be changed keeps time from none of the others.
func TestSweepGoesOnAfterAFailure(t *testing.T) {
	s := newMachines(t)
	now := time.Now()
	s.Now = func() time.Time { return now }
	s.room.start()
	macs := []string{"52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03", "52:54:00:00:00:04"}
	for _, mac := range macs {
		if _, err := s.Operators().Flash(t.Context(), "", mac, api.FlashRequest{
			Settings: settings.Settings{Image: "debian"}, Unseen: true,
			Expires: 60,
		}); err != nil {
			t.Fatal(err)
		}
		m, err := s.Store.Get(t.Context(), mac)
		if err != nil {
			t.Fatal(err)
		}
		s.room.take(state.Part{Kind: api.ChangeMachine, ID: m.ID, Record: &m})
	}
	spoil(t, s, macs[1])
	now = now.Add(time.Hour)
	err := s.Upkeep().sweepOnce(t.Context())
	if err == nil || !strings.Contains(err.Error(), macs[1]) {
		t.Errorf("sweepOnce = %v; want the machine that it could not read", err)
	}
	for _, mac := range []string{macs[0], macs[2], macs[3]} {
		if m, err := s.Store.Get(t.Context(), mac); err != nil || m.Armed != nil {
			t.Errorf("%s after its time: armed %v, %v; want it lapsed", mac, m.Armed != nil, err)
		}
	}
}

// A prune removes the records that it means, whatever else is called so, and
// none that was armed since it was decided.
func TestPruneMeansAnID(t *testing.T) {
	s := newMachines(t)
	apply := func(f api.Fleet) {
		t.Helper()
		if _, err := s.Operators().Apply(t.Context(), "", f, false); err != nil {
			t.Fatal(err)
		}
	}
	// The first is kept under serial-x7; another is then called that.
	apply(api.Fleet{Machines: []api.Spec{{Name: "a", Serial: "X7"}, {Name: "b", MACs: []string{"52:54:00:00:00:0b"}}}})
	m, err := s.Operators().Register(t.Context(), "", api.Spec{Name: "serial-x7", MACs: []string{"52:54:00:00:00:0c"}})
	if err != nil {
		t.Fatal(err)
	}
	apply(api.Fleet{Prune: true})
	list, err := s.Operators().Machines(t.Context(), "")
	if err != nil || len(list) != 1 || list[0].ID != m.ID {
		t.Errorf("Machines after a prune = %+v, %v; want only the one that no file has named", list, err)
	}

	// One that is gone already is no other machine by another of its labels.
	if err := s.Operators().prune(t.Context(), "", "52:54:00:00:00:0b"); err != nil {
		t.Errorf("prune of what is gone = %v; want nothing to do", err)
	}
	if _, err := s.Operators().Flash(t.Context(), "", m.ID, machinestest.Flash("debian")); err != nil {
		t.Fatal(err)
	}
	if err := s.Operators().prune(t.Context(), "", m.ID); err == nil {
		t.Error("prune of a machine that was armed since = nil; want an error")
	}
	if found, err := s.Store.Get(t.Context(), m.ID); err != nil || !fleet.Registered(&found) {
		t.Errorf("Get = %+v, %v; want the machine", found, err)
	}
}

// One record that cannot be read is shown, can be forgotten, and keeps nothing
// from the others; what it may need is not let go.
func TestDamagedRecord(t *testing.T) {
	s := newMachines(t)
	s.Pins = &pinList{}
	macs := []string{"52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"}
	for _, mac := range macs {
		if _, err := s.Operators().Flash(t.Context(), "", mac, machinestest.Flash("debian")); err != nil {
			t.Fatal(err)
		}
	}
	spoil(t, s, macs[1])
	list, err := s.Operators().Machines(t.Context(), "")
	if r, err := s.Store.Get(t.Context(), macs[1]); err != nil || fleet.Stranger(&r) {
		t.Error("a record that cannot be read may be forgotten to make room")
	}
	if err != nil || len(list) != 3 || list[1].ID != macs[1] || list[1].Trouble == nil || list[1].Trouble.Cause != api.CauseRecord ||
		!strings.Contains(list[1].Message, "cannot be read") {
		t.Errorf("Machines = %+v, %v; want all, and what is wrong with one", list, err)
	}
	withRoom(t, s)
	if err := s.Upkeep().KeepPins(t.Context()); err == nil {
		t.Error("KeepPins = nil; want that it lets nothing go")
	}
	if _, err := s.Upkeep().sweepIdentities(t.Context(), nil); err != nil {
		t.Errorf("sweepIdentities with nothing to sweep = %v", err)
	}
	if _, err := s.Operators().Edit(t.Context(), "", macs[1], "", api.Spec{Name: "x", MACs: macs[1:2]}); err == nil {
		t.Error("a record that cannot be read was changed")
	}
	if a, err := s.Agents().Hello(t.Context(), machinestest.Hello("s1", macs[2]), ""); err != nil || a.Plan == nil {
		t.Errorf("Hello of another machine = %+v, %v; want its plan", a, err)
	}
	if _, err := s.Operators().Cancel(t.Context(), "", macs[0], false); err != nil {
		t.Errorf("Cancel of another machine = %v", err)
	}
	if err := s.Operators().Delete(t.Context(), "", macs[1], false); err != nil {
		t.Fatal(err)
	}
	if err := s.Upkeep().KeepPins(t.Context()); err != nil {
		t.Errorf("KeepPins once it is gone = %v", err)
	}
	if _, err := s.Operators().Flash(t.Context(), "", macs[1], machinestest.Flash("debian")); err != nil {
		t.Errorf("Flash once it is gone = %v", err)
	}
}

// pinList takes every pin.
type pinList struct{}

func (pinList) Pin(context.Context, golden.Digest) error        { return nil }
func (pinList) KeepPins(context.Context, []golden.Digest) error { return nil }

// A server that was away for an hour paints nobody red when it is back, neither
// those that are being flashed nor those that wait for an arm.
func TestRestartMakesNoTrouble(t *testing.T) {
	s := newMachines(t)
	now := time.Now()
	s.Now, s.Discover = func() time.Time { return now }, "debian"
	flashed, waiting := "52:54:00:00:00:01", "52:54:00:00:00:02"
	if _, err := s.Operators().Flash(t.Context(), "", flashed, machinestest.Flash("debian")); err != nil {
		t.Fatal(err)
	}
	for _, mac := range []string{flashed, waiting} {
		f, err := s.Agents().locate(t.Context(), fleet.Shown{MACs: []string{mac}})
		if err != nil {
			t.Fatal(err)
		}
		h := api.Hello{Version: api.Version, Session: "s" + mac[15:], Inventory: api.Inventory{MAC: mac}}
		if _, err := s.update(t.Context(), f, func(m *fleet.Record) ([]api.Event, error) {
			_, events := fleet.Hello(m, h, "192.0.2.7", true, now)
			return events, nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(time.Hour)
	s.room.start()
	s.room.listen(now)
	for _, mac := range []string{flashed, waiting} {
		r, err := s.Store.Get(t.Context(), mac)
		if err != nil {
			t.Fatal(err)
		}
		s.room.take(state.Part{Kind: api.ChangeMachine, ID: mac, Record: &r})
	}
	troubled := func() (n int) {
		t.Helper()
		if err := s.Upkeep().sweepOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := s.Operators().Machines(t.Context(), "trouble")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	now = now.Add(10 * time.Second)
	if n := troubled(); n != 0 {
		t.Errorf("%d machines are in trouble just after the restart", n)
	}
	now = now.Add(time.Minute)
	if n := troubled(); n != 1 {
		t.Errorf("%d machines are in trouble a minute later; want the one whose agent should speak", n)
	}
}

// A selector that means a state that there is not is an error, not nobody.
func TestUnknownState(t *testing.T) {
	s := newMachines(t)
	if _, err := s.Operators().Machines(t.Context(), "state=nothing"); err == nil || !strings.Contains(err.Error(), "nothing") {
		t.Errorf("Machines(state=nothing) = %v; want an error", err)
	}
}
