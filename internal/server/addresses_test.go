package server

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
)

func clientOf(t *testing.T, mac string) string {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	return dhcpd.ClientKey(hw)
}

// Whose an address is follows the records, also when they change.
func TestAddressesOfRecords(t *testing.T) {
	const one, two, nic = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"
	machine := func(id, in, address string, macs ...string) state.Part {
		m := &fleet.Record{ID: id, MAC: macs[0], State: in, Spec: api.Spec{MACs: macs[:1], Values: map[string]string{"address": address}}}
		m.Inventory = &api.Inventory{}
		for _, mac := range macs {
			m.Inventory.NICs = append(m.Inventory.NICs, api.NIC{MAC: mac})
		}
		return state.Part{Kind: api.ChangeMachine, ID: id, Record: m}
	}
	d := registry{&addresses{}, netip.MustParsePrefix("10.0.0.0/24")}
	d.take(state.Part{Kind: api.ChangeReset})
	d.take(machine("a", api.MachineRegistered, "10.0.0.50/24", one, nic))
	d.take(machine("b", api.MachineRegistered, "10.0.0.50", two)) // a copy and paste
	a50 := netip.MustParseAddr("10.0.0.50")
	if got := d.Fixed(clientOf(t, one)); got != a50 {
		t.Errorf("Fixed = %v; want %v", got, a50)
	}
	for _, mac := range []string{nic, two} {
		if got := d.Fixed(clientOf(t, mac)); got.IsValid() {
			t.Errorf("Fixed(%s) = %v; want none: it is another card's", mac, got)
		}
		if !d.Registered(clientOf(t, mac)) {
			t.Errorf("%s is not registered", mac)
		}
	}
	if got := d.Owner(a50); got != clientOf(t, one) {
		t.Errorf("Owner = %q; want the first machine's", got)
	}
	inside := dhcpd.Range{First: netip.MustParseAddr("10.0.0.40"), Last: netip.MustParseAddr("10.0.0.60")}
	outside := dhcpd.Range{First: netip.MustParseAddr("10.0.0.100"), Last: netip.MustParseAddr("10.0.0.200")}
	if in, out := d.Count(inside), d.Count(outside); in != 2 || out != 1 {
		t.Errorf("Count = %d, %d; want 2 where the fixed address is, 1 elsewhere", in, out)
	}
	d.take(machine("a", api.MachineRegistered, "10.9.9.9", one))
	if got := d.Fixed(clientOf(t, one)); got.IsValid() {
		t.Errorf("Fixed = %v; want none outside of the subnet", got)
	}
	d.take(machine("a", api.MachineDiscovered, "", one))
	if d.Registered(clientOf(t, one)) || d.Registered(clientOf(t, nic)) {
		t.Error("a machine that was only seen counts as registered")
	}
	d.take(state.Part{Kind: api.ChangeRemoved, ID: "b"})
	if d.Registered(clientOf(t, two)) || d.Count(inside) != 0 {
		t.Error("a machine that is gone counts as registered")
	}
}

// What a server has leased, its successor knows, and another one learns.
func TestLeasesAreInTheState(t *testing.T) {
	db, err := state.Start(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	first, last := netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.0.11")
	server := func() *leases {
		l := &leases{store: NewStore(db.Client(), ""), log: slog.New(slog.DiscardHandler)}
		l.pool(first, last, registry{}).Registry = nil // everybody is as good as registered
		if err := l.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return l
	}
	now := time.Now()
	one, other := server(), server()
	go other.follow(t.Context())
	if _, err := one.pools[0].Take("holder", first, now, time.Hour); err != nil {
		t.Fatal(err)
	}
	successor := server()
	for name, l := range map[string]*leases{"its successor": successor, "the other server": other} {
		if _, err := l.pools[0].Take("newcomer", first, now, time.Hour); err == nil {
			t.Errorf("%s leases what the holder has", name)
		}
		if a, err := l.pools[0].Offer("newcomer", first, now); err != nil || a == first {
			t.Errorf("%s offers a newcomer %v, %v; want the other address", name, a, err)
		}
		if _, err := l.pools[0].Take("holder", first, now, time.Hour); err != nil {
			t.Errorf("%s refuses the holder: %v", name, err)
		}
	}
	one.pools[0].Release("holder", first)
	if _, err := server().pools[0].Take("newcomer", first, now, time.Hour); err != nil {
		t.Errorf("what was released is not free: %v", err)
	}
}
