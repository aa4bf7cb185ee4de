package tftpd

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// memNet is a network in memory that loses and doubles packets; inside a
// synctest bubble its time is virtual, so that a lossy transfer takes no real
// seconds.
type memNet struct {
	loss, dup float64

	mu    sync.Mutex
	rnd   *rand.Rand
	conns map[string]*memConn
	port  int
	sent  int64 // bytes written by the server's address
}

type memPacket struct {
	b    []byte
	from *net.UDPAddr
}

type memConn struct {
	n       *memNet
	addr    *net.UDPAddr
	in      chan memPacket
	closed  chan struct{}
	once    sync.Once
	mu      sync.Mutex
	dl      time.Time
	changed chan struct{}
}

var serverIP = net.IPv4(10, 0, 0, 1).To4()

func newMemNet(loss, dup float64, seed uint64) *memNet {
	return &memNet{loss: loss, dup: dup, rnd: rand.New(rand.NewPCG(seed, 1)), conns: map[string]*memConn{}, port: 40000}
}

func (n *memNet) listen(ip net.IP, port int) *memConn {
	n.mu.Lock()
	defer n.mu.Unlock()
	if port == 0 {
		n.port++
		port = n.port
	}
	c := &memConn{
		n: n, addr: &net.UDPAddr{IP: ip, Port: port}, in: make(chan memPacket, 256), closed: make(chan struct{}),
		changed: make(chan struct{}),
	}
	n.conns[c.addr.String()] = c
	return c
}

func (n *memNet) bytesSent() int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.sent
}

func (c *memConn) WriteTo(b []byte, to net.Addr) (int, error) {
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if c.addr.IP.Equal(serverIP) {
		c.n.sent += int64(len(b))
	}
	dst := c.n.conns[to.String()]
	if dst == nil || c.n.rnd.Float64() < c.n.loss {
		return len(b), nil
	}
	copies := 1
	if c.n.rnd.Float64() < c.n.dup {
		copies = 2
	}
	for range copies {
		select {
		case dst.in <- memPacket{append([]byte(nil), b...), c.addr}:
		default: // a full queue loses packets, as a real one does
		}
	}
	return len(b), nil
}

func (c *memConn) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		c.mu.Lock()
		dl, changed := c.dl, c.changed
		c.mu.Unlock()
		var expired <-chan time.Time
		if !dl.IsZero() {
			t := time.NewTimer(time.Until(dl))
			defer t.Stop()
			expired = t.C
		}
		select {
		case <-c.closed:
			return 0, nil, net.ErrClosed
		case p := <-c.in:
			return copy(b, p.b), p.from, nil
		case <-expired:
			return 0, nil, os.ErrDeadlineExceeded
		case <-changed:
		}
	}
}

func (c *memConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dl = t
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

func (c *memConn) Close() error {
	c.once.Do(func() {
		close(c.closed)
		c.n.mu.Lock()
		delete(c.n.conns, c.addr.String())
		c.n.mu.Unlock()
	})
	return nil
}

func (c *memConn) LocalAddr() net.Addr              { return c.addr }
func (c *memConn) SetDeadline(t time.Time) error    { return c.SetReadDeadline(t) }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

// pattern is a file of any size that needs no memory: each byte follows from
// its place.
type pattern int64

func patternByte(at int64) byte { return byte(at*31 + at>>8*17 + at>>16) }

func (p pattern) ReadAt(b []byte, at int64) (int, error) {
	n := int(min(int64(len(b)), int64(p)-at))
	for i := range n {
		b[i] = patternByte(at + int64(i))
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// startMem serves files of the given sizes on a memNet until the test ends.
func startMem(t *testing.T, n *memNet, files map[string]int64, s *Server) (server net.Addr, events func() []Event) {
	t.Helper()
	var mu sync.Mutex
	var got []Event
	s.Events = func(e Event) { mu.Lock(); got = append(got, e); mu.Unlock() }
	s.listen = func(net.Addr) (net.PacketConn, error) { return n.listen(serverIP, 0), nil }
	s.Open = func(name string) (io.ReaderAt, int64, error) {
		size, ok := files[name]
		if !ok {
			return nil, 0, os.ErrNotExist
		}
		return pattern(size), size, nil
	}
	conn := n.listen(serverIP, 69)
	done := make(chan error, 1)
	ctx := t.Context()
	go func() { done <- s.Serve(ctx, conn) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Errorf("Serve() = %v; want nil", err)
		}
	})
	return conn.addr, func() []Event { mu.Lock(); defer mu.Unlock(); return append([]Event(nil), got...) }
}
