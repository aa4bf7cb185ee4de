package machines

import (
	"net"
	"net/netip"
	"testing"

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
