package state

import (
	"net/netip"
	"testing"
	"time"
)

func testClaim(t *testing.T, s *Store) {
	a, now := netip.MustParseAddr("10.1.2.3"), time.Unix(1e9, 0)
	until := now.Add(time.Hour)
	other := second(s)
	claim := func(s *Store, client string, now time.Time, want time.Time) {
		t.Helper()
		got, err := s.ClaimAddress(t.Context(), a, client, now, now.Add(time.Hour))
		if !got.Equal(want) || err != nil {
			t.Errorf("ClaimAddress(%q) = %v, %v; want %v", client, got, err, want)
		}
	}
	claim(s, "mac:\xff\x00", now, time.Time{})
	claim(other, "mac:\xff\x01", now, until.Add(clockSlack))
	claim(other, "mac:\xff\x00", now, time.Time{})
	claim(other, "mac:\xff\x01", until.Add(2*clockSlack), time.Time{})
	claim(s, "mac:\xff\x00", until.Add(2*clockSlack), until.Add(2*clockSlack).Add(time.Hour).Add(clockSlack))
}
