package dhcpd

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"sync"
	"time"
)

const (
	// offerHold is how long an offered address is kept from other clients while
	// there are free ones. Without it, machines that start together and hash alike
	// would be offered the same one.
	offerHold = 10 * time.Second
	// quarantine is how long an address is left alone that somebody else was found
	// to use.
	quarantine = 10 * time.Minute
	// trialLease is what newcomers get while there are many of them. One that comes
	// back for more gets all of it.
	trialLease = 5 * time.Minute
	// trialAge is how old the lease of a newcomer must be to be taken from a client
	// that is not there any more.
	trialAge = 5 * time.Second
)

// Registry is what an operator has said of machines. A client is named as
// [ClientKey] names it. Implementations MUST be safe for concurrent use and
// quick.
type Registry interface {
	// Registered reports whether an operator has registered the machine.
	Registered(client string) bool
	// Fixed is the address of the machine's record, which nobody else gets; zero:
	// any.
	Fixed(client string) netip.Addr
	// Owner is the machine whose record has the address, "" for none.
	Owner(a netip.Addr) string
	// Count is how many registered machines may come for an address of a range.
	Count(Range) int
}

// ErrTaken says that an address is another client's or none of the pool's.
var ErrTaken = errors.New("not free")

// ErrCrowded says that half of the range is leased to newcomers of whom nobody
// knows that they are there: it has to be seen which of them are before there
// is one more.
var ErrCrowded = errors.New("half of the range is leased to new clients that have been silent since: their addresses become free " +
	"when they are gone; register the machine, or widen the range")

type slotState uint8

const (
	vacant   slotState = iota
	offered            // kept for a moment, or remembered as the client's last one
	leased             //
	declined           // in use by somebody who has no lease of it
)

// slot is one address of the range.
type slot struct {
	client string
	state  slotState
	known  bool      // the client is a registered machine
	trial  bool      // the client's first lease, not renewed yet
	alive  bool      // the client of a trial was found to use its address
	since  time.Time // when it was leased to this client
	until  time.Time // when it is free again
}

// Pool keeps which client has which address: at most one client for each
// address of its range. It is safe for concurrent use; its fields must not
// change while it is used, and it does not grow with the number of clients that
// ask.
//
// A client's first choice follows from its key alone. What other servers of the
// cluster have leased, and what this one leased before it was started anew, it
// is told by [Pool.Learn].
type Pool struct {
	// Claims is where every server of the cluster sees what is leased; nil: this
	// one is alone and forgets.
	Claims Claims
	// Barred says why an address is never leased, "" for one that may be; nil: all
	// may be.
	Barred func(netip.Addr) string
	// Registry knows the machines of the network; nil: every client is as good as
	// registered. For as many registered machines as have no address, up to half of
	// the range, strangers find the range full. Those that have not come back for
	// more time, and are not known to be there, have half of it at most.
	Registry Registry
	// Blind says that no newcomer of the range can be seen to be there, behind a
	// router. Then they may have all of it.
	Blind bool

	first, size uint32

	mu      sync.Mutex
	slots   []slot
	clients map[string]uint32 // to the index of a client's slot
}

// NewPool makes leases for the range from first to last, inclusive.
func NewPool(first, last netip.Addr) *Pool {
	p := &Pool{first: number(first), size: number(last) - number(first) + 1, clients: map[string]uint32{}}
	p.slots = make([]slot, p.size)
	return p
}

// Offer proposes an address: the one of the client's record, else the one that
// it has or had, else the wanted one if that is free, else another. It holds
// the address for a moment, but never so that another client gets none.
func (p *Pool) Offer(client string, want netip.Addr, now time.Time) (netip.Addr, error) {
	c := p.asker(client)
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.fixed.IsValid() && p.fixedFree(c, now) {
		return c.fixed, nil
	}
	hold := slot{client: client, state: offered, known: c.known, until: now.Add(offerHold)}
	if i, ok := p.clients[client]; ok && p.slots[i].client == client && p.slots[i].state != declined && p.usable(i, c) {
		if s := &p.slots[i]; s.state == offered || s.until.Before(now) {
			p.put(i, hold)
		}
		return p.at(i), nil
	}
	i, err := p.choose(c, want, now)
	if err != nil {
		return netip.Addr{}, err
	}
	p.put(i, hold)
	return p.at(i), nil
}

// asker is a client and what the registry says of it.
type asker struct {
	key   string
	known bool
	fixed netip.Addr
}

func (p *Pool) asker(client string) asker {
	if p.Registry == nil {
		return asker{key: client, known: true}
	}
	return asker{client, p.Registry.Registered(client), p.Registry.Fixed(client)}
}

// Holds reports whether an address is a client's already, so that it is no
// surprise that somebody uses it.
func (p *Pool) Holds(client string, a netip.Addr, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index(a)
	return ok && p.slots[i].client == client && p.slots[i].state == leased && !p.slots[i].until.Before(now)
}

