package machines

import (
	"net/netip"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/settings"
)

// With our own DHCP a card is spoken for from the address that it was leased:
// script, hello and identity from elsewhere come to nothing.
func TestOnlyItsOwnAddressSpeaksForACard(t *testing.T) {
	s := newMachines(t)
	now := time.Now()
	s.Now = func() time.Time { return now }
	armed, err := s.Operators().Flash(t.Context(), "", mac, machinestest.Flash("debian"))
	if err != nil {
		t.Fatal(err)
	}
	const its, liar = "192.0.2.7", "192.0.2.66"
	s.Cards.Leased("mac:\x52\x54\x00\x00\x00\x01", netip.MustParseAddr(its), now.Add(time.Hour))
	if d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: mac}, liar); err != nil || d.Image != nil {
		t.Errorf("Boot from %s = %+v, %v; want the local disk", liar, d, err)
	}
	if a, err := s.Agents().Hello(t.Context(), machinestest.Hello("liar", mac), liar); err != nil || a.Plan != nil {
		t.Errorf("Hello from %s = %+v, %v; want no plan", liar, a, err)
	}
	if d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: mac}, its); err != nil || d.Image == nil {
		t.Errorf("Boot from %s = %+v, %v; want the agent", its, d, err)
	}
	if a, err := s.Agents().Hello(t.Context(), machinestest.Hello("own", mac), "::ffff:"+its); err != nil || a.Plan == nil {
		t.Errorf("Hello from %s = %+v, %v; want the plan", its, a, err)
	}
	ask := api.IdentityRequest{Session: "own", MAC: mac, Plan: armed.Armed.Plan.ID}
	if _, _, err := s.Agents().Identity(t.Context(), ask, liar); err == nil {
		t.Errorf("Identity from %s = nil; want a refusal", liar)
	}
	if _, _, err := s.Agents().Identity(t.Context(), ask, its); err != nil {
		t.Errorf("Identity from %s = %v; want none and no error", its, err)
	}
	// A lease that has ended, and an address that went to another card, bind
	// nothing.
	now = now.Add(2 * time.Hour)
	if err := s.Cards.Fits(mac, liar, now); err != nil {
		t.Errorf("after the lease: %v; want nothing bound", err)
	}
	s.Cards.Leased("mac:\x52\x54\x00\x00\x00\x01", netip.MustParseAddr(its), now.Add(time.Hour))
	s.Cards.Leased("mac:\x52\x54\x00\x00\x00\x02", netip.MustParseAddr(its), now.Add(time.Hour))
	if err := s.Cards.Fits(mac, liar, now); err != nil {
		t.Errorf("after its address went to another: %v; want nothing bound", err)
	}
}

// The script's decision goes with the agent: by whichever card it speaks, it is
// the machine of the script, once, and no other machine can be.
func TestBootTicket(t *testing.T) {
	const dock, uuid, uuidB = "52:54:00:00:00:0d", "4c4c4544-0051-3510-8052-b4c04f4a4c32", "0a1f6c52-7d07-4c0e-9d9a-000000000002"
	s := newMachines(t)
	if _, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: mac, UUID: uuid}, ""); err != nil {
		t.Fatal(err)
	}
	armed, err := s.Operators().Flash(t.Context(), "", mac, api.FlashRequest{Settings: settings.Settings{Image: "debian"}})
	if err != nil {
		t.Fatal(err)
	}
	ticket := func() string {
		t.Helper()
		d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: mac, UUID: uuid}, "")
		if err != nil || len(d.Ticket) != 26 || !wire.IsToken(d.Ticket) {
			t.Fatalf("Boot = %+v, %v; want a ticket", d, err)
		}
		return d.Ticket
	}
	say := func(session, mac, uuid, ticket string) api.Answer {
		t.Helper()
		h := api.Hello{Version: api.Version, Session: session, Ticket: ticket, Inventory: api.Inventory{MAC: mac, UUID: uuid}}
		a, err := s.Agents().Hello(t.Context(), h, "")
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	waits := func(what string, a api.Answer) {
		t.Helper()
		if a.Action != api.ActionWait || a.Message == "" {
			t.Errorf("%s: %+v; want it to wait with the reason", what, a)
		}
	}
	first := ticket()
	waits("made up", say("s0", mac, uuid, "aaaaaaaaaaaaaaaaaaaaaaaaaa"))
	waits("another machine", say("s1", dock, uuidB, first))
	for _, id := range []string{mac, dock} {
		if m, err := s.Operators().Machine(t.Context(), id); err != nil || m.NotBooted == "" {
			t.Errorf("%s does not say why it was not booted: %+v, %v", id, m.NotBooted, err)
		}
	}
	for range 2 { // its answer was lost
		if a := say("s2", "52:54:00:00:00:0e", uuid, first); a.Plan == nil || a.Plan.ID != armed.Armed.Plan.ID {
			t.Errorf("Hello by another card with the ticket = %+v; want the plan", a)
		}
	}
	waits("used", say("s3", "52:54:00:00:00:0e", uuid, first))
	m, err := s.Store.Get(t.Context(), mac)
	if err != nil || len(m.Tickets) == 0 || m.Tickets[0].Hash == first {
		t.Errorf("stored: %+v, %v; want the ticket as a hash", m.Tickets, err)
	}
}
