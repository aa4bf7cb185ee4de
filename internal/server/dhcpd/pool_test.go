package dhcpd

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"
)

var hour = time.Hour

func at(s string) netip.Addr { return netip.MustParseAddr(s) }

// shared is a cluster's claims in memory, which tells every pool of what
// changes as a watch does.
type shared struct {
	mu     sync.Mutex
	held   map[netip.Addr]Lease
	pools  []*Pool
	broken error
}

func (s *shared) server(first, last string) *Pool {
	p := NewPool(at(first), at(last))
	p.Claims = s
	for a, l := range s.held {
		p.Learn(a, l)
	}
	s.pools = append(s.pools, p)
	return p
}

func (s *shared) Claim(a netip.Addr, l Lease, now time.Time) (Lease, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return Lease{}, false, s.broken
	}
	if h, ok := s.held[a]; ok && h.Client != l.Client && h.Until.After(now) {
		return h, false, nil
	}
	s.held[a] = l
	return l, true, nil
}

func (s *shared) Release(a netip.Addr, client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[a].Client == client {
		delete(s.held, a)
	}
}

// tell is the watch.
func (s *shared) tell() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pools {
		for i := range p.size {
			p.Learn(p.at(i), s.held[p.at(i)])
		}
	}
}

// A server that was started anew leaves every holder its address and offers it
// to nobody else.
func TestRestart(t *testing.T) {
	s := &shared{held: map[netip.Addr]Lease{}}
	p := s.server("10.0.0.10", "10.0.0.19")
	got := map[string]netip.Addr{}
	for i := range 10 {
		client := fmt.Sprint("client ", i)
		a, err := p.Offer(client, netip.Addr{}, start)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Take(client, a, start, hour); err != nil {
			t.Fatal(err)
		}
		got[client] = a
	}
	later := start.Add(hour / 2)
	p = s.server("10.0.0.10", "10.0.0.19")
	if a, err := p.Offer("newcomer", got["client 3"], later); err == nil {
		t.Errorf("a newcomer is offered %v, which is leased", a)
	}
	for client, a := range got {
		if _, err := p.Take("newcomer", a, later, hour); !errors.Is(err, ErrTaken) {
			t.Errorf("Take(newcomer, %v) = %v; want ErrTaken", a, err)
		}
		if again, err := p.Offer(client, netip.Addr{}, later); again != a {
			t.Errorf("%s, which has %v, is offered %v, %v", client, a, again, err)
		}
		if _, err := p.Take(client, a, later, hour); err != nil {
			t.Errorf("%s may not renew %v: %v", client, a, err)
		}
	}
}

// Two servers with one range, each of which has not heard yet what the other
// one did.
func TestTwoServers(t *testing.T) {
	s := &shared{held: map[netip.Addr]Lease{}}
	one, two := s.server("10.0.0.10", "10.0.0.11"), s.server("10.0.0.10", "10.0.0.11")
	x, _ := one.Offer("x", at("10.0.0.10"), start)
	if _, err := one.Take("x", x, start, hour); err != nil {
		t.Fatal(err)
	}
	if a, _ := two.Offer("y", x, start); a != x {
		t.Fatalf("the second server offers %v; want the %v that it knows nothing of", a, x)
	}
	if _, err := two.Take("y", x, start, hour); !errors.Is(err, ErrTaken) {
		t.Fatalf("Take of a leased address = %v; want ErrTaken", err)
	}
	if y, err := two.Offer("y", x, start); err != nil || y == x {
		t.Errorf("after the refusal y is offered %v, %v; want the other address", y, err)
	}
	// The refused claim has told the second server whose the address is.
	if _, err := two.Take("x", x, start.Add(time.Minute), hour); err != nil {
		t.Errorf("the holder may not renew at the other server: %v", err)
	}
	s.tell()
	if a, err := two.Offer("z", x, start.Add(time.Minute)); err != nil || a == x {
		t.Errorf("z is offered %v, %v; want what nobody has", a, err)
	}
	one.Release("x", x)
	s.tell()
	if _, err := two.Take("z", x, start.Add(time.Minute), hour); err != nil {
		t.Errorf("what was released at one server is not free at the other: %v", err)
	}
}

