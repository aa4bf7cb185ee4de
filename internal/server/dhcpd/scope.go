package dhcpd

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Scope is a further network, whose machines are heard by a relay, and what is
// leased there.
type Scope struct {
	Subnet      netip.Prefix
	Relays      []netip.Addr // that are answered; the first is the network's router
	First, Last netip.Addr   // range of addresses, inclusive
	Leases      *Pool
}

// Scopes are the networks of which a relay is named: 10.0.8.1/24 names
// 10.0.8.1, and 10.0.8.0/24 none. The range of each is for the caller to
// choose. Relays of one network make one scope.
func Scopes(networks []netip.Prefix) (all []*Scope) {
	for _, n := range networks {
		if n.Addr() == n.Masked().Addr() {
			continue
		}
		i := slices.IndexFunc(all, func(s *Scope) bool { return s.Subnet == n.Masked() })
		if i < 0 {
			i = len(all)
			all = append(all, &Scope{Subnet: n.Masked()})
		}
		all[i].Relays = append(all[i].Relays, n.Addr())
	}
	return all
}

// Barred says what keeps an address of the range from being leased, "" for
// nothing.
func (s *Scope) Barred(a netip.Addr) string {
	if slices.Contains(s.Relays, a) {
		return "its relay's"
	}
	return ""
}

// within is how a network's clients are answered: as those of the server's own,
// but where others are asked by ARP, which passes no router.
func (s *Scope) within(r *Responder) *Responder {
	of := *r
	of.Config.Subnet, of.Config.First, of.Config.Last, of.Config.Router = s.Subnet, s.First, s.Last, s.Relays[0]
	of.Leases, of.Used = s.Leases, nil
	return &of
}

// scope finds the network that a request comes from: the one of its relay, or
// of the address that a client renews at the server itself; nil for the
// server's own.
func (c Config) scope(req *dhcpv4.DHCPv4) *Scope {
	relay := address(req.GatewayIPAddr)
	client := address(req.ClientIPAddr)
	for _, s := range c.Scopes {
		if slices.Contains(s.Relays, relay) || !relayed(relay) && client.IsValid() && s.Subnet.Contains(client) {
			return s
		}
	}
	return nil
}

func relayed(relay netip.Addr) bool { return relay.IsValid() && !relay.IsUnspecified() }

// foreignRelay says why a request came by a relay that is not to be answered,
// "" when it did not: an answer goes to whatever address a request names as its
// relay.
func (c Config) foreignRelay(req *dhcpv4.DHCPv4) string {
	relay := address(req.GatewayIPAddr)
	known := func(p netip.Prefix) bool {
		return p.Addr() == relay || c.Mode == Proxy && p.Addr() == p.Masked().Addr() && p.Contains(relay)
	}
	switch {
	case !relayed(relay) || !c.Subnet.IsValid() || c.Subnet.Contains(relay) || slices.ContainsFunc(c.Networks, known):
		return ""
	}
	return fmt.Sprintf("relayed from %v, which is neither in subnet %v nor a relay of --networks, as in --networks %v/24", relay,
		c.Subnet.Masked(), relay)
}

// local reports whether an address is of a network that is served.
func (c Config) local(a netip.Addr) bool {
	return relayed(a) && (!c.Subnet.IsValid() || c.Subnet.Contains(a) ||
		slices.ContainsFunc(c.Networks, func(p netip.Prefix) bool { return p.Contains(a) }))
}

func (s *Scope) validate(c Config) []error {
	of := c
	of.Scopes, of.Subnet, of.First, of.Last, of.Router, of.ServerIP = nil, s.Subnet, s.First, s.Last, s.Relays[0], s.Relays[0]
	errs := of.validateRange()
	if c.Subnet.Overlaps(s.Subnet) {
		errs = append(errs, fmt.Errorf("network %v overlaps with the server's own subnet %v: a relay is for another one", s.Subnet,
			c.Subnet.Masked()))
	}
	for i, err := range errs {
		errs[i] = fmt.Errorf("--networks %v/%d: %w", s.Relays[0], s.Subnet.Bits(), err)
	}
	return errs
}
