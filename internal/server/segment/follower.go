package segment

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/link"
)

// follower is what Run knows; only its goroutine touches it.
type follower struct {
	*Segment
	sockets *Sockets // nil: none are open
	cancel  context.CancelFunc
	failed  chan error // of the sockets that are open

	reopen  time.Time // when to open sockets again; zero: not
	move    time.Time // when to leave the address that is gone; zero: it is there
	down    time.Time // since when the link is down; zero: it is up
	decide  time.Time // when to lease unless another server answers; zero: nobody has asked
	others  map[netip.Addr]time.Time
	strange time.Time // when a client that cannot be booted asked last; zero: none did
}

// changed follows the interface.
func (f *follower) changed(ctx context.Context, st link.State) {
	before := f.now.Load()
	f.look(st)
	iface, now := f.Config.Interface, time.Now()
	if f.sockets != nil && f.sockets.index != st.Index {
		f.stop()
		f.Log.Warn("the boot interface was made anew: DHCP begins again", "interface", iface)
	}
	switch {
	case st.Index == 0:
		f.reopen = time.Time{}
		f.Alarms.Raise(api.AlarmInterface, fmt.Sprintf("network interface %s is gone: no machine is heard until it is back", iface))
	case f.sockets == nil:
		f.reopen = now
	}
	if st.Index != 0 && st.Carrier {
		f.up(now)
	} else if f.down.IsZero() {
		f.down = now
	}
	if has := st.Has(f.Config.ServerIP); has {
		if f.silent.Swap(false) {
			f.Alarms.Clear(api.AlarmAddress)
		}
		f.move = time.Time{}
	} else if !f.silent.Swap(true) || !before.Equal(st) {
		f.move = now.Add(moveAfter)
	}
}

// up notes that the link has a carrier.
func (f *follower) up(now time.Time) {
	f.Alarms.Clear(api.AlarmInterface)
	if f.down.IsZero() {
		return
	}
	away := now.Sub(f.down)
	f.down = time.Time{}
	if f.Auto && away >= elsewhereAfter && f.become(dhcpd.Full, dhcpd.Listening) {
		f.Log.Info("the cable was out: listening for other DHCP servers before anything is leased", "interface", f.Config.Interface)
	}
	f.ask()
}

// become changes the mode, if it is the one that it is thought to be.
func (f *follower) become(from, to dhcpd.Mode) bool {
	if !f.mode.CompareAndSwap(int32(from), int32(to)) {
		return false
	}
	f.decide = time.Time{}
	return true
}

// ask has the watch ask for other servers now.
func (f *follower) ask() { poke(f.poke) }

// infiniBand notes that a machine asks by an InfiniBand card. It shows no
// address that a record could be of.
func (f *follower) infiniBand(now time.Time) {
	f.strange = now
	f.Alarms.Raise(api.AlarmInfiniBand,
		fmt.Sprintf("a machine asks for an address on %s by an InfiniBand card, which gild does not answer: its firmware shows no "+
			"address that a machine is known by. Have it boot from an Ethernet port, or take the card out of its boot order; what it asked "+
			"with is in the log", f.Config.Interface))
}

// client notes that a client looks for a server while it is not known yet
// whether there is one. That it was heard shows that the network lets frames
// through, which a switch may not do for a minute after its start: only the
// silence that follows says anything.
func (f *follower) client() {
	if f.mode.Load() == int32(dhcpd.Listening) && f.decide.IsZero() {
		f.decide = time.Now().Add(decideWithin)
		f.ask()
	}
}

// other notes that another server leases addresses.
func (f *follower) other(ctx context.Context, o dhcpd.OtherServer) {
	if f.now.Load().Has(o.Addr) || o.Addr == f.Config.ServerIP || f.peer(ctx, o.Addr) {
		return
	}
	_, known := f.others[o.Addr]
	if !known && len(f.others) >= 16 {
		return // each of them is one too many
	}
	f.others[o.Addr] = time.Now()
	iface := f.Config.Interface
	switch mode := dhcpd.Mode(f.mode.Load()); {
	case f.Auto && f.become(dhcpd.Listening, dhcpd.Proxy):
		f.Log.Info(fmt.Sprintf("DHCP server %v answers on %s: adding boot files to its leases (proxy)", o.Addr, iface))
	case f.Auto && f.become(dhcpd.Full, dhcpd.Proxy):
		f.Alarms.Raise(api.AlarmOtherDHCP,
			fmt.Sprintf("DHCP server %v has begun to lease addresses on %s: gild leases none any more and adds boot files to its leases "+
				"(proxy); if it should not be there, stop it and restart gild serve", o.Addr, iface))
	case mode == dhcpd.Full && !known:
		f.Alarms.Raise(api.AlarmOtherDHCP,
			fmt.Sprintf("DHCP server %v leases addresses on %s too, and each may give out what the other has: stop one, or serve with --dhcp proxy",
				o.Addr, iface))
	}
}