// While claims cannot be made, holders keep what they have and nobody gets
// anything new.
func TestClaimsBroken(t *testing.T) {
	s := &shared{held: map[netip.Addr]Lease{}}
	p := s.server("10.0.0.10", "10.0.0.19")
	if _, err := p.Take("x", at("10.0.0.12"), start, hour); err != nil {
		t.Fatal(err)
	}
	s.broken = errors.New("no quorum")
	later := start.Add(hour / 2)
	if _, err := p.Take("x", at("10.0.0.12"), later, hour); err != nil {
		t.Errorf("a renewal: %v", err)
	}
	if _, err := p.Take("y", at("10.0.0.13"), later, hour); err == nil || errors.Is(err, ErrTaken) {
		t.Errorf("a new lease: %v; want an error that is no refusal", err)
	}
	s.broken = nil
	if _, err := p.Take("z", at("10.0.0.13"), later, hour); err != nil {
		t.Errorf("what was not granted is not free: %v", err)
	}
}

// One client that declines all it is offered cannot take the range from others.
func TestDeclineStorm(t *testing.T) {
	p := NewPool(at("10.0.0.0"), at("10.0.0.99"))
	for range 1000 {
		a, err := p.Offer("storm", netip.Addr{}, start)
		if err != nil {
			t.Fatal(err)
		}
		p.Decline("storm", a, start)
	}
	n := 0
	for i := range 100 {
		client := fmt.Sprint("client ", i)
		if a, err := p.Offer(client, netip.Addr{}, start); err == nil {
			if _, err := p.Take(client, a, start, hour); err == nil {
				n++
			}
		}
	}
	if n < 75 {
		t.Errorf("%d of 100 addresses are left; want three quarters", n)
	}
}

// A thousand machines at once get a thousand addresses; two servers without any
// memory offer a machine the same one.
func TestHerd(t *testing.T) {
	got := map[netip.Addr]string{}
	p := NewPool(at("10.77.0.0"), at("10.77.3.255"))
	for i := range 1000 {
		client := fmt.Sprint("mac:", i)
		a, err := p.Offer(client, netip.Addr{}, start)
		if err != nil || got[a] != "" {
			t.Fatalf("offer %d = %v, %v; taken by %q", i, a, err, got[a])
		}
		got[a] = client
	}
	one, two := NewPool(at("10.77.0.0"), at("10.77.3.255")), NewPool(at("10.77.0.0"), at("10.77.3.255"))
	a, _ := one.Offer("mac:x", netip.Addr{}, start)
	if b, _ := two.Offer("mac:x", netip.Addr{}, start); a != b {
		t.Errorf("two servers without state offer %v and %v; want the same", a, b)
	}
}

// DISCOVERs alone, however many, leave the memory bounded and the range usable.
func TestDiscoverFlood(t *testing.T) {
	c := testConfig(Full)
	p := testPool(c)
	for i := range 3_000 {
		if _, err := p.Offer(fmt.Sprint("flood:", i), netip.Addr{}, start); err != nil {
			t.Fatal("an offer took an address for good")
		}
	}
	if len(p.clients) > 100 {
		t.Errorf("%d clients; want at most the range's 100", len(p.clients))
	}
	for i := range 100 {
		client := fmt.Sprint("real:", i)
		a, err := p.Offer(client, netip.Addr{}, start)
		if err == nil {
			_, err = p.Take(client, a, start, hour)
		}
		if err != nil {
			t.Fatalf("client %d got no address after the flood: %v", i, err)
		}
	}
	if _, err := p.Offer("late", netip.Addr{}, start); err == nil {
		t.Error("an offer although every address is leased")
	}
	if a, err := p.Offer("late", netip.Addr{}, start.Add(2*hour)); err != nil {
		t.Errorf("no offer after the leases expired: %v, %v", a, err)
	}
}

// registry is a made-up one.
type registry struct {
	known map[string]bool
	fixed map[string]netip.Addr
}

func (r registry) Registered(client string) bool  { return r.known[client] }
func (r registry) Fixed(client string) netip.Addr { return r.fixed[client] }
func (r registry) Count(Range) int                { return len(r.known) }
func (r registry) Owner(a netip.Addr) string {
	for client, f := range r.fixed {
		if f == a {
			return client
		}
	}
	return ""
}

