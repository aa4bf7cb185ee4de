package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// Lease is what a DHCP server gave to a link, checked.
type Lease struct {
	Addr   netip.Prefix
	Server netip.Addr
	Routes []Route
	DNS    []netip.Addr
	Search []string // domains, only letters, digits, '-', '_' and '.'
	MTU    int      // bytes, 0 when the server named none that is sane
	// Renew and Rebind are T1 and T2, Length the whole lease, all from the
	// ACK on (RFC 2131, 4.4.5). Length 0 means for ever.
	Renew, Rebind, Length time.Duration
}

// Route is one IPv4 route. An invalid Via means that To is on the link.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Bounds of what is taken from a server: RFC 791 asks every link for 576
// bytes, jumbo frames end near 9216; more names or routes than these are a
// mistake.
const (
	minMTU, maxMTU = 576, 9216
	maxRoutes      = 64
	maxDNS         = 3 // what resolv.conf(5) reads
	maxSearch      = 6
	minLease       = 30 * time.Second
)

// ParseLease checks an ACK. Everything in it is foreign: only an address that
// a host can have is required, and whatever else makes no sense is left out.
func ParseLease(ack *dhcpv4.DHCPv4) (Lease, error) {
	addr, ok := netip.AddrFromSlice(ack.YourIPAddr.To4())
	if !ok || !isHost(addr) {
		return Lease{}, fmt.Errorf("the DHCP server gave the address %v, which no host can have", ack.YourIPAddr)
	}
	bits, err := prefixBits(ack.SubnetMask(), addr)
	if err != nil {
		return Lease{}, err
	}
	l := Lease{Addr: netip.PrefixFrom(addr, bits), Routes: routes(ack, addr)}
	l.Server, _ = netip.AddrFromSlice(ack.ServerIdentifier().To4())
	for _, ip := range ack.DNS() {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok && (isHost(a) || a.IsLoopback()) && len(l.DNS) < maxDNS {
			l.DNS = append(l.DNS, a)
		}
	}
	l.Search = searchDomains(ack)
	if mtu := ack.Options.Get(dhcpv4.OptionInterfaceMTU); len(mtu) == 2 {
		if n := int(mtu[0])<<8 | int(mtu[1]); n >= minMTU && n <= maxMTU {
			l.MTU = n
		}
	}
	l.times(ack)
	return l, nil
}

func isHost(a netip.Addr) bool {
	return a.Is4() && !a.IsUnspecified() && !a.IsLoopback() && !a.IsMulticast() && a.As4()[0] < 240 && a.As4()[0] != 0
}

// prefixBits reads a mask; without one the address's old class decides, as
// RFC 950 has it.
func prefixBits(mask net.IPMask, addr netip.Addr) (int, error) {
	if len(mask) == 0 {
		mask = net.IP(addr.AsSlice()).DefaultMask()
	}
	ones, size := mask.Size()
	if size != 32 || ones == 0 {
		return 0, fmt.Errorf("the DHCP server sent an invalid netmask: %v", mask)
	}
	return ones, nil
}

// routes prefers the classless routes; the router option must then be ignored
// (RFC 3442, "DHCP Client Behavior").
func routes(ack *dhcpv4.DHCPv4, self netip.Addr) []Route {
	var out []Route
	add := func(to netip.Prefix, via netip.Addr) {
		if len(out) < maxRoutes && !slices.ContainsFunc(out, func(r Route) bool { return r.To == to }) {
			out = append(out, Route{to, via})
		}
	}
	for _, r := range ack.ClasslessStaticRoute() {
		if r == nil || r.Dest == nil {
			continue
		}
		dest, ok := netip.AddrFromSlice(r.Dest.IP.To4())
		ones, size := r.Dest.Mask.Size()
		via, ok2 := netip.AddrFromSlice(r.Router.To4())
		if !ok || !ok2 || size != 32 {
			continue
		}
		switch {
		case via.IsUnspecified():
			via = netip.Addr{}
		case !isHost(via) || via == self:
			continue
		}
		add(netip.PrefixFrom(dest, ones).Masked(), via)
	}
	if len(out) > 0 {
		return out
	}
	for _, ip := range ack.Router() {
		if via, ok := netip.AddrFromSlice(ip.To4()); ok && isHost(via) && via != self {
			add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), via)
		}
	}
	return out
}

// searchDomains returns domains to complete names with. They end in a file that
// others read, so nothing but a name may pass.
func searchDomains(ack *dhcpv4.DHCPv4) []string {
	var names []string
	if list := ack.DomainSearch(); list != nil {
		names = list.Labels
	}
	names = append(names, ack.DomainName())
	var out []string
	for _, name := range names {
		name = strings.Trim(name, ".\x00")
		if name == "" || len(name) > 253 || strings.ContainsFunc(name, notInName) {
			continue
		}
		if len(out) < maxSearch && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
}

func (l *Lease) times(ack *dhcpv4.DHCPv4) {
	const forEver = 0xffffffff * time.Second
	l.Length = ack.IPAddressLeaseTime(forEver)
	if l.Length >= forEver {
		l.Length = 0
		return
	}
	l.Length = max(l.Length, minLease)
	l.Renew, l.Rebind = ack.IPAddressRenewalTime(0), ack.IPAddressRebindingTime(0)
	if l.Rebind <= 0 || l.Rebind >= l.Length {
		l.Rebind = l.Length / 8 * 7
	}
	if l.Renew <= 0 || l.Renew >= l.Rebind {
		l.Renew = min(l.Length/2, l.Rebind)
	}
}

// ResolvConf writes the lease's name servers in the form of resolv.conf(5).
func (l Lease) ResolvConf() []byte {
	var b strings.Builder
	for _, a := range l.DNS {
		b.WriteString("nameserver " + a.String() + "\n")
	}
	if len(l.Search) > 0 {
		b.WriteString("search " + strings.Join(l.Search, " ") + "\n")
	}
	return []byte(b.String())
}

// String says the lease in a line for a person.
func (l Lease) String() string {
	s := l.Addr.String()
	if l.Server.IsValid() {
		s += " from " + l.Server.String()
	}
	for _, r := range l.Routes {
		if r.To.Bits() == 0 {
			s += ", gateway " + r.Via.String()
		}
	}
	return s
}

var errNoAnswer = errors.New("no DHCP server answered")
