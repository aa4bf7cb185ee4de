// Package dhcpd answers DHCP for machines that boot from the network: as the
// only server of a network, or as a proxyDHCP server that adds boot files to
// what another server leases.
//
// [Responder.Reply] decides and does no I/O; [Server] moves packets. What is
// handled here because firmware is as it is:
//   - UEFI that loads by TFTP stops after the ACK unless option 43 holds PXE
//     discovery control (06 01 08 ff: use the boot file of this very reply)
//     beside option 60 "PXEClient".
//   - UEFI HTTP boot wants option 60 "HTTPClient" echoed and a full URL as boot
//     file.
//   - iPXE also calls itself PXEClient: it is known by user class "iPXE", in
//     the raw form that it sends or the form of RFC 3004, or by option 175.
//   - The machine's GUID, option 97, is mandatory for PXE but some ROMs omit
//     it; it is echoed when sent.
//   - Some ROMs read the boot file from the header, some from options 66 and
//     67: both are filled.
//   - ROM, iPXE and the booted system of one machine send different client
//     identifiers. Addresses go by MAC where there is one, so that a machine
//     keeps its address through a boot.
//   - Some UEFI firmware never merges a proxy offer: such machines need Full,
//     or options 66 and 67 on the existing server.
package dhcpd

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/insomniacslk/dhcp/iana"
)

// Mode is what a server answers.
type Mode int

// The modes.
const (
	Off       Mode = iota // nothing
	Proxy                 // boot files only, beside another DHCP server
	Full                  // addresses and boot files
	Listening             // nothing yet: whether another server is there is not known
)

func (m Mode) String() string {
	switch m {
	case Off:
		return "off"
	case Proxy:
		return "proxy"
	case Full:
		return "server"
	case Listening:
		return "listening"
	}
	return fmt.Sprintf("mode %d", int(m))
}

const (
	defaultLease = time.Hour
	minLease     = time.Minute
	maxRange     = 1 << 16 // addresses; bounds the memory of [Pool]
	maxURL       = 255     // bytes; what one option 67 holds, and firmware does not join split ones
)

// Config says how to answer. [Config.Validate] names what is wrong with it.
type Config struct {
	Mode      Mode
	Interface string
	ServerIP  netip.Addr // this server, as machines reach it: next-server and server identifier

	// Subnet is needed by Full; with it, a Proxy does not answer to addresses
	// outside of it.
	Subnet netip.Prefix
	// Networks are further ones of machines. One that names an address of its own,
	// 10.0.8.1/24, names a relay, and no other one of it is answered; else a Proxy
	// answers all.
	Networks []netip.Prefix

	// Of Full only.
	First, Last netip.Addr    // range of addresses, inclusive
	Scopes      []*Scope      // further networks whose machines are leased addresses
	Exclude     []Range       // of addresses in it that are not leased
	Servers     []netip.Addr  // further hosts whose addresses are not leased
	LeaseTime   time.Duration // 0: one hour
	Router      netip.Addr    // zero: none
	DNS         []netip.Addr
	Domain      string

	Script   string // URL of the iPXE script that every machine may have
	HTTPBase string // URL below which HTTP boot firmware finds boot files, without final slash

	// NBP names the boot file for an architecture, or says why there is none. It
	// MUST be safe for concurrent use.
	NBP func(iana.Arch) (string, error)
}

// Validate reports every mistake of c at once, each with its remedy.
func (c Config) Validate() error {
	if c.Mode == Off {
		return nil
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Mode != Proxy && c.Mode != Full && c.Mode != Listening {
		bad("unknown %v: choose proxy, server or off", c.Mode)
	}
	if c.Interface == "" {
		bad("no interface: name the one that faces the machines")
	}
	if !c.ServerIP.Is4() || c.ServerIP.IsUnspecified() || c.ServerIP.IsMulticast() {
		bad("server address %v is no IPv4 address of a host: give the interface one", c.ServerIP)
	}
	if c.NBP == nil {
		bad("no rule for boot files")
	}
	for what, u := range map[string]string{"script": c.Script, "HTTP base": c.HTTPBase} {
		if p, err := url.Parse(u); err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Host == "" || len(u) > maxURL {
			bad("%s %q is no http URL of at most %d bytes", what, u, maxURL)
		}
	}
	if c.Mode == Full || c.Mode == Listening { // which becomes one of the two
		errs = append(errs, c.validateRange()...)
		for _, s := range c.Scopes {
			errs = append(errs, s.validate(c)...)
		}
	}
	return errors.Join(errs...)
}

func (c Config) validateRange() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !c.Subnet.IsValid() || !c.Subnet.Addr().Is4() || c.Subnet.Bits() < 8 || c.Subnet.Bits() > 30 {
		bad("subnet %v: give an IPv4 network from /8 to /30", c.Subnet)
		return errs
	}
	if !c.Subnet.Contains(c.ServerIP) {
		bad("server address %v is not in subnet %v: serve the subnet of the interface", c.ServerIP, c.Subnet.Masked())
	}
	for _, a := range []netip.Addr{c.First, c.Last} {
		if !a.Is4() || !c.Subnet.Contains(a) {
			bad("range %v-%v is outside of subnet %v: choose addresses in it", c.First, c.Last, c.Subnet.Masked())
			return errs
		}
	}
	switch n := int64(number(c.Last)) - int64(number(c.First)) + 1; {
	case n <= 0:
		bad("range %v-%v is empty: give the lower address first", c.First, c.Last)
	case n > maxRange:
		bad("range %v-%v has %d addresses: at most %d are possible", c.First, c.Last, n, maxRange)
	case !c.leasable():
		bad("range %v-%v holds no address to lease: they are this server's own, the router's, a name server's or excluded; widen it", c.First,
			c.Last)
	}
	if c.First == c.Subnet.Masked().Addr() || c.Last == broadcast(c.Subnet) {
		bad("range %v-%v holds the network or broadcast address of %v: leave them out", c.First, c.Last, c.Subnet.Masked())
	}
	if c.Router.IsValid() && !c.Subnet.Contains(c.Router) {
		bad("router %v is not in subnet %v", c.Router, c.Subnet.Masked())
	}
	for _, d := range c.DNS {
		if !d.Is4() {
			bad("DNS server %v is no IPv4 address", d)
		}
	}
	if c.LeaseTime != 0 && c.LeaseTime < minLease {
		bad("lease time %v: at least %v, or machines renew all the time", c.LeaseTime, minLease)
	}
	if len(c.Domain) > 255 {
		bad("domain of %d bytes: at most 255", len(c.Domain))
	}
	return errs
}

func (c Config) leaseTime() time.Duration {
	if c.LeaseTime == 0 {
		return defaultLease
	}
	return c.LeaseTime
}

// number is an IPv4 address as a number; addr is its inverse.
func number(a netip.Addr) uint32 {
	b := a.As4()
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

func addr(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func broadcast(p netip.Prefix) netip.Addr {
	return addr(number(p.Masked().Addr()) | (1<<(32-p.Bits()) - 1))
}
