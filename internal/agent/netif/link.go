package netif

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// wired returns the links that a cable can be plugged into.
func wired() ([]netlink.Link, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("listing links: %w", err)
	}
	var out []netlink.Link
	for _, l := range links {
		a := l.Attrs()
		// Bridges, tunnels and the like have a type of their own; the veth of
		// a container is as good as a card.
		if t := l.Type(); t != "device" && t != "veth" {
			continue
		}
		if a.Flags&net.FlagLoopback != 0 || a.EncapType != "ether" || len(a.HardwareAddr) != 6 {
			continue
		}
		if _, err := os.Stat(filepath.Join("/sys/class/net", a.Name, "phy80211")); err == nil {
			continue
		}
		out = append(out, l)
	}
	return out, nil
}

func hasCarrier(l netlink.Link) bool {
	a := l.Attrs()
	return a.OperState == netlink.OperUp || a.OperState == netlink.OperUnknown && a.RawFlags&unix.IFF_RUNNING != 0
}

// apply gives the lease to the link.
func apply(link netlink.Link, l Lease) error {
	if l.MTU != 0 && l.MTU != link.Attrs().MTU {
		// A card that cannot do it keeps its own: smaller frames still pass.
		_ = netlink.LinkSetMTU(link, l.MTU)
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(l.Addr)}); err != nil {
		return fmt.Errorf("setting %v: %w", l.Addr, err)
	}
	for _, r := range l.Routes {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.To), Src: l.Addr.Addr().AsSlice(), Scope: netlink.SCOPE_LINK}
		if r.Via.IsValid() {
			route.Gw, route.Scope = r.Via.AsSlice(), netlink.SCOPE_UNIVERSE
			// Some clouds name a gateway outside of the link's own prefix.
			if !l.Addr.Contains(r.Via) {
				route.SetFlag(netlink.FLAG_ONLINK)
			}
		}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("setting the route to %v: %w", r.To, err)
		}
	}
	return nil
}

// unconfigure takes all IPv4 addresses and routes from the link.
func unconfigure(link netlink.Link) error {
	routes, err := netlink.RouteList(link, unix.AF_INET)
	failures := []error{err}
	for _, r := range routes {
		if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			failures = append(failures, err)
		}
	}
	addrs, err := netlink.AddrList(link, unix.AF_INET)
	failures = append(failures, err)
	for _, a := range addrs {
		failures = append(failures, netlink.AddrDel(link, &a))
	}
	if err := errors.Join(failures...); err != nil {
		return fmt.Errorf("clearing %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// Down takes every wired link and lo down, without addresses and routes: the
// system that is handed to finds its network as a boot from the disk would.
func Down() error {
	links, err := wired()
	failures := []error{err}
	for _, l := range links {
		failures = append(failures, unconfigure(l), netlink.LinkSetDown(l))
	}
	if lo, err := netlink.LinkByName("lo"); err == nil {
		failures = append(failures, netlink.LinkSetDown(lo))
	}
	return errors.Join(failures...)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}
