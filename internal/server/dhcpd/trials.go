package dhcpd

import (
	"net/netip"
	"slices"
	"time"
)

// spare is how many addresses strangers may still have.
func (p *Pool) spare(now time.Time) int {
	free, held := 0, 0
	for i := range p.slots {
		s := &p.slots[i]
		switch {
		case s.state != declined && (s.client == "" || s.state == offered || s.until.Before(now)):
			free++
		case s.known:
			held++
		}
	}
	return free - min(max(p.Registry.Count(Range{p.at(0), p.at(p.size - 1)})-held, 0), int(p.size)/2)
}

// crowded reports whether newcomers of whom nobody knows that they are there
// have half of the range.
func crowded(p *Pool, now time.Time) bool {
	if p.Blind {
		return false
	}
	n := 0
	for i := range p.slots {
		if s := &p.slots[i]; s.state == leased && s.trial && !s.alive && !s.until.Before(now) {
			n++
		}
	}
	return n >= max(int(p.size)/2, 1)
}

// Alive notes that a newcomer was found to use the address that it has.
func (p *Pool) Alive(c Candidate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i, ok := p.index(c.Addr); ok && p.slots[i].client == c.Client && p.slots[i].state == leased {
		p.slots[i].alive = true
	}
}

// Candidate is an address that a newcomer has, and the client that has it.
type Candidate struct {
	Addr   netip.Addr
	Client string
}

// Trials lists addresses that newcomers have and may have left behind, at most
// n: first those of whom nobody knows that they are there, the oldest lease
// first. It is what there is to look at when there is no room. A flood of
// made-up clients has leases, and nobody who answers for them.
func (p *Pool) Trials(n int, now time.Time) (all []Candidate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found []uint32
	for i := range p.slots {
		if s := &p.slots[i]; s.state == leased && s.trial && now.Sub(s.since) >= trialAge {
			found = append(found, uint32(i))
		}
	}
	slices.SortFunc(found, func(a, b uint32) int {
		x, y := &p.slots[a], &p.slots[b]
		if x.alive != y.alive {
			if y.alive {
				return -1
			}
			return 1
		}
		return x.since.Compare(y.since)
	})
	for _, i := range found[:min(n, len(found))] {
		all = append(all, Candidate{p.at(i), p.slots[i].client})
	}
	return all
}
