package netif

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/backoff"
)

// Handed is a link that was handed over, with its lease, to a system that
// will configure it in its own way.
type Handed struct {
	Index int // of the link: its name may change
	Lease Lease
}

// Handed gives the link away, with the lease as it is then. It waits until Keep
// has ended, which its caller sees to.
func (c *Conn) Handed() Handed {
	c.kept.Lock()
	defer c.kept.Unlock()
	return Handed{c.link.Attrs().Index, c.Lease}
}

const (
	tendEvery = 500 * time.Millisecond
	// tendGrace is how long a link may be down or without an address before
	// it gets the lease back: systems take it down for moments to set it up.
	tendGrace = 4 * time.Second
)

// Tend keeps the link usable until ctx is done. The system that has it may
// take it down, flush or change its addresses, make it a port of a bridge or a
// bond, whose address is what counts then; only where nobody gives it an
// address, when it is taken down for good while it is still needed, or when it
// leaves no route to any of the servers, does it get the lease again. moved is
// called whenever its addresses are others than before, as connections over the
// old ones are dead then.
func Tend(ctx context.Context, h Handed, servers []netip.Addr, moved func(), log *slog.Logger) {
	t := tended{Handed: h, servers: servers, moved: moved, log: log, since: time.Now()}
	for backoff.Sleep(ctx, tendEvery) == nil {
		t.look(time.Now())
	}
}

// tended is a link that Tend looks after.
type tended struct {
	Handed
	servers []netip.Addr
	moved   func()
	log     *slog.Logger

	last  string    // addresses
	since time.Time // when it was last seen usable, or got its lease again
}

// look tells of a change, and restores the lease where that is due.
func (t *tended) look(now time.Time) {
	link, addrs := t.state()
	if addrs != t.last {
		t.last = addrs
		t.log.Info("addresses changed", "now", addrs)
		t.moved()
	}
	if addrs != "" && routed(t.servers) || link == nil || link.Attrs().MasterIndex != 0 {
		t.since = now
		return
	}
	if now.Sub(t.since) < tendGrace {
		return
	}
	if err := t.restore(link); err != nil {
		t.log.Warn("the lease was not restored", "link", link.Attrs().Name, "error", err)
	} else {
		t.log.Info("the link has its lease again", "link", link.Attrs().Name)
	}
	t.since = now
}

// state returns the link, nil for a moment in which it is not there, and the
// addresses that it or what it is a port of has, none while it is down.
func (h Handed) state() (link netlink.Link, addrs string) {
	link, err := netlink.LinkByIndex(h.Index)
	if err != nil {
		return nil, ""
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		return link, ""
	}
	bearer := link
	if master := link.Attrs().MasterIndex; master != 0 {
		if bearer, err = netlink.LinkByIndex(master); err != nil {
			return nil, ""
		}
	}
	list, err := netlink.AddrList(bearer, unix.AF_INET)
	if err != nil {
		return nil, ""
	}
	for _, a := range list {
		addrs += a.IPNet.String() + " "
	}
	return link, addrs
}

// routed reports whether there is a way to one of the servers, as far as the
// kernel's routes tell: without an address of a server they tell nothing.
func routed(servers []netip.Addr) bool {
	for _, a := range servers {
		if _, err := netlink.RouteGet(a.AsSlice()); !errors.Is(err, unix.ENETUNREACH) {
			return true
		}
	}
	return len(servers) == 0
}

func (h Handed) restore(link netlink.Link) error {
	if err := netlink.LinkSetUp(link); err != nil {
		return err
	}
	return apply(link, h.Lease)
}
