package dhcpd

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// An address that a host uses without a lease is given to nobody, and the host
// is named.
func TestUsedAddresses(t *testing.T) {
	r, _ := newResponder(Full)
	stranger := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	used := map[netip.Addr]net.HardwareAddr{at("10.77.0.150"): stranger, at("10.77.0.151"): {0x52, 0x54, 0, 0, 0, 1}}
	asked := 0
	r.Used = func(a netip.Addr, _ time.Time) (net.HardwareAddr, error) { asked++; return used[a], nil }
	want := func(a string) dhcpv4.Modifier {
		return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a).To4()))
	}
	reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, want("10.77.0.150")), 67)
	if reply == nil || ev.Addr == at("10.77.0.150") || len(ev.Conflicts) != 1 || ev.Conflicts[0].By.String() != stranger.String() {
		t.Fatalf("offer %v, conflicts %v; want another address than the stranger's, and the stranger", ev.Addr, ev.Conflicts)
	}
	// A system that was leased it by a server that has forgotten.
	if reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeRequest, want("10.77.0.150")), 67); reply == nil ||
		ev.Answer != dhcpv4.MessageTypeNak {
		t.Errorf("a request for a used address is answered %v; want NAK", ev.Answer)
	}
	if reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeRequest, want("10.77.0.151")), 67); reply == nil ||
		ev.Answer != dhcpv4.MessageTypeAck {
		t.Errorf("the host that uses the address itself is answered %v: %s", ev.Answer, ev.Why)
	}
	asked = 0
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest} {
		if _, ev := r.Reply(packet(t, kind, want("10.77.0.151")), 67); ev.Addr != at("10.77.0.151") || asked != 0 {
			t.Errorf("%v of a holder: %v, %d questions; want its address and none", kind, ev.Addr, asked)
		}
	}
}

// A range full of leases that nobody answers for is no reason to send a machine
// away.
func TestMadeUpClientsDoNotKeepMachinesOut(t *testing.T) {
	r, now := newResponder(Full)
	r.Leases.Registry = registry{}
	alive := map[netip.Addr]net.HardwareAddr{}
	r.Used = func(a netip.Addr, _ time.Time) (net.HardwareAddr, error) { return alive[a], nil }
	lease := func(i int) netip.Addr { a, _ := leaseOf(t, r, i); return a }
	for i := range 10 { // real ones, which answer
		alive[lease(i)] = net.HardwareAddr{2, 0, 0, 0, 0, byte(i)}
	}
	got := 0
	for i := range 1000 {
		if lease(1000 + i).IsValid() {
			got++
		}
	}
	if got != 40 {
		t.Errorf("made-up clients have %d of 100 addresses beside ten real ones; want all of newcomers to have half", got)
	}
	*now = now.Add(time.Minute)
	for i := range 10 {
		if a := lease(5000 + i); !a.IsValid() {
			t.Fatalf("machine %d got no address", i)
		} else if alive[a] != nil {
			t.Fatalf("machine %d got %v, which another one uses", i, a)
		}
	}
}

// leaseOf goes through DISCOVER and REQUEST as a client of a number; no
// address: why says what there was instead.
func leaseOf(t *testing.T, r *Responder, i int) (a netip.Addr, why string) {
	mac := net.HardwareAddr{2, 0, 0, 0, byte(i >> 8), byte(i)}
	reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithHwAddr(mac)), 67)
	if reply != nil {
		ask := dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(ip(ev.Addr)))
		reply, ev = r.Reply(packet(t, dhcpv4.MessageTypeRequest, dhcpv4.WithHwAddr(mac), ask), 67)
	}
	if reply != nil && ev.Answer == dhcpv4.MessageTypeAck {
		return ev.Addr, ""
	}
	return a, ev.Why
}

// A rack that is switched on for the first time is as fast as a flood, and is
// none: its machines answer where they are, and get more than half of the
// range, offers taken side by side included.
func TestRackOfNewcomers(t *testing.T) {
	r, now := newResponder(Full)
	r.Leases.Registry = registry{}
	alive := map[netip.Addr]net.HardwareAddr{}
	r.Used = func(a netip.Addr, _ time.Time) (net.HardwareAddr, error) { return alive[a], nil }
	waiting := map[int]bool{}
	for i := range 95 {
		waiting[i] = true
	}
	for round := range 5 {
		for i := range 95 { // the firmware of all of them asks side by side
			if waiting[i] {
				_, _ = r.Reply(packet(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithHwAddr(net.HardwareAddr{2, 0, 0, 0, 0, byte(i)})), 67)
			}
		}
		for i := range 95 {
			if !waiting[i] {
				continue
			}
			if a, why := leaseOf(t, r, i); a.IsValid() {
				delete(waiting, i)
				alive[a] = net.HardwareAddr{2, 0, 0, 0, 0, byte(i)}
			} else if !strings.Contains(why, "half of the range") {
				t.Fatalf("machine %d in round %d: %s; want it to wait until the others are seen", i, round, why)
			}
		}
		*now = now.Add(6 * time.Second) // what firmware waits before it asks again
	}
	if len(waiting) > 0 {
		t.Errorf("%d of 95 machines have no address", len(waiting))
	}
}
