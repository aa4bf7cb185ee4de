// Package cards knows which card has which addresses by lease.
package cards

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Cards is which card has which addresses by the leases of this server and its
// cluster: what is said for a card that has one is to come from there. With
// snooping on the switches a host cannot speak for another's card then. The
// zero value binds nothing. It does not grow beyond the range of addresses.
type Cards struct {
	mu   sync.Mutex
	has  map[string]map[netip.Addr]time.Time // MAC -> address -> until when
	with map[netip.Addr]string               // address -> MAC
}

// Leased takes an address that a client of DHCP has until a time. Its key is
// "mac:" and six bytes; one of another kind says of no card whose it is. The
// empty key is nobody's.
func (c *Cards) Leased(client string, a netip.Addr, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.has == nil {
		c.has, c.with = map[string]map[netip.Addr]time.Time{}, map[netip.Addr]string{}
	}
	if old, ok := c.with[a]; ok {
		delete(c.with, a)
		if delete(c.has[old], a); len(c.has[old]) == 0 {
			delete(c.has, old)
		}
	}
	card, ok := strings.CutPrefix(client, "mac:")
	if !ok || len(card) != 6 {
		return
	}
	mac := net.HardwareAddr(card).String()
	if c.has[mac] == nil {
		c.has[mac] = map[netip.Addr]time.Time{}
	}
	c.has[mac][a], c.with[a] = until, mac
}

// Fits refuses what is said for a card from another address than it was
// leased. Where no lease runs, nothing is refused.
func (c *Cards) Fits(mac, from string, now time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	var its netip.Addr
	for a, until := range c.has[mac] {
		if now.After(until) {
			continue
		}
		if f, err := netip.ParseAddr(from); err == nil && f.Unmap() == a {
			return nil
		}
		its = a
	}
	if !its.IsValid() {
		return nil
	}
	return fmt.Errorf("%s speaks for the card %s, which was leased %s", from, mac, its)
}

// Whose is the card that an address was leased to, "" if that is not known.
func (c *Cards) Whose(a netip.Addr) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.with[a]
}
