package dhcpd

import (
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// relayedResponder leases by relays of two networks, one of which has two
// relays.
func relayedResponder(t *testing.T) *Responder {
	t.Helper()
	r, _ := newResponder(Full)
	for _, n := range []string{"10.88.0.1/24", "10.99.0.0/24", "10.88.0.2/24", "10.90.0.254/29"} {
		r.Config.Networks = append(r.Config.Networks, netip.MustParsePrefix(n))
	}
	r.Config.Scopes = Scopes(r.Config.Networks)
	for _, s := range r.Config.Scopes {
		s.First, s.Last = s.Subnet.Masked().Addr().Next(), s.Subnet.Masked().Addr().Next().Next().Next()
		s.Leases = NewPool(s.First, s.Last)
		s.Leases.Barred = s.Barred
	}
	if err := r.Config.Validate(); err != nil {
		t.Fatal(err)
	}
	return r
}

func asking(a string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(a).To4()))
}

// A machine behind a relay gets an address of its own network, which it can
// renew by the relay and without.
func TestScopes(t *testing.T) {
	r := relayedResponder(t)
	via := func(a string) dhcpv4.Modifier { return dhcpv4.WithGatewayIP(net.ParseIP(a).To4()) }
	from := netip.MustParseAddrPort("10.77.0.250:67")
	check := func(what string, reply *dhcpv4.DHCPv4, ev Event, addr, to string) {
		t.Helper()
		if reply == nil {
			t.Fatalf("%s: silence: %s", what, ev.Why)
		}
		if ev.Addr != at(addr) || reply.Router()[0].String() != "10.88.0.1" || reply.SubnetMask().String() != "ffffff00" ||
			reply.ServerIdentifier().String() != r.Config.ServerIP.String() {
			t.Errorf("%s: %v; want %s, its own router and mask, and this server", what, reply.Summary(), addr)
		}
		if got := r.Config.destination(reply, from, portDHCP); got != netip.MustParseAddrPort(to) {
			t.Errorf("%s: the answer goes to %v; want %s", what, got, to)
		}
	}
	// .1 and .2 of the range are the relays' own.
	reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, append(asUEFI[:2:2], via("10.88.0.2"))...), portDHCP)
	check("DISCOVER", reply, ev, "10.88.0.3", "10.88.0.2:67")
	if ev.File == "" {
		t.Errorf("no boot file: %s", ev.Why)
	}
	reply, ev = r.Reply(packet(t, dhcpv4.MessageTypeRequest, via("10.88.0.1"), asking("10.88.0.3")), portDHCP)
	check("REQUEST by the other relay", reply, ev, "10.88.0.3", "10.88.0.1:67")
	reply, ev = r.Reply(packet(t, dhcpv4.MessageTypeRequest, dhcpv4.WithClientIP(net.IP{10, 88, 0, 3})), portDHCP)
	check("RENEW", reply, ev, "10.88.0.3", "10.88.0.3:68")

	// The range of three has one address; the other network has others, and its own
	// network its own.
	other := dhcpv4.WithHwAddr(net.HardwareAddr{0x52, 0x54, 0, 0, 0, 2})
	if reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, via("10.88.0.1"), other), portDHCP); reply != nil {
		t.Errorf("a second machine got %v", ev.Addr)
	}
	if reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, via("10.90.0.254"), other), portDHCP); reply == nil ||
		!netip.MustParsePrefix("10.90.0.248/29").Contains(ev.Addr) {
		t.Errorf("by the relay of the third network: %v, %s", ev.Addr, ev.Why)
	}
	if reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, other), portDHCP); reply == nil || !r.Config.Subnet.Contains(ev.Addr) {
		t.Errorf("without a relay: %v, %s", ev.Addr, ev.Why)
	}
	// An address of another network is not one that the machine can have here.
	if _, ev := r.Reply(packet(t, dhcpv4.MessageTypeRequest, via("10.88.0.1"), other, asking("10.77.0.150")),
		portDHCP); ev.Answer != dhcpv4.MessageTypeNak {
		t.Errorf("moved between networks: %v, %s; want NAK", ev.Answer, ev.Why)
	}
	// Nobody else relays.
	for _, relay := range []string{"10.88.0.66", "10.99.0.1", "198.51.100.9", "10.90.0.253"} {
		if reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, via(relay), other), portDHCP); reply != nil ||
			!strings.Contains(ev.Why, "relayed from "+relay) {
			t.Errorf("relay %s: %v, %q; want silence", relay, reply, ev.Why)
		}
	}
}

// What a relay's network may be is told before anything is opened.
func TestScopesAreValidated(t *testing.T) {
	for network, want := range map[string]string{
		"10.77.0.9/24": "overlaps", "10.88.0.1/31": "from /8 to /30", "10.88.0.1/24": "",
	} {
		r, _ := newResponder(Full)
		r.Config.Scopes = Scopes([]netip.Prefix{netip.MustParsePrefix(network)})
		for _, s := range r.Config.Scopes {
			s.First, s.Last = s.Subnet.Addr().Next(), s.Subnet.Addr().Next().Next()
		}
		err := r.Config.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v; want %q", network, err, want)
		}
	}
	if all := Scopes([]netip.Prefix{netip.MustParsePrefix("10.88.0.0/24")}); len(all) != 0 {
		t.Errorf("a network without a relay is leased: %v", all)
	}
}
