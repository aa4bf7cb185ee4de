package server

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/dhcpd/leasestest"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/tier"
)

// Leases in the state are what the contract of leases asks for, whose etcd ever
// it is.
func TestLeaseStores(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		db, err := state.Start(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		leasestest.Run(t, rooms(func() *state.Store { return NewStore(db.Client(), "") }))
	})
	t.Run("shared", func(t *testing.T) {
		tier.Slow(t, "starts an etcd")
		client, err := foreignEtcd(t).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		leasestest.Run(t, rooms(func() *state.Store { return NewStore(client, "") }))
	})
}

// rooms gives each store of leases a part of the state of its own.
func rooms(open func() *state.Store) func(*testing.T) leasestest.Store {
	made := 0
	return func(*testing.T) leasestest.Store {
		made++
		server := func() *leases {
			s := open()
			s.Prefix = fmt.Sprintf("/leases/%d/", made)
			return &leases{store: s, log: slog.New(slog.DiscardHandler)}
		}
		one := server()
		return leasestest.Store{
			Servers: []dhcpd.Claims{one, server()}, Slack: state.AddressLease{}.Ends().Sub(state.AddressLease{}.Until),
			Held: func(t *testing.T) map[netip.Addr]dhcpd.Lease {
				all := map[netip.Addr]dhcpd.Lease{}
				if _, err := one.store.AddressLeases(t.Context(), func(a netip.Addr, l state.AddressLease) {
					all[a] = dhcpd.Lease{Client: string(l.Client), Until: l.Until, Trial: l.Trial}
				}); err != nil {
					t.Error(err)
				}
				return all
			},
		}
	}
}
