package dhcpd

import (
	"hash/fnv"
	"net/netip"
	"sync"
	"time"
)

// Leases keeps which client has which address. A client is an opaque key. Implementations MUST be
// safe for concurrent use and MUST NOT grow with the number of clients that ask.
type Leases interface {
	// Offer proposes an address: the one that the client has or had, else the wanted one if free,
	// else another. It may hold the address for a moment, but never so that another client gets
	// none. False: every address is leased.
	Offer(client string, want netip.Addr, now time.Time) (netip.Addr, bool)
	// Take leases an address until a time, or reports that another client has it or it is not ours.
	Take(client string, a netip.Addr, now, until time.Time) bool
	// Release ends a client's lease of an address; of anything else it is ignored.
	Release(client string, a netip.Addr)
	// Decline withdraws an address that its client found in use by another host.
	Decline(client string, a netip.Addr, until time.Time)
}

// offerHold is how long an offered address is kept from other clients while there are free ones.
// Without it, machines that start together and hash alike would be offered the same one.
const offerHold = 10 * time.Second

type slotState uint8

const (
	offered slotState = iota
	leased
	declined
)

type slot struct {
	client string
	state  slotState
	until  time.Time
}

// Memory holds leases in memory, at most one for each address of its range.
//
// A client's first choice follows from its key alone, and an address that nobody holds is given to
// whoever asks for it by name. So a restarted server gives the same answers although it forgot all.
type Memory struct {
	first, size uint32
	exclude     netip.Addr

	mu      sync.Mutex
	slots   map[netip.Addr]slot
	clients map[string]netip.Addr
}

// NewMemory makes leases for the range from first to last, inclusive, without one address.
func NewMemory(first, last, exclude netip.Addr) *Memory {
	return &Memory{
		first: number(first), size: number(last) - number(first) + 1, exclude: exclude,
		slots: map[netip.Addr]slot{}, clients: map[string]netip.Addr{},
	}
}

// Offer implements [Leases].
func (m *Memory) Offer(client string, want netip.Addr, now time.Time) (netip.Addr, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a, ok := m.clients[client]; ok && m.slots[a].state != declined {
		if m.slots[a].until.Before(now) || m.slots[a].state == offered {
			m.put(a, slot{client, offered, now.Add(offerHold)})
		}
		return a, true
	}
	if m.free(want, now) {
		m.put(want, slot{client, offered, now.Add(offerHold)})
		return want, true
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(client))
	start := h.Sum32() % m.size
	var spare netip.Addr // held by an offer only: taken rather than giving none
	for i := range m.size {
		a := addr(m.first + (start+i)%m.size)
		if m.free(a, now) {
			m.put(a, slot{client, offered, now.Add(offerHold)})
			return a, true
		}
		if s := m.slots[a]; !spare.IsValid() && a != m.exclude && s.state == offered {
			spare = a
		}
	}
	if spare.IsValid() {
		m.put(spare, slot{client, offered, now.Add(offerHold)})
	}
	return spare, spare.IsValid()
}

// Take implements [Leases].
func (m *Memory) Take(client string, a netip.Addr, now, until time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	own := m.slots[a].client == client && m.slots[a].state != declined
	if !m.inRange(a) || !own && !m.free(a, now) {
		return false
	}
	m.put(a, slot{client, leased, until})
	return true
}

// Release implements [Leases].
func (m *Memory) Release(client string, a netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.slots[a]; ok && s.client == client && s.state == leased {
		// The client stays on record: it gets the same address again while nobody else needs it.
		m.slots[a] = slot{client, offered, time.Time{}}
	}
}

// Decline implements [Leases]. Only the client that has the address can decline it, so that one
// host cannot withdraw the whole range.
func (m *Memory) Decline(client string, a netip.Addr, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s, ok := m.slots[a]; ok && s.client == client && s.state != declined {
		delete(m.clients, client)
		m.slots[a] = slot{"", declined, until}
	}
}

// put gives an address to a client and takes it, and the client's former one, from whoever had it.
func (m *Memory) put(a netip.Addr, s slot) {
	if old, ok := m.slots[a]; ok && old.client != s.client {
		delete(m.clients, old.client)
	}
	if former, ok := m.clients[s.client]; ok && former != a {
		delete(m.slots, former)
	}
	m.slots[a] = s
	m.clients[s.client] = a
}

func (m *Memory) inRange(a netip.Addr) bool {
	return a.Is4() && a != m.exclude && number(a)-m.first < m.size
}

func (m *Memory) free(a netip.Addr, now time.Time) bool {
	if !m.inRange(a) {
		return false
	}
	s, ok := m.slots[a]
	return !ok || s.until.Before(now)
}