// choose finds an address for a client that has none.
func (p *Pool) choose(c asker, want netip.Addr, now time.Time) (uint32, error) {
	if !c.known {
		if p.spare(now) <= 0 {
			return 0, fmt.Errorf("the free addresses from %v to %v are kept for registered machines: register it, or widen the range", p.at(0),
				p.at(p.size-1))
		}
		if crowded(p, now) {
			return 0, ErrCrowded
		}
	}
	if i, ok := p.index(want); ok && p.free(i, c, now) {
		return i, nil
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(c.key))
	start := h.Sum32() % p.size
	// Best is an address that nobody had, then the one that has been free for
	// longest, then one that is only offered.
	best, spare := int64(-1), int64(-1)
	for n := range p.size {
		i := (start + n) % p.size
		s := &p.slots[i]
		switch {
		case p.free(i, c, now):
			if s.client == "" {
				return i, nil
			}
			if best < 0 || s.until.Before(p.slots[best].until) {
				best = int64(i)
			}
		case spare < 0 && s.state == offered && (c.known || !s.known) && p.usable(i, c):
			spare = int64(i)
		}
	}
	switch {
	case best >= 0:
		return uint32(best), nil
	case spare >= 0:
		return uint32(spare), nil
	}
	return 0, fmt.Errorf("every address from %v to %v is leased: widen the range", p.at(0), p.at(p.size-1))
}

// Mine reports whether an address may be a client's at all: in the range, or
// its own by its record.
func (p *Pool) Mine(client string, a netip.Addr) bool {
	_, ok := p.index(a)
	return ok || a.IsValid() && a == p.asker(client).fixed
}

// Occupied leaves an address alone until a time, because somebody uses it who
// has no lease of it.
func (p *Pool) Occupied(a netip.Addr, until time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.index(a); ok {
		p.put(i, slot{state: declined, until: until})
	}
}

// Release ends a client's lease of an address; of anything else it is ignored.
func (p *Pool) Release(client string, a netip.Addr) {
	p.mu.Lock()
	i, ok := p.index(a)
	has := ok && p.slots[i].client == client && p.slots[i].state == leased
	if has {
		// The client stays on record: it gets the same address again while nobody else
		// needs it.
		p.slots[i] = slot{client: client, state: offered, known: p.slots[i].known}
	}
	p.mu.Unlock()
	if p.Claims != nil && (has || !ok && a.IsValid()) {
		p.Claims.Release(a, client)
	}
}

// Decline withdraws an address that its client found in use by another host.
// Only the client that has the address can decline it, and at most a quarter of
// the range is withdrawn at a time, so that no host can withdraw all of it.
func (p *Pool) Decline(client string, a netip.Addr, now time.Time) bool {
	p.mu.Lock()
	i, ok := p.index(a)
	has := ok && client != "" && p.slots[i].client == client && p.slots[i].state != declined
	if has {
		p.pardon(max(int(p.size)/4, 1) - 1)
		p.put(i, slot{state: declined, until: now.Add(quarantine)})
	}
	p.mu.Unlock()
	if has && p.Claims != nil {
		p.Claims.Release(a, client)
	}
	return has
}

// pardon gives withdrawn addresses back, those that were withdrawn first, until
// at most n are left.
func (p *Pool) pardon(n int) {
	for {
		count, oldest := 0, -1
		for i := range p.slots {
			if p.slots[i].state != declined {
				continue
			}
			if count++; oldest < 0 || p.slots[i].until.Before(p.slots[oldest].until) {
				oldest = i
			}
		}
		if count <= n {
			return
		}
		p.slots[oldest] = slot{}
	}
}

// put gives an address to a client and takes it, and the client's former one,
// from whoever had it.
func (p *Pool) put(i uint32, s slot) {
	if old := p.slots[i].client; old != "" && old != s.client {
		delete(p.clients, old)
	}
	if s.client != "" {
		if former, ok := p.clients[s.client]; ok && former != i && p.slots[former].client == s.client {
			p.slots[former] = slot{}
		}
		p.clients[s.client] = i
	}
	p.slots[i] = s
}

func (p *Pool) at(i uint32) netip.Addr { return addr(p.first + i) }

// index is an address's place in the range.
func (p *Pool) index(a netip.Addr) (uint32, bool) {
	if !a.Is4() || number(a)-p.first >= p.size {
		return 0, false
	}
	return number(a) - p.first, true
}

// usable says whether an address may be this client's at all, whoever has it
// now.
func (p *Pool) usable(i uint32, c asker) bool {
	a := p.at(i)
	if p.Barred != nil && p.Barred(a) != "" {
		return false
	}
	if p.Registry == nil {
		return true
	}
	owner := p.Registry.Owner(a)
	return owner == "" || owner == c.key
}

// free says whether nobody has an address that may be this client's. What a
// registered machine had last is kept from strangers: it comes back for it.
func (p *Pool) free(i uint32, c asker, now time.Time) bool {
	s := &p.slots[i]
	ended := s.state == vacant || s.until.Before(now)
	return ended && (c.known || !s.known) && p.usable(i, c)
}

// fixedFree says whether a client can have the address of its record now: one
// that was leased before it stood in the record is its holder's until that
// lease ends.
func (p *Pool) fixedFree(c asker, now time.Time) bool {
	if p.Barred != nil && p.Barred(c.fixed) != "" {
		return false
	}
	i, ok := p.index(c.fixed)
	if !ok {
		return true
	}
	s := &p.slots[i]
	return s.client == c.key && s.state != declined || s.state == vacant || s.state == offered || s.until.Before(now)
}
