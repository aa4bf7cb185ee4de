package state

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

func testClaim(t *testing.T, s *Store) {
	a, now := netip.MustParseAddr("10.1.2.3"), time.Unix(1e9, 0).UTC()
	other := second(s)
	seen := make(chan AddressLease, 16)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	rev, err := other.AddressLeases(ctx, func(netip.Addr, AddressLease) {})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = other.WatchAddressLeases(ctx, rev, func(at netip.Addr, l AddressLease) {
			if at == a {
				seen <- l
			}
		})
	}()
	claim := func(s *Store, client string, now time.Time, holder string) {
		t.Helper()
		l := AddressLease{Client: []byte(client), Until: now.Add(time.Hour)}
		got, held, err := s.ClaimAddress(t.Context(), a, l, now)
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
	later := now.Add(time.Hour + 2*clockSlack)
	claim(s, one, now, "")
	claim(other, two, now, one)
	claim(other, one, now, "")
	claim(other, two, later, "")
	claim(s, one, later, two)
	if err := s.ReleaseAddress(ctx, a, []byte(one)); err != nil {
		t.Error(err)
	}
	claim(s, one, later, two) // the release of another client's lease is ignored
	if err := s.ReleaseAddress(ctx, a, []byte(two)); err != nil {
		t.Error(err)
	}
	if l := <-seen; len(l.Client) > 0 {
		t.Errorf("the watch tells of %v; want the end of the lease", l)
	}
	claim(s, one, later, "")
	var all []AddressLease
	if _, err := other.AddressLeases(ctx, func(_ netip.Addr, l AddressLease) { all = append(all, l) }); err != nil || len(all) != 1 {
		t.Errorf("AddressLeases = %v, %v; want the one", all, err)
	}
}
