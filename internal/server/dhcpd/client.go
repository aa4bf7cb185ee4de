package dhcpd

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// ClientKey names a machine as a client of leases, by its Ethernet address.
func ClientKey(mac net.HardwareAddr) string { return "mac:" + string(mac) }

// clientKey names a client for its lease: by MAC when it has a usable one, else
// by what RFC 2131 prefers, its client identifier. See the package comment for
// why.
func clientKey(req *dhcpv4.DHCPv4) string {
	if req.HWType == iana.HWTypeEthernet && len(req.ClientHWAddr) == 6 && req.ClientHWAddr.String() != "00:00:00:00:00:00" {
		return ClientKey(req.ClientHWAddr)
	}
	if id := req.Options.Get(dhcpv4.OptionClientIdentifier); len(id) > 0 {
		return "id:" + string(id)
	}
	return fmt.Sprintf("hw:%d:%s", req.HWType, req.ClientHWAddr)
}

// address converts what the codec gives; no or an odd option is the zero Addr.
func address(b net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(b)
	return a.Unmap()
}
