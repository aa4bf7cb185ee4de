// Package segment answers DHCP on the network segment of one interface,
// whatever becomes of that interface or of who else leases addresses there.
package segment

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/link"
)

// ErrMoved ends a segment whose interface has another address now: everything
// that names the old one begins anew.
var ErrMoved = errors.New("the server's address has changed")

// Alarms is where is told what is wrong, by the kinds of api.
type Alarms interface {
	Raise(kind, text string)
	Clear(kind string)
}

// Segment is one interface and how requests from it are answered. Its fields
// must not change while it is used.
type Segment struct {
	Config dhcpd.Config // Mode is what it begins with; Off: only the interface is followed
	// Auto lets it choose: it begins to lease when nobody else does, and gives way
	// when somebody does.
	Auto bool
	Pool *dhcpd.Pool // nil: it never leases
	// Peers are servers of the same cluster, which may lease too; nil: there are
	// none.
	Peers func(context.Context) []netip.Addr
	// Move says why the server cannot continue at another address of the interface;
	// nil: it is to stay at its own.
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
	// moveAfter is how long an address must be away, so that one that is set again
	// is not taken for another one.
	moveAfter = 2 * time.Second
	// openAgain is the wait before sockets that failed are opened again.
	openAgain = 2 * time.Second
	// carrierWithin is how long a link may be down before that is an alarm: cards
	// take it down when they are set up.
	carrierWithin = 5 * time.Second
	// elsewhereAfter is how long a cable must have been out to lead to another
	// network now.
	elsewhereAfter = 10 * time.Second
	// decideWithin is how long other servers have to answer a client, and this
	// server's own question, before it leases.
	decideWithin = 6 * time.Second
	// forgetAfter is how long another server is remembered that is heard no more,
	// oddAfter a client that cannot be booted.
	forgetAfter = time.Minute
	oddAfter    = 10 * time.Minute
)

// Open opens the sockets, so that what cannot be opened is known before
// anything runs. The caller calls Run or Close.
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

// barred keeps the addresses of this very host from being leased, also those
// that it got since it was started.
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

// Run answers until ctx ends, and closes the sockets. It returns [ErrMoved]
// when it cannot continue at its address and can at another one.
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

// latest puts a state into a channel of one place, over the one that nobody has
// read.
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
