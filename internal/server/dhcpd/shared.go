package dhcpd

import (
	"net/netip"
	"time"
)

// Shared are the leases of a server that is not the only one of its cluster:
// what it grants it first claims where all of them see it. It offers from its
// own memory, so an address that another server has leased since may be
// offered; the claim refuses it then, and the client gets another one.
type Shared struct {
	*Memory
	// Claim takes an address for a client until a time, or tells until when
	// another client has it. It is called once a granted request and must be
	// quick. After an error only a lease that this server granted before is
	// renewed: a running system keeps its address while etcd does not answer.
	Claim func(a netip.Addr, client string, now, until time.Time) (taken time.Time, err error)
}

// Take implements [Leases].
func (s *Shared) Take(client string, a netip.Addr, now, until time.Time) bool {
	renewal := s.has(client, a, now)
	if !s.Memory.Take(client, a, now, until) {
		return false
	}
	taken, err := s.Claim(a, client, now, until)
	switch {
	case err != nil && renewal, err == nil && taken.IsZero():
		return true
	case err != nil:
		s.Release(client, a)
	default:
		s.withdraw(client, a, taken)
	}
	return false
}

// has reports whether the client's lease of the address still runs.
func (m *Memory) has(client string, a netip.Addr, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.slots[a]
	return ok && s.client == client && s.state == leased && !s.until.Before(now)
}

// withdraw gives an address up that another server has leased.
func (m *Memory) withdraw(client string, a netip.Addr, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.clients, client)
	m.slots[a] = slot{"", declined, until}
}