// However many strangers come, the registered machines find an address.
func TestRegisteredAreServed(t *testing.T) {
	r := registry{known: map[string]bool{}}
	for i := range 20 {
		r.known[fmt.Sprint("mine ", i)] = true
	}
	p := NewPool(at("10.0.0.0"), at("10.0.0.99"))
	p.Registry = r
	leases := map[time.Duration]int{}
	strangers := 0
	for i := range 1030 {
		client := fmt.Sprint("stranger ", i)
		a, err := p.Offer(client, netip.Addr{}, start)
		if err != nil {
			continue
		}
		if d, err := p.Take(client, a, start, hour); err == nil {
			leases[d]++
			strangers++
		}
	}
	if strangers != 50 || leases[trialLease] < 24 {
		t.Errorf("strangers have %d addresses (%v); want 50, many of them for a short time", strangers, leases)
	}
	for client := range r.known {
		a, err := p.Offer(client, netip.Addr{}, start)
		if err == nil {
			_, err = p.Take(client, a, start, hour)
		}
		if err != nil {
			t.Errorf("%s: %v", client, err)
		}
	}
	// The ones that were made up do not come back: their addresses are free soon.
	if _, err := p.Offer("newcomer", netip.Addr{}, start.Add(trialLease+time.Second)); err != nil {
		t.Errorf("after the flood: %v", err)
	}
}

// A newcomer that comes back gets a full lease, also in a flood.
func TestTrialBecomesFull(t *testing.T) {
	p := NewPool(at("10.0.0.0"), at("10.0.0.9"))
	p.Registry = registry{}
	var last time.Duration
	for i := range 5 {
		var err error
		if last, err = p.Take(fmt.Sprint(i), at(fmt.Sprint("10.0.0.", i)), start, hour); err != nil {
			t.Fatal(err)
		}
	}
	if last != trialLease {
		t.Fatalf("the fifth newcomer in ten addresses has %v; want %v", last, trialLease)
	}
	if d, err := p.Take("4", at("10.0.0.4"), start.Add(10*time.Second), hour); d != trialLease {
		t.Errorf("at once again: %v, %v; want %v", d, err, trialLease)
	}
	if d, err := p.Take("4", at("10.0.0.4"), start.Add(trialLease/2), hour); d != hour {
		t.Errorf("renewed: %v, %v; want %v", d, err, hour)
	}
}

// The address of a machine's record is its own, inside the range and outside of
// it.
func TestFixed(t *testing.T) {
	r := registry{
		known: map[string]bool{"in": true, "out": true},
		fixed: map[string]netip.Addr{"in": at("10.0.0.12"), "out": at("10.0.0.200")},
	}
	p := NewPool(at("10.0.0.10"), at("10.0.0.13"))
	p.Registry = r
	p.Barred = func(a netip.Addr) string {
		if a == at("10.0.0.13") {
			return "the router's"
		}
		return ""
	}
	for client, want := range r.fixed {
		if a, err := p.Offer(client, at("10.0.0.11"), start); a != want || err != nil {
			t.Errorf("%s is offered %v, %v; want %v", client, a, err, want)
		}
		if _, err := p.Take(client, want, start, hour); err != nil {
			t.Errorf("%s may not have %v: %v", client, want, err)
		}
	}
	for i := range 3 {
		client := fmt.Sprint("stranger ", i)
		a, err := p.Offer(client, at("10.0.0.12"), start)
		if a == at("10.0.0.12") || a == at("10.0.0.13") {
			t.Errorf("%s is offered %v", client, a)
		}
		if err == nil {
			_, _ = p.Take(client, a, start, hour)
		}
	}
	for _, a := range []string{"10.0.0.12", "10.0.0.13", "10.0.0.200"} {
		if _, err := p.Take("stranger", at(a), start, hour); !errors.Is(err, ErrTaken) {
			t.Errorf("a stranger takes %s: %v; want ErrTaken", a, err)
		}
	}
	// Whoever had the address before it stood in the record keeps it until its
	// lease ends.
	q := NewPool(at("10.0.0.10"), at("10.0.0.13"))
	if _, err := q.Take("earlier", at("10.0.0.12"), start, hour); err != nil {
		t.Fatal(err)
	}
	q.Registry = r
	if a, err := q.Offer("in", netip.Addr{}, start.Add(time.Minute)); err != nil || a == at("10.0.0.12") {
		t.Errorf("offered %v, %v; want another address while somebody has it", a, err)
	}
	if _, err := q.Take("earlier", at("10.0.0.12"), start.Add(hour/2), hour); !errors.Is(err, ErrTaken) {
		t.Errorf("the earlier holder renews: %v; want ErrTaken", err)
	}
	if a, err := q.Offer("in", netip.Addr{}, start.Add(2*hour)); a != at("10.0.0.12") {
		t.Errorf("offered %v, %v; want the address of the record", a, err)
	}
}
