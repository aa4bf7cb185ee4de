package dhcpd

import (
	"fmt"
	"net/netip"
	"strings"
)

// Range is addresses from First to Last, inclusive.
type Range struct{ First, Last netip.Addr }

// ParseRange reads 192.168.1.5, 192.168.1.100-192.168.1.200 or 192.168.1.64/28.
func ParseRange(s string) (r Range, err error) {
	if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
		return Range{p.Masked().Addr(), broadcast(p)}, nil
	}
	first, last, two := strings.Cut(s, "-")
	if r.First, err = netip.ParseAddr(strings.TrimSpace(first)); err == nil {
		r.Last = r.First
		if two {
			r.Last, err = netip.ParseAddr(strings.TrimSpace(last))
		}
	}
	if err != nil || !r.First.Is4() || !r.Last.Is4() {
		return Range{}, fmt.Errorf("%.60q is no IPv4 address, no range such as 192.168.1.100-192.168.1.200, and no network", s)
	}
	if r.Last.Less(r.First) {
		return Range{}, fmt.Errorf("range %s is empty: give the lower address first", s)
	}
	return r, nil
}

// Contains reports whether an address is in the range.
func (r Range) Contains(a netip.Addr) bool {
	return a.Is4() && !a.Less(r.First) && !r.Last.Less(a)
}

// Barred says what keeps an address of the range from being leased, "" for
// nothing.
func (c Config) Barred(a netip.Addr) string {
	if c.Subnet.IsValid() && (a == c.Subnet.Masked().Addr() || a == broadcast(c.Subnet)) {
		return "the network's"
	}
	switch a {
	case c.ServerIP:
		return "this server's own"
	case c.Router:
		return "the router's"
	}
	for _, d := range c.DNS {
		if a == d {
			return "a name server's"
		}
	}
	for _, s := range c.Servers {
		if a == s {
			return "a server's"
		}
	}
	for _, r := range c.Exclude {
		if r.Contains(a) {
			return "excluded"
		}
	}
	return ""
}

// leasable reports whether the range has an address that may be leased.
func (c Config) leasable() bool {
	for n := number(c.First); n <= number(c.Last); n++ {
		if c.Barred(addr(n)) == "" {
			return true
		}
	}
	return false
}
