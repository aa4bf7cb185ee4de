package dhcpd_test

import (
	"net/netip"
	"testing"

	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/dhcpd/leasestest"
)

// The model that the tests of pools use is held to what the real stores are.
func TestSharedClaims(t *testing.T) {
	leasestest.Run(t, func(*testing.T) leasestest.Store {
		s := dhcpd.NewShared()
		return leasestest.Store{
			Servers: []dhcpd.Claims{s, s},
			Held:    func(*testing.T) map[netip.Addr]dhcpd.Lease { return s.Held() },
		}
	})
}
