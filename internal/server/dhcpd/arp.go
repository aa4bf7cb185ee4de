package dhcpd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// arpWait is how long a host may take to say that it has an address. On a link
	// it takes a millisecond; boot ROMs collect offers for seconds.
	arpWait = 250 * time.Millisecond
	// arpAgain is when the question is asked once more: one lost frame must not
	// make two hosts of one address.
	arpAgain = 100 * time.Millisecond
	// silentFor is how long an address at which nobody answered is taken for free.
	silentFor = 30 * time.Second
	// maxQuestions bounds the addresses that are asked for at once, maxSilent those
	// that are remembered.
	maxQuestions = 256
	maxSilent    = 4096
)

// errBusy says that too many addresses are being asked for.
var errBusy = errors.New("too many addresses are looked at already: it will ask again")

// Neighbours asks who has an address, as RFC 5227 lets a host do before it
// takes one.
type Neighbours struct {
	conn *os.File
	mac  net.HardwareAddr

	mu     sync.Mutex
	asked  map[netip.Addr]*inquiry
	silent map[netip.Addr]time.Time // when nobody answered
}

// inquiry is one address that is being asked for.
type inquiry struct {
	done chan struct{} // closed when there is an answer or none will come
	by   net.HardwareAddr
}

// ListenARP opens a socket for questions on an Ethernet interface. It needs
// CAP_NET_RAW.
func ListenARP(iface string) (*Neighbours, error) {
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("asking for addresses on %s: %w", iface, err)
	}
	if len(ifi.HardwareAddr) != 6 {
		return nil, fmt.Errorf("asking for addresses on %s: it is no Ethernet interface", iface)
	}
	protocol := bits.ReverseBytes16(unix.ETH_P_ARP) // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(protocol))
	if err != nil {
		return nil, fmt.Errorf("asking for addresses on %s: %w", iface, err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: protocol, Ifindex: ifi.Index}); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("asking for addresses on %s: %w", iface, err)
	}
	return &Neighbours{
		conn: os.NewFile(uintptr(fd), "arp"), mac: ifi.HardwareAddr,
		asked: map[netip.Addr]*inquiry{}, silent: map[netip.Addr]time.Time{},
	}, nil
}

// Serve reads answers until ctx ends, and closes the socket. Any return but nil
// is a failure of it.
func (n *Neighbours) Serve(ctx context.Context) error {
	defer n.conn.Close()
	defer context.AfterFunc(ctx, func() { n.conn.Close() })()
	buf := make([]byte, 1500)
	for {
		size, err := n.conn.Read(buf)
		if ctx.Err() != nil {
			return nil // closed because it was to end
		}
		if errors.Is(err, errNetDown) {
			continue // told once each time that the link goes down
		}
		if err != nil {
			return fmt.Errorf("reading answers to ARP: %w", err)
		}
		if a, by, ok := parseARP(buf[:size]); ok {
			n.hear(a, by)
		}
	}
}

// Close closes the socket of one that is not served.
func (n *Neighbours) Close() error { return n.conn.Close() }

// errNetDown is what a packet socket says once when its link has gone down.
const errNetDown = unix.ENETDOWN

// hear notes that a host has an address.
func (n *Neighbours) hear(a netip.Addr, by net.HardwareAddr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.silent, a)
	if q := n.asked[a]; q != nil && q.by == nil {
		q.by = by
		close(q.done)
	}
}

// Used reports which host has an address, nil for none. It waits for a quarter
// of a second, or not at all when it has asked a moment ago.
func (n *Neighbours) Used(a netip.Addr, now time.Time) (net.HardwareAddr, error) {
	n.mu.Lock()
	if at, ok := n.silent[a]; ok && now.Sub(at) < silentFor {
		n.mu.Unlock()
		return nil, nil
	}
	q := n.asked[a]
	first := q == nil
	if first {
		if len(n.asked) >= maxQuestions {
			n.mu.Unlock()
			return nil, errBusy
		}
		q = &inquiry{done: make(chan struct{})}
		n.asked[a] = q
	}
	n.mu.Unlock()
	if first {
		n.ask(a, q)
		n.answered(a, q, now)
	}
	<-q.done
	return q.by, nil
}

// ask asks twice and waits for an answer.
func (n *Neighbours) ask(a netip.Addr, q *inquiry) {
	again, end := time.NewTimer(arpAgain), time.NewTimer(arpWait)
	defer again.Stop()
	defer end.Stop()
	_, _ = n.conn.Write(appendARP(nil, n.mac, a))
	for {
		select {
		case <-q.done:
			return
		case <-again.C:
			_, _ = n.conn.Write(appendARP(nil, n.mac, a))
		case <-end.C:
			return
		}
	}
}

// answered ends a question and remembers silence.
func (n *Neighbours) answered(a netip.Addr, q *inquiry, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.asked, a)
	if q.by != nil {
		return
	}
	close(q.done)
	if len(n.silent) >= maxSilent {
		for old, at := range n.silent {
			if now.Sub(at) >= silentFor {
				delete(n.silent, old)
			}
		}
	}
	if len(n.silent) < maxSilent {
		n.silent[a] = now
	}
}

// The frame of ARP for IPv4 on Ethernet: RFC 826.
const (
	arpFrame    = 14 + 28 // bytes
	arpEthernet = 1
	arpRequest  = 1
)

// appendARP builds an ARP probe: its sender has no address, so that nobody's
// table changes (RFC 5227, section 2.1.1).
func appendARP(b []byte, from net.HardwareAddr, a netip.Addr) []byte {
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	b = append(b, from...)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_ARP)
	b = binary.BigEndian.AppendUint16(b, arpEthernet)
	b = binary.BigEndian.AppendUint16(b, unix.ETH_P_IP)
	b = append(b, 6, 4)
	b = binary.BigEndian.AppendUint16(b, arpRequest)
	b = append(b, from...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, 0, 0, 0, 0, 0, 0)
	return append(b, ip(a)...)
}

// parseARP reads who says in an ARP packet, question or answer, that it has an
// address.
func parseARP(b []byte) (a netip.Addr, by net.HardwareAddr, ok bool) {
	if len(b) < arpFrame || binary.BigEndian.Uint16(b[12:]) != unix.ETH_P_ARP {
		return a, nil, false
	}
	p := b[14:]
	if binary.BigEndian.Uint16(p) != arpEthernet || binary.BigEndian.Uint16(p[2:]) != unix.ETH_P_IP || p[4] != 6 || p[5] != 4 {
		return a, nil, false
	}
	a = netip.AddrFrom4([4]byte(p[14:18]))
	return a, append(net.HardwareAddr(nil), p[8:14]...), !a.IsUnspecified()
}
