// Package link follows a network interface of this host, whatever becomes of
// it.
package link

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// State is an interface at a moment.
type State struct {
	Index   int  // 0: there is none of that name; another number is another interface
	Carrier bool // a cable with somebody at its other end
	// Addrs are its IPv4 addresses with the lengths of their networks, in the
	// kernel's order.
	Addrs []netip.Prefix
	// Host are the IPv4 addresses of all interfaces of this host.
	Host []netip.Addr
}

// Equal reports whether nothing has changed.
func (s State) Equal(t State) bool {
	return s.Index == t.Index && s.Carrier == t.Carrier && slices.Equal(s.Addrs, t.Addrs) && slices.Equal(s.Host, t.Host)
}

// Has reports whether the interface has an address.
func (s State) Has(a netip.Addr) bool {
	return slices.ContainsFunc(s.Addrs, func(p netip.Prefix) bool { return p.Addr() == a })
}

// Address picks the one that a server is reached by: the first that is not
// link-local (RFC 3927), else the first. Such an address is what a DHCP client
// takes that got no answer, and stays beside the real one.
func (s State) Address() (netip.Prefix, bool) {
	if i := slices.IndexFunc(s.Addrs, func(p netip.Prefix) bool { return !p.Addr().IsLinkLocalUnicast() }); i >= 0 {
		return s.Addrs[i], true
	}
	if len(s.Addrs) > 0 {
		return s.Addrs[0], true
	}
	return netip.Prefix{}, false
}

// Look reads the state of an interface. What cannot be read is as if it were
// not there.
func Look(name string) State {
	var s State
	ifis, err := net.Interfaces()
	if err != nil {
		return s
	}
	for _, ifi := range ifis {
		own := ifi.Name == name
		if own {
			s.Index = ifi.Index
			s.Carrier = carrier(ifi)
		}
		addrs, err := ifi.Addrs()
		if err != nil {
			continue // it has just gone
		}
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err != nil || !p.Addr().Is4() {
				continue
			}
			s.Host = append(s.Host, p.Addr())
			if own {
				s.Addrs = append(s.Addrs, p)
			}
		}
	}
	return s
}

// carrier reports whether an interface that is up has a carrier. The kernel
// tells IFF_RUNNING up to a second late.
func carrier(ifi net.Interface) bool {
	l, err := netlink.LinkByIndex(ifi.Index)
	if err != nil {
		return ifi.Flags&net.FlagUp != 0 && ifi.Flags&net.FlagRunning != 0
	}
	const both = unix.IFF_UP | unix.IFF_LOWER_UP
	return l.Attrs().RawFlags&both == both
}

// lookEvery is how often an interface is looked at whatever the kernel tells: a
// message may be lost.
const lookEvery = 5 * time.Second

// Follow calls changed with the state of an interface, at once and whenever it
// is another, until ctx ends. An error says why the kernel does not tell of
// changes; they are found all the same, later.
func Follow(ctx context.Context, name string, changed func(State)) error {
	links, addrs := make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 64)
	lost := func(error) {} // the channel is closed then, and the clock continues
	err := netlink.LinkSubscribeWithOptions(links, ctx.Done(), netlink.LinkSubscribeOptions{ErrorCallback: lost})
	if err == nil {
		err = netlink.AddrSubscribeWithOptions(addrs, ctx.Done(), netlink.AddrSubscribeOptions{ErrorCallback: lost})
	}
	if err != nil {
		err = fmt.Errorf("following interface %s: %w", name, err)
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	last := Look(name)
	changed(last)
	for {
		var open bool
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		case _, open = <-links:
			if !open {
				links = nil
			}
		case _, open = <-addrs:
			if !open {
				addrs = nil
			}
		}
		if s := Look(name); !s.Equal(last) {
			last = s
			changed(s)
		}
	}
}

// String is what a person would say of the interface.
func (s State) String() string {
	if s.Index == 0 {
		return "not there"
	}
	var list []string
	for _, p := range s.Addrs {
		list = append(list, p.String())
	}
	text := strings.Join(list, ", ")
	if text == "" {
		text = "no IPv4 address"
	}
	if !s.Carrier {
		text += ", no carrier"
	}
	return text
}
