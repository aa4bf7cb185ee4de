package dhcpd

import (
	"fmt"
	"net/netip"
	"time"
)

// Lease is who has an address, and until when.
type Lease struct {
	Client string
	Until  time.Time
	// Trial marks the first lease of a client that nobody has registered.
	Trial bool
}

// Claims is where every server of a cluster sees who has which address.
// Implementations MUST be safe for concurrent use and quick: a claim is waited
// for once for each granted request.
type Claims interface {
	// Claim takes an address for a client, or tells which other client has it.
	Claim(a netip.Addr, l Lease, now time.Time) (holder Lease, ok bool, err error)
	// Release ends a client's claim to an address; it need not wait until that is
	// done.
	Release(a netip.Addr, client string)
}

// Learn notes a lease that any server has granted; a zero one: that it has
// ended.
func (p *Pool) Learn(a netip.Addr, l Lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index(a)
	if !ok {
		return
	}
	s := &p.slots[i]
	switch {
	case l.Client == "":
		if s.state == leased {
			s.until = time.Time{}
		}
	case s.client == l.Client && s.state == leased:
		s.until, s.trial = l.Until, l.Trial
	default:
		p.put(i, p.slotOf(l))
	}
}

func (p *Pool) slotOf(l Lease) slot {
	return slot{client: l.Client, state: leased, known: p.asker(l.Client).known, trial: l.Trial, until: l.Until}
}

// Take leases an address to a client for a time, or for less: it returns for
// how long. [ErrTaken] says that the address cannot be the client's, any other
// error that it is not known whether it can.
//
// While claims cannot be made a running system keeps its address: what it has
// is renewed, nothing else is granted.
func (p *Pool) Take(client string, a netip.Addr, now time.Time, most time.Duration) (time.Duration, error) {
	c := p.asker(client)
	g, err := p.grant(c, a, now, most)
	if err != nil {
		return 0, err
	}
	had := a == c.fixed || g.before.client == client && g.before.state == leased && !g.before.until.Before(now)
	if p.Claims == nil {
		return g.after.until.Sub(now), nil
	}
	holder, ok, err := p.Claims.Claim(a, Lease{Client: client, Until: g.after.until, Trial: g.after.trial}, now)
	switch {
	case ok, err != nil && had:
		if g.former.IsValid() {
			p.Claims.Release(g.former, client)
		}
		return g.after.until.Sub(now), nil
	case err != nil:
		p.settle(a, g.after, g.before)
		return 0, fmt.Errorf("claiming %v: %w", a, err)
	}
	// Another server has leased it in the meantime: it is that client's, here too.
	p.settle(a, g.after, p.slotOf(holder))
	return 0, ErrTaken
}

// granted is what a lease changed in this server's own memory.
type granted struct {
	before, after slot
	former        netip.Addr // what the client had leased until then, if that is another one
}

// grant leases an address in this server's own memory.
func (p *Pool) grant(c asker, a netip.Addr, now time.Time, most time.Duration) (granted, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := granted{after: slot{client: c.key, state: leased, known: c.known, since: now, until: now.Add(most)}}
	i, inRange := p.index(a)
	switch {
	case c.fixed.IsValid() && a == c.fixed:
		if !p.fixedFree(c, now) {
			return g, ErrTaken
		}
	case !inRange || !p.mayTake(i, c, now):
		return g, ErrTaken
	case !c.known && (p.slots[i].client != c.key || p.slots[i].state != leased) && crowded(p, now):
		return g, ErrCrowded
	}
	if former, ok := p.clients[c.key]; ok && (!inRange || former != i) && p.slots[former].client == c.key && p.slots[former].state == leased {
		g.former = p.at(former)
	}
	if !inRange {
		if g.former.IsValid() {
			p.slots[p.clients[c.key]] = slot{}
			delete(p.clients, c.key)
		}
		return g, nil
	}
	g.before = p.slots[i]
	if g.before.client == c.key && g.before.state == leased {
		g.after.since, g.after.alive = g.before.since, g.before.alive
	}
	if !c.known {
		p.try(&g.after, g.before, now)
	}
	p.put(i, g.after)
	return g, nil
}

func (p *Pool) mayTake(i uint32, c asker, now time.Time) bool {
	s := &p.slots[i]
	if s.client == c.key && s.state != declined {
		return p.usable(i, c)
	}
	return p.free(i, c, now) && (c.known || p.spare(now) > 0)
}

// try makes a newcomer's lease a trial, and a short one where there are many:
// it is a full one when the client comes back in the second half of it.
func (p *Pool) try(s *slot, before slot, now time.Time) {
	if before.client == s.client && before.state == leased {
		if !before.trial || now.Sub(before.since) >= min(s.until.Sub(now), trialLease)/2 {
			return
		}
	}
	s.trial = true
	many := 0
	for i := range p.slots {
		if o := &p.slots[i]; o.state == leased && o.trial && !o.until.Before(now) {
			many++
		}
	}
	if many > int(p.size)/4 {
		s.until = now.Add(min(s.until.Sub(now), trialLease))
	}
}

// settle puts right what reserve assumed, unless it has changed again.
func (p *Pool) settle(a netip.Addr, assumed, is slot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index(a)
	if !ok || p.slots[i] != assumed {
		return
	}
	delete(p.clients, assumed.client)
	if is.client != "" {
		p.clients[is.client] = i
	}
	p.slots[i] = is
}
