package storetest

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/addresses"
)

func testClaim(t *testing.T, s *state.Store) {
	a, now := netip.MustParseAddr("10.1.2.3"), time.Unix(1e9, 0).UTC()
	other := second(s)
	seen := make(chan addresses.Lease, 16)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rev, err := addresses.All(ctx, other.Space, func(netip.Addr, addresses.Lease) {})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = addresses.Watch(ctx, other.Space, rev, func(at netip.Addr, l addresses.Lease) {
			if at == a {
				seen <- l
			}
		})
	}()
	claim := func(s *state.Store, client string, now time.Time, holder string) {
		t.Helper()
		l := addresses.Lease{Client: []byte(client), Until: now.Add(time.Hour)}
		got, held, err := addresses.Claim(t.Context(), s.Space, a, l, now)
		if string(got.Client) != holder || held != (holder != "") || err != nil {
			t.Errorf("ClaimAddress(%q) = %v, %v, %v; want held by %q", client, got, held, err, holder)
		}
		if !held {
			if s := <-seen; string(s.Client) != client || !s.Until.Equal(l.Until) {
				t.Errorf("the watch tells of %v; want %v", s, l)
			}
		}
	}
	const one, two = "mac:\xff\x00", "mac:\xff\x01"
	slack := addresses.Lease{}.Ends().Sub(time.Time{})
	later := now.Add(time.Hour + 2*slack)
	claim(s, one, now, "")
	claim(other, two, now, one)
	claim(other, one, now, "")
	claim(other, two, later, "")
	claim(s, one, later, two)
	if err := addresses.Release(ctx, s.Space, a, []byte(one)); err != nil {
		t.Error(err)
	}
	claim(s, one, later, two) // the release of another client's lease is ignored
	if err := addresses.Release(ctx, s.Space, a, []byte(two)); err != nil {
		t.Error(err)
	}
	if l := <-seen; len(l.Client) > 0 {
		t.Errorf("the watch tells of %v; want the end of the lease", l)
	}
	claim(s, one, later, "")
	var all []addresses.Lease
	if _, err := addresses.All(ctx, other.Space, func(_ netip.Addr, l addresses.Lease) { all = append(all, l) }); err != nil || len(all) != 1 {
		t.Errorf("AddressLeases = %v, %v; want the one", all, err)
	}
}
