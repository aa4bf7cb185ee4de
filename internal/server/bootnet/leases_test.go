package bootnet

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/dhcpd/leasestest"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/addresses"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/server/state/etcdtest"
	"github.com/gild-dev/gild/internal/tier"
)

// Leases in the state are what the contract of leases asks for, whose etcd ever
// it is.
func TestLeaseStores(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		db, err := etcd.Start(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		leasestest.Run(t, rooms(func() *state.Store { return machines.NewStore(db.Client(), "") }))
	})
	t.Run("shared", func(t *testing.T) {
		tier.Slow(t, "starts an etcd")
		client, err := (&etcd.Cluster{Endpoints: etcdtest.Endpoints(etcdtest.Start(t, 1))}).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		leasestest.Run(t, rooms(func() *state.Store { return machines.NewStore(client, "") }))
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
			Servers: []dhcpd.Claims{one, server()}, Slack: addresses.Lease{}.Ends().Sub(addresses.Lease{}.Until),
			Held: func(t *testing.T) map[netip.Addr]dhcpd.Lease {
				all := map[netip.Addr]dhcpd.Lease{}
				if _, err := addresses.All(t.Context(), one.store.Space, func(a netip.Addr, l addresses.Lease) {
					all[a] = dhcpd.Lease{Client: string(l.Client), Until: l.Until, Trial: l.Trial}
				}); err != nil {
					t.Error(err)
				}
				return all
			},
		}
	}
}

// What a server has leased, its successor knows, and another one learns.
func TestLeasesAreInTheState(t *testing.T) {
	db, err := etcd.Start(t.Context(), t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	first, last := netip.MustParseAddr("10.0.0.10"), netip.MustParseAddr("10.0.0.11")
	server := func() *leases {
		l := &leases{store: machines.NewStore(db.Client(), ""), log: slog.New(slog.DiscardHandler)}
		l.pool(first, last, nil).Registry = nil // everybody is as good as registered
		if err := l.load(t.Context()); err != nil {
			t.Fatal(err)
		}
		return l
	}
	now := time.Now()
	one, other := server(), server()
	go other.follow(t.Context())
	if _, err := one.pools[0].Take("holder", first, now, time.Hour); err != nil {
		t.Fatal(err)
	}
	successor := server()
	for name, l := range map[string]*leases{"its successor": successor, "the other server": other} {
		if _, err := l.pools[0].Take("newcomer", first, now, time.Hour); err == nil {
			t.Errorf("%s leases what the holder has", name)
		}
		if a, err := l.pools[0].Offer("newcomer", first, now); err != nil || a == first {
			t.Errorf("%s offers a newcomer %v, %v; want the other address", name, a, err)
		}
		if _, err := l.pools[0].Take("holder", first, now, time.Hour); err != nil {
			t.Errorf("%s refuses the holder: %v", name, err)
		}
	}
	one.pools[0].Release("holder", first)
	if _, err := server().pools[0].Take("newcomer", first, now, time.Hour); err != nil {
		t.Errorf("what was released is not free: %v", err)
	}
}
