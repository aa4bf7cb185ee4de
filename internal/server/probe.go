package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

const (
	probeEvery   = 5 * time.Second
	probeTimeout = 3 * time.Second
	// probeAfter is how long the agent may take to leave the machine: until
	// then it is the agent's own kernel that would answer.
	probeAfter = 10 * time.Second
	// probesAtOnce bounds the sockets.
	probesAtOnce = 64
)

// probes asks the new systems of machines that are to be confirmed by it.
func (s *Machines) probes(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(probeEvery)
	defer tick.Stop()
	slots := make(chan struct{}, probesAtOnce)
	var cannot sync.Once
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var all sync.WaitGroup
		for _, m := range s.room.all() {
			if !probeDue(m, s.now()) {
				continue
			}
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				s.probeOne(ctx, m, log, &cannot)
			})
		}
		all.Wait()
	}
}

// probeDue reports whether the machine waits for an answer to a probe.
func probeDue(m fleet.Record, now time.Time) bool {
	w := m.Awaited
	return w != nil && w.Probe != "" && m.Armed == nil && now.Sub(m.AgentSeen) >= probeAfter && len(probedAt(m)) > 0 &&
		(m.State == api.MachineHandingOff || m.State == api.MachineUnconfirmed)
}

// reach says where a system with an identity can be asked.
func reach(id api.Identity) (r fleet.Reach) {
	for _, l := range id.Network {
		r.Leased = r.Leased || l.DHCP
		for _, text := range l.Addresses {
			if p, err := netip.ParsePrefix(text); err == nil && !p.Addr().IsLinkLocalUnicast() && len(r.Addresses) < maxProbed {
				r.Addresses = append(r.Addresses, p.Addr().String())
			}
		}
	}
	return r
}

// maxProbed bounds the addresses that one machine is asked at.
const maxProbed = 8

// probedAt lists where to ask the new system of a machine. What the agent had
// is somebody else's by now when the system does not ask for it.
func probedAt(m fleet.Record) []string {
	all := m.Awaited.Reach.Addresses
	if m.Address != "" && (len(all) == 0 || m.Awaited.Reach.Leased) {
		all = append(all[:len(all):len(all)], m.Address)
	}
	return all
}

// probeOne asks one machine once, at each of its addresses.
func (s *Machines) probeOne(ctx context.Context, m fleet.Record, log *slog.Logger, cannot *sync.Once) {
	var err error
	for _, address := range probedAt(m) {
		if err = probe(ctx, m.Awaited.Probe, address); err == nil {
			break
		}
		log.Debug("probe", "machine", m.ID, "probe", m.Awaited.Probe, "address", address, "err", err)
	}
	if errors.Is(err, fs.ErrPermission) {
		cannot.Do(func() {
			log.Warn("this server may not send pings: machines to be confirmed by one stay unconfirmed", "err", err,
				"hint", "run it as root, or widen net.ipv4.ping_group_range")
		})
	}
	if err != nil {
		return
	}
	plan := m.Awaited.Plan
	_, err = s.change(ctx, m.ID, func(m *fleet.Record) ([]api.Event, error) {
		if m.State == "" {
			return nil, errGone
		}
		return fleet.Probed(m, plan, s.now()), nil
	})
	if err != nil && ctx.Err() == nil && !errors.Is(err, errGone) {
		log.Warn("noting an answer to a probe", "machine", m.ID, "err", err)
	}
}

// probe asks the host at an IP address whether it lives: "ping" by an ICMP
// echo, "tcp:PORT" by a connection, which is closed at once.
func probe(ctx context.Context, how, address string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if how == "ping" {
		return ping(ctx, address)
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

// Types of ICMP messages (RFC 792).
const (
	echoRequest = 8
	echoReply   = 0
)

// ping sends one ICMP echo to an IPv4 address and waits for its answer.
func ping(ctx context.Context, address string) error {
	ip := net.ParseIP(address).To4()
	if ip == nil {
		return fmt.Errorf("pinging %s: not an IPv4 address", address)
	}
	c, to, err := pingSocket(ctx, ip)
	if err != nil {
		return fmt.Errorf("pinging %s: %w", address, err)
	}
	defer c.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	// The kernel sets the identifier of an unprivileged echo; what comes back
	// is known by what it carries.
	msg := echo(uint16(rand.Uint32()), binary.BigEndian.AppendUint64(nil, rand.Uint64()))
	if _, err := c.WriteTo(msg, to); err != nil {
		return fmt.Errorf("pinging %s: %w", address, err)
	}
	answer := make([]byte, 1500)
	for {
		n, from, err := c.ReadFrom(answer)
		if err != nil {
			return fmt.Errorf("pinging %s: %w", address, err)
		}
		if n >= 8 && answer[0] == echoReply && bytes.Equal(answer[8:n], msg[8:]) && addrIP(from).Equal(ip) {
			return nil
		}
	}
}

// pingSocket opens the socket that every user may use where the kernel is set
// so (net.ipv4.ping_group_range), else the one for root.
func pingSocket(ctx context.Context, ip net.IP) (net.PacketConn, net.Addr, error) {
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

func addrIP(a net.Addr) net.IP {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.IP
	case *net.IPAddr:
		return a.IP
	}
	return nil
}

// echo builds an ICMP echo request with its checksum (RFC 792, RFC 1071).
func echo(id uint16, data []byte) []byte {
	msg := append([]byte{echoRequest, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}, data...)
	var sum uint32
	for i := 0; i < len(msg); i += 2 { // data has an even length
		sum += uint32(msg[i])<<8 | uint32(msg[i+1])
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(msg[2:], ^uint16(sum))
	return msg
}
