// Package segment answers DHCP on the network segment of one interface,
// whatever becomes of that interface or of who else leases addresses there.
package segment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/link"
)

// ErrMoved ends a segment whose interface has another address now: everything that names the old one begins anew.
var ErrMoved = errors.New("the server's address has changed")

// Alarms is where is told what is wrong, by the kinds of api.
type Alarms interface {
	Raise(kind, text string)
	Clear(kind string)
}

// Segment is one interface and how requests from it are answered. Its fields must not change while it is used.
type Segment struct {
	Config dhcpd.Config // Mode is what it begins with; Off: only the interface is followed
	// Auto lets it choose: it begins to lease when nobody else does, and gives way when somebody does.
	Auto bool
	Pool *dhcpd.Pool // nil: it never leases
	// Peers are servers of the same cluster, which may lease too; nil: there are none.
	Peers func(context.Context) []netip.Addr
	// Move says why the server cannot continue at another address of the interface; nil: it is to stay at its own.
	Move   func(netip.Prefix) error
	Events func(dhcpd.Event) // nil: none; called from several goroutines, must not block
	Alarms Alarms
	Log    *slog.Logger // must be set

	mode   atomic.Int32 // a dhcpd.Mode
	silent atomic.Bool  // the server's address is not there
	now    atomic.Pointer[link.State]
	arp    atomic.Pointer[dhcpd.Neighbours] // nil: nobody can be asked for addresses just now
	heard  chan dhcpd.OtherServer
	asked  chan struct{} // a client looks for a server
	odd    chan struct{} // a client of a kind that cannot be booted asks
	poke   chan struct{} // ask for other servers at once
}

const (
	// moveAfter is how long an address must be away, so that one that is set again is not taken for another one.
	moveAfter = 2 * time.Second
	// openAgain is the wait before sockets that failed are opened again.
	openAgain = 2 * time.Second
	// carrierWithin is how long a link may be down before that is an alarm: cards take it down when they are set up.
	carrierWithin = 5 * time.Second
	// elsewhereAfter is how long a cable must have been out to lead to another network now.
	elsewhereAfter = 10 * time.Second
	// decideWithin is how long other servers have to answer a client, and this server's own question, before it leases.
	decideWithin = 6 * time.Second
	// forgetAfter is how long another server is remembered that is heard no more, oddAfter a client that cannot be booted.
	forgetAfter = time.Minute
	oddAfter    = 10 * time.Minute
)

// Open opens the sockets, so that what cannot be opened is known before anything runs. The caller calls Run or Close.
func (s *Segment) Open(ctx context.Context) (*Sockets, error) {
	s.heard, s.poke = make(chan dhcpd.OtherServer, 16), make(chan struct{}, 1)
	s.asked, s.odd = make(chan struct{}, 1), make(chan struct{}, 1)
	s.mode.Store(int32(s.Config.Mode))
	s.look(link.Look(s.Config.Interface))
	if s.Pool != nil {
		s.Pool.Barred = s.barred
		for _, scope := range s.Config.Scopes {
			scope.Leases.Barred = func(a netip.Addr) string { return cmp.Or(scope.Barred(a), s.barred(a)) }
		}
	}
	return s.open(ctx)
}

// barred keeps the addresses of this very host from being leased, also those that it got since it was started.
func (s *Segment) barred(a netip.Addr) string {
	if why := s.Config.Barred(a); why != "" {
		return why
	}
	for _, own := range s.now.Load().Host {
		if a == own {
			return "this server's own"
		}
	}
	return ""
}

func (s *Segment) look(st link.State) { s.now.Store(&st) }

// Mode is what is answered just now.
func (s *Segment) Mode() dhcpd.Mode {
	if s.silent.Load() {
		return dhcpd.Off
	}
	return dhcpd.Mode(s.mode.Load())
}

// event passes an event on, and notes that a client looks for a server.
func (s *Segment) event(e dhcpd.Event) {
	if e.InfiniBand {
		poke(s.odd)
	} else if e.Asked == dhcpv4.MessageTypeDiscover {
		poke(s.asked)
	}
	if s.Events != nil {
		s.Events(e)
	}
}

// poke says by a channel of one place that something was.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Run answers until ctx ends, and closes the sockets. It returns [ErrMoved] when it cannot continue at its address and can
// at another one.
func (s *Segment) Run(ctx context.Context, first *Sockets) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := &follower{Segment: s, sockets: first, others: map[netip.Addr]time.Time{}}
	defer f.stop()
	states := make(chan link.State, 1)
	followed := make(chan error, 1)
	go func() { followed <- link.Follow(ctx, s.Config.Interface, func(st link.State) { latest(states, st) }) }()
	defer func() {
		cancel()
		<-followed
	}()
	f.start(ctx)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-f.failed:
			f.lost(err)
		case st := <-states:
			f.changed(ctx, st)
		case o := <-s.heard:
			f.other(ctx, o)
		case <-s.asked:
			f.client()
		case <-s.odd:
			f.infiniBand(time.Now())
		case <-tick.C:
		}
		if err := f.due(ctx, time.Now()); err != nil {
			return err
		}
	}
}

// latest puts a state into a channel of one place, over the one that nobody has read.
func latest(states chan link.State, st link.State) {
	for {
		select {
		case states <- st:
			return
		default:
		}
		select {
		case <-states:
		default:
		}
	}
}

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

// infiniBand notes that a machine asks by an InfiniBand card. It shows no address that a record could be of.
func (f *follower) infiniBand(now time.Time) {
	f.strange = now
	f.Alarms.Raise(api.AlarmInfiniBand, fmt.Sprintf("a machine asks for an address on %s by an InfiniBand card, which gild does not answer: its firmware shows no address that a machine is known by. Have it boot from an Ethernet port, or take the card out of its boot order; what it asked with is in the log", f.Config.Interface))
}

// client notes that a client looks for a server while it is not known yet whether there is one. That it was heard
// shows that the network lets frames through, which a switch may not do for a minute after its start: only the silence
// that follows says anything.
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
		f.Alarms.Raise(api.AlarmOtherDHCP, fmt.Sprintf("DHCP server %v has begun to lease addresses on %s: gild leases none any more and adds boot files to its leases (proxy); if it should not be there, stop it and restart gild serve", o.Addr, iface))
	case mode == dhcpd.Full && !known:
		f.Alarms.Raise(api.AlarmOtherDHCP, fmt.Sprintf("DHCP server %v leases addresses on %s too, and each may give out what the other has: stop one, or serve with --dhcp proxy", o.Addr, iface))
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

// leave ends the segment when the server can continue at another address, and else says what is wrong.
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
	f.Alarms.Raise(api.AlarmAddress, fmt.Sprintf("%s has not the address %v any more (it has: %v), to which machines are sent: %s", f.Config.Interface, f.Config.ServerIP, st, why))
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
