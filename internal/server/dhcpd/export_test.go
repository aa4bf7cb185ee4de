package dhcpd

import (
	"maps"
	"net/netip"
)

// Shared is the memory model of a cluster's claims.
type Shared = shared

// NewShared makes one without leases.
func NewShared() *Shared { return &shared{held: map[netip.Addr]Lease{}} }

// Held is every lease in it.
func (s *shared) Held() map[netip.Addr]Lease {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.held)
}
