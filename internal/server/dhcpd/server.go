package dhcpd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// Server answers DHCP on one interface.
type Server struct {
	Responder
	Mode   func() Mode  // what is answered just now; nil: always Config.Mode
	Events func(Event)  // nil: none; called from several goroutines, must not block
	Log    *slog.Logger // nil: discarded
}

// maxAtOnce bounds the requests under way: one may wait for a neighbour's
// answer or for a disk. What comes beyond is dropped, and asks again.
const maxAtOnce = 4096

// Listen opens the two sockets that [Server.Serve] answers on, ports 67 and
// 4011 of an interface. The caller closes them if it does not call Serve.
func Listen(ctx context.Context, iface string) (dhcp, pxe net.PacketConn, err error) {
	if dhcp, err = listen(ctx, iface, portDHCP); err != nil {
		return nil, nil, err
	}
	if pxe, err = listen(ctx, iface, portPXE); err != nil {
		dhcp.Close()
		return nil, nil, err
	}
	return dhcp, pxe, nil
}

// listen binds to one interface, so that machines on other ones get no answer.
// It does not share the port: two servers answering from one host are a fault
// that should be seen at once.
func listen(ctx context.Context, iface string, port int) (net.PacketConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var inner error
		if err := c.Control(func(fd uintptr) { inner = unix.BindToDevice(int(fd), iface) }); err != nil {
			return err
		}
		return inner
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", fmt.Sprintf("0.0.0.0:%d", port))
	hint := ""
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		hint = ": stop the other DHCP server on this host (dnsmasq, isc-dhcp-server, kea)"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		hint = ": run as root or with CAP_NET_BIND_SERVICE and CAP_NET_RAW"
	case errors.Is(err, syscall.ENODEV):
		hint = ": there is no such interface"
	}
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w%s", iface, err, hint)
	}
	if u, ok := conn.(*net.UDPConn); ok {
		// A herd of machines asks in the same second; the kernel's limit may keep it
		// lower.
		_ = u.SetReadBuffer(1 << 20)
	}
	return conn, nil
}

// Serve answers on two sockets, that of port 67 and that of port 4011, until
// ctx ends, and closes them. Any return but nil is a failure of a socket.
// Config must be valid. In Full mode without Leases it keeps them in memory.
func (s *Server) Serve(ctx context.Context, dhcp, pxe net.PacketConn) error {
	if s.Leases == nil && s.Config.Mode == Full {
		s.Leases = NewPool(s.Config.First, s.Config.Last)
		s.Leases.Barred = s.Config.Barred
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { dhcp.Close(); pxe.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, maxAtOnce)
	failed := make(chan error, 2)
	go func() { failed <- s.loop(ctx, dhcp, portDHCP, slots, &all) }()
	go func() { failed <- s.loop(ctx, pxe, portPXE, slots, &all) }()
	err := <-failed
	cancel()
	dhcp.Close()
	pxe.Close()
	<-failed // what comes after the first failure follows from it
	return err
}

func (s *Server) loop(ctx context.Context, conn net.PacketConn, port int, slots chan struct{}, all *sync.WaitGroup) error {
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // closed because it was to end
		}
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		u, ok := from.(*net.UDPAddr)
		if !ok || n == len(buf) {
			continue // a datagram that fills the buffer was cut; no DHCP message is that long
		}
		select {
		case slots <- struct{}{}:
		default:
			continue
		}
		b := bytes.Clone(buf[:n])
		all.Go(func() {
			defer func() { <-slots }()
			s.handle(conn, b, u.AddrPort(), port)
		})
	}
}

func (s *Server) handle(conn net.PacketConn, b []byte, from netip.AddrPort, port int) {
	req, err := dhcpv4.FromBytes(b)
	if err != nil {
		s.log().Debug("DHCP packet dropped", "from", from, "err", err)
		return
	}
	r := s.Responder
	if s.Mode != nil {
		r.Config.Mode = s.Mode()
	}
	reply, ev := r.Reply(req, port)
	if reply != nil {
		to := s.Config.destination(reply, from, port)
		if _, err := conn.WriteTo(reply.ToBytes(), net.UDPAddrFromAddrPort(to)); err != nil {
			ev.Why = fmt.Sprintf("answer not sent: %v", err)
			ev.Answer = dhcpv4.MessageTypeNone
		}
	}
	level := slog.LevelInfo
	if ev.Client == System && ev.Answer == dhcpv4.MessageTypeNone {
		level = slog.LevelDebug
	}
	s.log().Log(context.Background(), level, "DHCP", "asked", ev.Asked, "answer", ev.Answer, "mac", ev.MAC.String(), "uuid", ev.UUID,
		"client", ev.Client, "arch", ev.Arch, "addr", ev.Addr, "file", ev.File, "why", ev.Why)
	if s.Events != nil {
		s.Events(ev)
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}
