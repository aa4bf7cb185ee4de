// Package ndp tells boot programs that IPv6 has nothing for them.
//
// iPXE configures IPv6 beside IPv4 and continues when both have ended. Where no
// router answers, that is 16 seconds after its first router solicitation,
// however soon IPv4 gave it a lease. [Server] answers with a router
// advertisement that offers nothing: no router, no prefix, no DHCPv6 (RFC 4861,
// section 4.2). Only a machine whose boot program has just asked for an IPv4
// lease gets one, and nobody else sees it.
package ndp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

const (
	// patience is how long after its request for a lease a machine may solicit:
	// iPXE does so for 16 s.
	patience = 30 * time.Second
	// mostExpected bounds the machines that are expected at a time.
	mostExpected = 4096
	// hopLimit is that of every packet of the protocol: one that a router has
	// passed on has less (RFC 4861, 6.1.1).
	hopLimit = 255
)

// mac is an Ethernet address as a key.
type mac [6]byte

// Server answers router solicitations on one interface.
type Server struct {
	Log *slog.Logger // nil: discarded

	mu       sync.Mutex
	expected map[mac]time.Time // when its boot program asked for a lease
}

// Expect says that the boot program of a machine asks for a lease. It may be
// called by many.
func (s *Server) Expect(addr net.HardwareAddr, now time.Time) {
	if len(addr) != len(mac{}) {
		return // no Ethernet: nothing that solicits by the same address
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expected == nil {
		s.expected = map[mac]time.Time{}
	}
	for m, at := range s.expected {
		if now.Sub(at) > patience {
			delete(s.expected, m)
		}
	}
	if len(s.expected) < mostExpected {
		s.expected[mac(addr)] = now
	}
}

func (s *Server) expects(m mac, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.expected[m]
	return ok && now.Sub(at) <= patience
}

// Listen opens the socket that [Server.Serve] answers on. It fails where the
// interface has no IPv6, which hurts nothing but the time that boots take.
func Listen(ctx context.Context, iface string) (net.PacketConn, error) {
	conn, err := listen(ctx, iface)
	if err != nil {
		return nil, fmt.Errorf("listening for router solicitations on %s: %w", iface, err)
	}
	return conn, nil
}

func listen(ctx context.Context, iface string) (_ net.PacketConn, err error) {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, err
	}
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var inner error
		err := c.Control(func(fd uintptr) { inner = unix.BindToDevice(int(fd), iface) })
		return errors.Join(err, inner)
	}}
	conn, err := lc.ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, err
	}
	p := ipv6.NewPacketConn(conn)
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	err = errors.Join(p.SetICMPFilter(&filter), p.JoinGroup(link, &net.IPAddr{IP: net.IPv6linklocalallrouters}))
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Serve answers on a socket that [Listen] opened until ctx ends, and closes it.
// Any return but nil is a failure of the socket.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	p := ipv6.NewPacketConn(conn)
	if err := errors.Join(p.SetControlMessage(ipv6.FlagHopLimit, true), p.SetHopLimit(hopLimit)); err != nil {
		return fmt.Errorf("preparing to answer router solicitations: %w", err)
	}
	// what is in it does not matter: the kernel lets nothing but solicitations
	// through
	var packet [1500]byte
	for {
		_, control, from, err := p.ReadFrom(packet[:])
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receiving router solicitations: %w", err)
		}
		to, ok := from.(*net.IPAddr)
		if !ok || control == nil || control.HopLimit != hopLimit {
			continue
		}
		m, ok := solicitor(to.IP)
		if !ok || !s.expects(m, time.Now()) {
			continue
		}
		_, err = p.WriteTo(nothing(), nil, to)
		if s.Log != nil {
			s.Log.Debug("router solicitation", "mac", net.HardwareAddr(m[:]).String(), "answer", "no IPv6 here", "err", err)
		}
	}
}

// solicitor returns the Ethernet address of a machine with a link-local address
// that was made of it, as a boot program's is (RFC 4291, appendix A). ok is
// false for all others.
func solicitor(addr net.IP) (m mac, ok bool) {
	ip := addr.To16()
	if ip == nil || !ip.IsLinkLocalUnicast() || ip[11] != 0xff || ip[12] != 0xfe {
		return m, false
	}
	copy(m[:3], ip[8:])
	copy(m[3:], ip[13:])
	m[0] ^= 2 // the bit for what is universal means the opposite there
	return m, true
}

// advertisementSize is that of one without options, RFC 4861, section 4.2.
const advertisementSize = 16

// nothing is an advertisement of a router that is none: its lifetime is 0, as
// is all else. The kernel fills in the checksum (RFC 3542, section 3.1).
func nothing() []byte {
	p := make([]byte, advertisementSize)
	p[0] = byte(ipv6.ICMPTypeRouterAdvertisement)
	return p
}
