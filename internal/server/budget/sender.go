package budget

import "net/netip"

// Sender is what one client of the network has: an IPv4 address, or an IPv6
// /64, within which every host can take as many addresses as it likes.
func Sender(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	addr := ap.Addr().Unmap().WithZone("")
	bits := 64
	if addr.Is4() {
		bits = 32
	}
	p, _ := addr.Prefix(bits)
	return p
}
