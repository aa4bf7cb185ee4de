package bootnet

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/gild-dev/gild/internal/server/cards"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/addresses"
)

// leases keeps the addresses that DHCP has leased in the state, where every
// server of the cluster sees them and this one finds them after a restart.
type leases struct {
	store    *state.Store
	pools    []*dhcpd.Pool // one for each network
	cards    *cards.Cards  // is told, too; nil: nobody is
	log      *slog.Logger
	revision int64 // up to which the pools have learnt
}

// pool makes one for the range of a network.
func (l *leases) pool(first, last netip.Addr, of dhcpd.Registry) *dhcpd.Pool {
	p := dhcpd.NewPool(first, last)
	p.Claims, p.Registry = l, of
	l.pools = append(l.pools, p)
	return p
}

// learn tells the pools of a lease; it is of one of them.
func (l *leases) learn(a netip.Addr, lease addresses.Lease) {
	known := dhcpd.Lease{Client: string(lease.Client), Trial: lease.Trial}
	if known.Client != "" {
		known.Until = lease.Ends()
	}
	for _, p := range l.pools {
		p.Learn(a, known)
	}
	l.bind(a, string(lease.Client), lease.Until)
}

func (l *leases) load(ctx context.Context) (err error) {
	l.revision, err = addresses.All(ctx, l.store.Space, l.learn)
	return err
}

// leasesAgain is the wait after the store was lost.
const leasesAgain = time.Second

// follow learns what other servers lease until ctx ends.
func (l *leases) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := addresses.Watch(ctx, l.store.Space, l.revision, l.learn)
		if ctx.Err() != nil {
			return
		}
		l.log.Warn("following the leases of other servers: beginning anew", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(leasesAgain):
		}
		// What has ended meanwhile stays with its client until its time, which
		// wastes an address for a while and gives none away twice.
		if err := l.load(ctx); err != nil && ctx.Err() == nil {
			l.log.Warn("reading the leases", "err", err)
		}
	}
}

// Claim implements dhcpd.Claims.
func (l *leases) Claim(a netip.Addr, lease dhcpd.Lease, now time.Time) (dhcpd.Lease, bool, error) {
	holder, held, err := addresses.Claim(context.Background(), l.store.Space, a,
		addresses.Lease{Client: []byte(lease.Client), Until: lease.Until, Trial: lease.Trial}, now)
	if err != nil {
		return dhcpd.Lease{}, false, err
	}
	if held {
		return dhcpd.Lease{Client: string(holder.Client), Until: holder.Ends(), Trial: holder.Trial}, false, nil
	}
	l.bind(a, lease.Client, lease.Until)
	return lease, true, nil
}

// bind tells whose card has an address.
func (l *leases) bind(a netip.Addr, client string, until time.Time) {
	if l.cards != nil {
		l.cards.Leased(client, a, until)
	}
}

// Release implements dhcpd.Claims.
func (l *leases) Release(a netip.Addr, client string) {
	l.bind(a, "", time.Time{})
	if err := addresses.Release(context.Background(), l.store.Space, a, []byte(client)); err != nil {
		l.log.Warn("an address stays leased until its time, although it is free", "address", a, "err", err)
	}
}
