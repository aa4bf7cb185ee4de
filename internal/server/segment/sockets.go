package segment

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/ndp"
)

// Sockets are open on one interface: on the one with this number, also when its
// name is another one's by now.
type Sockets struct {
	index     int
	dhcp, pxe net.PacketConn    // nil when DHCP is off
	ndp       net.PacketConn    // nil where there is no IPv6
	arp       *dhcpd.Neighbours // nil where nobody can be asked for addresses
}

// Close closes sockets that Run was not called with.
func (s *Sockets) Close() error {
	var errs []error
	for _, c := range []net.PacketConn{s.dhcp, s.pxe, s.ndp} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	if s.arp != nil {
		errs = append(errs, s.arp.Close())
	}
	return errors.Join(errs...)
}

func (s *Segment) open(ctx context.Context) (_ *Sockets, err error) {
	o := &Sockets{index: s.now.Load().Index}
	if s.Config.Mode == dhcpd.Off {
		s.openARP(o)
		return o, nil
	}
	iface := s.Config.Interface
	if o.dhcp, o.pxe, err = dhcpd.Listen(ctx, iface); err != nil {
		return nil, err
	}
	if o.ndp, err = ndp.Listen(ctx, iface); err != nil {
		o.ndp = nil
		s.Log.Debug("iPXE will wait for an IPv6 router", "err", err)
	}
	s.openARP(o)
	return o, nil
}

func (s *Segment) openARP(o *Sockets) {
	var err error
	if o.arp, err = dhcpd.ListenARP(s.Config.Interface); err == nil {
		return
	}
	o.arp = nil
	if s.Pool != nil {
		s.Log.Warn("addresses are leased without a look whether somebody uses them", "err", err)
	}
}

// Who has an address on the link; nil: nobody says so.
func (s *Segment) Who(a netip.Addr) net.HardwareAddr {
	arp := s.arp.Load()
	if arp == nil {
		return nil
	}
	by, err := arp.Used(a, time.Now())
	if err != nil {
		return nil
	}
	return by
}

// serve answers on sockets until ctx ends, and closes them. An error is of the
// sockets for DHCP: the others are a help.
func (s *Segment) serve(ctx context.Context, o *Sockets) error {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	if o.arp != nil {
		s.arp.Store(o.arp)
		defer s.arp.CompareAndSwap(o.arp, nil)
		beside.Go(func() {
			if err := o.arp.Serve(ctx); err != nil {
				s.Log.Warn("addresses are leased without a look whether somebody uses them", "err", err)
			}
		})
	}
	if o.dhcp == nil {
		<-ctx.Done()
		return nil
	}
	v6 := &ndp.Server{Log: s.Log}
	server := &dhcpd.Server{
		Responder: dhcpd.Responder{Config: s.Config, Leases: s.Pool},
		Mode:      s.Mode, Log: s.Log,
		Events: func(e dhcpd.Event) {
			if e.Client == dhcpd.IPXE {
				v6.Expect(e.MAC, time.Now())
			}
			s.event(e)
		},
	}
	if o.arp != nil {
		server.Used = o.arp.Used
	}
	if o.ndp != nil {
		beside.Go(func() {
			if err := v6.Serve(ctx, o.ndp); err != nil {
				s.Log.Warn("iPXE will wait for an IPv6 router", "err", err)
			}
		})
	}
	beside.Go(func() { s.watch(ctx) })
	return server.Serve(ctx, o.dhcp, o.pxe)
}

// watch listens for other servers that lease addresses.
func (s *Segment) watch(ctx context.Context) {
	err := dhcpd.Watch(ctx, s.Config.Interface, dhcpd.Questions{Now: s.poke, Due: s.watching}, func(o dhcpd.OtherServer) {
		select {
		case s.heard <- o:
		case <-ctx.Done():
		}
	})
	if err != nil && ctx.Err() == nil {
		s.Log.Warn("another DHCP server would not be noticed", "err", err)
	}
}

// watching says whether to ask for other servers: while their silence lets this
// one lease.
func (s *Segment) watching() bool {
	switch s.Mode() {
	case dhcpd.Full, dhcpd.Listening:
		return true
	}
	return false
}
