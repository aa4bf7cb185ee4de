// Package probe asks a host whether it lives.
package probe

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// timeout is how long an answer may take.
const timeout = 3 * time.Second

// Ask asks the host at an IP address: "ping" by an ICMP echo, which needs an
// IPv4 address, "tcp:PORT" by a connection, which is closed at once. Nil: it
// has answered. An error of kind [io/fs.ErrPermission] says that this process
// may not send pings.
func Ask(ctx context.Context, how, address string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if how == "ping" {
		if err := ping(ctx, address); err != nil {
			return fmt.Errorf("pinging %s: %w", address, err)
		}
		return nil
	}
	port, ok := strings.CutPrefix(how, "tcp:")
	if !ok {
		return fmt.Errorf("unknown probe %q", how)
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(address, port))
	if err != nil {
		return err
	}
	return c.Close()
}

// protocolICMP is the protocol's number (RFC 792).
const protocolICMP = 1

// ping sends one ICMP echo to an IPv4 address and waits for its answer.
func ping(ctx context.Context, address string) error {
	ip := net.ParseIP(address).To4()
	if ip == nil {
		return errors.New("not an IPv4 address")
	}
	c, to, err := socket(ctx, ip)
	if err != nil {
		return err
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	// The kernel sets the identifier of an unprivileged echo; what comes back
	// is known by what it carries.
	secret := fmt.Sprintf("%016x", rand.Uint64())
	echo := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: rand.IntN(1 << 16), Seq: 1, Data: []byte(secret)}}
	msg, err := echo.Marshal(nil)
	if err != nil {
		return err
	}
	if _, err := c.WriteTo(msg, to); err != nil {
		return err
	}
	answer := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(answer)
		if err != nil {
			return err
		}
		if ipOf(from).Equal(ip) && isReply(answer[:n], secret) {
			return nil
		}
	}
}

func isReply(p []byte, secret string) bool {
	m, err := icmp.ParseMessage(protocolICMP, p)
	if err != nil || m.Type != ipv4.ICMPTypeEchoReply {
		return false
	}
	echo, ok := m.Body.(*icmp.Echo)
	return ok && string(echo.Data) == secret
}

// socket opens the socket that every user may use where the kernel is set so
// (net.ipv4.ping_group_range), else the one for root.
func socket(ctx context.Context, ip net.IP) (net.PacketConn, net.Addr, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		c, err := (&net.ListenConfig{}).ListenPacket(ctx, "ip4:icmp", "0.0.0.0")
		return c, &net.IPAddr{IP: ip}, err
	}
	f := os.NewFile(uintptr(fd), "ping")
	defer f.Close()
	c, err := net.FilePacketConn(f)
	return c, &net.UDPAddr{IP: ip}, err
}

func ipOf(a net.Addr) net.IP {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.IP
	case *net.IPAddr:
		return a.IP
	}
	return nil
}
