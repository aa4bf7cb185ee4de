package dhcpd

import (
	"errors"
	"net/netip"
	"testing"
	"time"
)

// Two servers that know nothing of each other's memory never lease one
// address twice, and a client that was refused gets another one.
func TestSharedLeases(t *testing.T) {
	first, last := netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.0.11")
	type lease struct {
		client string
		until  time.Time
	}
	held, broken := map[netip.Addr]lease{}, false
	claim := func(a netip.Addr, client string, now, until time.Time) (time.Time, error) {
		if broken {
			return time.Time{}, errors.New("no quorum")
		}
		if l, ok := held[a]; ok && l.client != client && l.until.After(now) {
			return l.until, nil
		}
		held[a] = lease{client, until}
		return time.Time{}, nil
	}
	server := func() *Shared { return &Shared{Memory: NewMemory(first, last, netip.Addr{}), Claim: claim} }
	a, b := server(), server()
	now := time.Unix(1e9, 0)
	until := now.Add(time.Hour)
	x, _ := a.Offer("x", first, now)
	if !a.Take("x", x, now, until) {
		t.Fatal("Take of a free address = false")
	}
	if got, _ := b.Offer("y", x, now); got != x {
		t.Fatalf("the second server offers %v; want the %v that it knows nothing of", got, x)
	}
	if b.Take("y", x, now, until) {
		t.Fatal("both servers leased one address")
	}
	y, ok := b.Offer("y", x, now)
	if !ok || y == x || !b.Take("y", y, now, until) {
		t.Errorf("after the refusal y was offered %v, %v; want another address", y, ok)
	}
	broken = true
	if !a.Take("x", x, now.Add(time.Minute), until) {
		t.Error("a renewal was refused because etcd does not answer")
	}
	later := until.Add(time.Minute)
	if a.Take("z", x, later, later.Add(time.Hour)) {
		t.Error("a new lease was granted although etcd does not answer")
	}
}