func (f *follower) peer(ctx context.Context, a netip.Addr) bool {
	if f.Peers == nil {
		return false
	}
	for _, p := range f.Peers(ctx) {
		if p == a {
			return true
		}
	}
	return false
}

// due does what its time has come for.
func (f *follower) due(ctx context.Context, now time.Time) error {
	past := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	if past(f.reopen) {
		f.again(ctx, now)
	}
	if !f.down.IsZero() && now.Sub(f.down) >= carrierWithin && f.now.Load().Index != 0 {
		f.Alarms.Raise(api.AlarmInterface, fmt.Sprintf("network interface %s has no carrier: look at cable and switch port", f.Config.Interface))
	}
	if past(f.decide) && f.down.IsZero() && f.become(dhcpd.Listening, dhcpd.Full) {
		f.Log.Info(fmt.Sprintf("no DHCP server answers on %s: leasing addresses (server)", f.Config.Interface))
	}
	for a, at := range f.others {
		if now.Sub(at) < forgetAfter {
			continue
		}
		if delete(f.others, a); len(f.others) == 0 && f.mode.Load() == int32(dhcpd.Full) {
			f.Alarms.Clear(api.AlarmOtherDHCP)
		}
	}
	if !f.strange.IsZero() && now.Sub(f.strange) >= oddAfter {
		f.strange = time.Time{}
		f.Alarms.Clear(api.AlarmInfiniBand)
	}
	if past(f.move) {
		return f.leave()
	}
	return nil
}

// leave ends the segment when the server can continue at another address, and
// else says what is wrong.
func (f *follower) leave() error {
	f.move = time.Time{}
	st := f.now.Load()
	why := "give it back, or restart gild serve"
	if next, ok := st.Address(); ok && f.Move != nil && !next.Addr().IsLinkLocalUnicast() {
		err := f.Move(next)
		if err == nil {
			f.Log.Warn("the server's address has changed: beginning anew", "interface", f.Config.Interface, "old", f.Config.ServerIP, "new", next)
			return ErrMoved
		}
		why = err.Error()
	}
	f.Alarms.Raise(api.AlarmAddress, fmt.Sprintf("%s has not the address %v any more (it has: %v), to which machines are sent: %s",
		f.Config.Interface, f.Config.ServerIP, st, why))
	return nil
}

// lost closes sockets that have failed.
func (f *follower) lost(err error) {
	f.cancel()
	f.sockets, f.failed = nil, nil // they are closed already
	f.reopen = time.Now().Add(openAgain)
	if err != nil {
		f.Alarms.Raise(api.AlarmDHCP, fmt.Sprintf("DHCP on %s is not heard: %v; it is tried again", f.Config.Interface, err))
	}
}

// again opens the sockets of an interface that is there again.
func (f *follower) again(ctx context.Context, now time.Time) {
	f.reopen = time.Time{}
	sockets, err := f.open(ctx)
	if err != nil {
		f.reopen = now.Add(openAgain)
		f.Alarms.Raise(api.AlarmDHCP, fmt.Sprintf("DHCP on %s is not heard: %v; it is tried again", f.Config.Interface, err))
		return
	}
	f.sockets = sockets
	f.start(ctx)
	f.Alarms.Clear(api.AlarmDHCP)
	f.Log.Info("DHCP is heard again", "interface", f.Config.Interface, "mode", cmp.Or(f.Mode(), dhcpd.Off))
}

// start serves on the open sockets.
func (f *follower) start(ctx context.Context) {
	ctx, f.cancel = context.WithCancel(ctx)
	failed := make(chan error, 1)
	f.failed = failed
	sockets := f.sockets
	go func() { failed <- f.serve(ctx, sockets) }()
}

// stop ends what start began.
func (f *follower) stop() {
	if f.sockets == nil {
		return
	}
	f.cancel()
	if f.failed != nil {
		<-f.failed
	}
	f.sockets, f.failed = nil, nil
}
