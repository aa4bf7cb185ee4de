package tftpd

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// rrq builds a read request.
func rrq(name string, opts ...string) []byte {
	b := append([]byte{0, opRRQ}, name+"\x00octet\x00"...)
	for _, o := range opts {
		b = append(append(b, o...), 0)
	}
	return b
}

// fetch is a client that acknowledges every packet again that it gets again,
// the habit that makes a careless server double its data. It checks each byte
// and returns the packets received.
func fetch(ctx context.Context, n *memNet, server net.Addr, name string, size, blksize, window int64) (packets int64, err error) {
	return fetchAs(ctx, net.IPv4(10, 0, 0, 2), n, server, name, size, blksize, window)
}

func fetchAs(ctx context.Context, as net.IP, n *memNet, server net.Addr, name string, size, blksize, window int64) (packets int64,
	err error,
) {
	c := n.listen(as.To4(), 0)
	defer c.Close()
	req := rrq(name, "blksize", strconv.FormatInt(blksize, 10), "windowsize", strconv.FormatInt(window, 10), "tsize", "0")
	var peer net.Addr
	last := req
	next, inWindow := int64(0), int64(0)
	buf := make([]byte, 70000)
	send := func(b []byte) {
		last = b
		to := server
		if peer != nil {
			to = peer
		}
		_, _ = c.WriteTo(b, to)
	}
	ack := func(block int64) { inWindow = 0; send([]byte{0, opACK, byte(block >> 8), byte(block)}) }
	send(req)
	for silent := 0; ctx.Err() == nil; {
		_ = c.SetReadDeadline(time.Now().Add(3 * time.Second))
		k, from, err := c.ReadFrom(buf)
		if err != nil {
			if silent++; silent == 60 {
				return packets, fmt.Errorf("server is silent after block %d", next-1)
			}
			send(last)
			continue
		}
		if peer == nil {
			peer = from
		} else if peer.String() != from.String() {
			continue // a second transfer, made by a doubled request
		}
		silent = 0
		packets++
		b := buf[:k]
		switch op := binary.BigEndian.Uint16(b); {
		case op == opERROR:
			return packets, fmt.Errorf("error %q", b)
		case op == opOACK:
			if next <= 1 {
				next = 1
				ack(0)
			}
		case op == opDATA && binary.BigEndian.Uint16(b[2:]) == uint16(next):
			at := (next - 1) * blksize
			data := b[4:]
			for i, v := range data {
				if v != patternByte(at+int64(i)) {
					return packets, fmt.Errorf("byte %d is wrong", at+int64(i))
				}
			}
			if next++; int64(len(data)) < blksize {
				if got := at + int64(len(data)); got != size {
					return packets, fmt.Errorf("%d bytes; want %d", got, size)
				}
				for range 8 { // its last ACK may be lost; a real client lingers for that
					ack(next - 1)
				}
				return packets, nil
			}
			if inWindow++; inWindow == window {
				ack(next - 1)
			}
		case op == opDATA:
			ack(next - 1)
		}
	}
	return packets, ctx.Err()
}

func TestLossyTransfers(t *testing.T) {
	for _, tt := range []struct {
		loss, dup float64
		size      int64
		blk, win  int64
	}{
		{0, 0, 0, 512, 1},
		{0, 0, 512, 512, 1},
		{0, 0, 511, 512, 4},
		{0, 0, 1 << 20, 1468, 64},
		{0.1, 0.1, 300_000, 1024, 1},
		{0.1, 0.1, 300_000, 1468, 4},
		{0.2, 0.2, 300_000, 1468, 16},
		{0.3, 0.3, 60_000, 512, 1},
		{0.3, 0, 60_000, 512, 8},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			for seed := range uint64(10) {
				synctest.Test(t, func(t *testing.T) {
					n := newMemNet(tt.loss, tt.dup, seed)
					// Six sends in a row bring nothing about once in fifty blocks with 30 % lost
					// each way, and once in some thousand with 20 %. A client begins anew then, as
					// a ROM does.
					server, _ := startMem(t, n, map[string]int64{"f": tt.size}, &Server{})
					for try := 0; ; try++ {
						_, err := fetch(t.Context(), n, server, "f", tt.size, tt.blk, tt.win)
						if err == nil {
							return
						}
						if tt.loss < 0.2 || try == 20 {
							t.Fatalf("seed %d: %v", seed, err)
						}
					}
				})
			}
		})
	}
}

// 70 MB in blocks of 1,024 bytes are 68,360 blocks: the number wraps once.
func TestBlockNumberWraps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 15_000_000
		n := newMemNet(0, 0, 1)
		server, events := startMem(t, n, map[string]int64{"f": size}, &Server{})
		if _, err := fetch(t.Context(), n, server, "f", size, 1024, 16); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, e := range events() {
			if e.Outcome != Sent || e.Acked != size || e.Resent != 0 {
				t.Errorf("event %+v; want all bytes sent once", e)
			}
		}
	})
}

// Every packet of both sides is doubled: the server must not send a block more
// often for it.
func TestSorcerersApprentice(t *testing.T) {
	for _, window := range []int64{1, 8} {
		synctest.Test(t, func(t *testing.T) {
			n := newMemNet(0, 1, 1)
			server, events := startMem(t, n, map[string]int64{"f": 512_000}, &Server{})
			if _, err := fetch(t.Context(), n, server, "f", 512_000, 512, window); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if ev := events(); len(ev) != 1 || ev[0].Outcome != Sent || ev[0].Resent != 0 {
				t.Errorf("window %d: events %+v; want one file sent, nothing resent", window, ev)
			}
			if limit := int64(512_000 + 1001*4 + 200); n.bytesSent() > limit {
				t.Errorf("window %d: server sent %d bytes; want at most %d", window, n.bytesSent(), limit)
			}
		})
	}
}

// What a spoofed request costs its victim: one packet, with or without a
// window, and whatever its patience.
func TestReflectionIsBounded(t *testing.T) {
	for _, tt := range []struct {
		req  []byte
		want int64
	}{
		{rrq("f"), 516},
		{rrq("f", "timeout", "1"), 20},
		{rrq("f", "blksize", "65464", "windowsize", "65535"), 33},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := newMemNet(0, 0, 1)
			server, events := startMem(t, n, map[string]int64{"f": 1 << 20}, &Server{})
			victim := n.listen(net.IPv4(10, 0, 0, 9).To4(), 1234)
			defer victim.Close()
			_, _ = victim.WriteTo(tt.req, server)
			time.Sleep(time.Minute)
			if got := n.bytesSent(); got > tt.want || got == 0 {
				t.Errorf("%q made the server send %d bytes; want at most %d", tt.req, got, tt.want)
			}
			if ev := events(); len(ev) != 1 || ev[0].Outcome != Failed {
				t.Errorf("events %+v; want one failure", ev)
			}
		})
	}
}

// A client whose first answer was lost gets another one when it asks again, and
// no transfer more.
func TestFirstPacketLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(0, 0, 1)
		server, events := startMem(t, n, map[string]int64{"f": 100}, &Server{})
		c := n.listen(net.IPv4(10, 0, 0, 2).To4(), 2070)
		defer c.Close()
		buf := make([]byte, 600)
		var peers []string
		var peer net.Addr
		for range 3 {
			_, _ = c.WriteTo(rrq("f"), server)
			_, peer, _ = c.ReadFrom(buf)
			peers = append(peers, peer.String())
			time.Sleep(2 * time.Second)
		}
		_, _ = c.WriteTo([]byte{0, opACK, 0, 1}, peer)
		synctest.Wait()
		if ev := events(); len(ev) != 1 || ev[0].Outcome != Sent || ev[0].Resent != 2 || len(slices.Compact(peers)) != 1 {
			t.Errorf("events %+v, answers from %v; want one file sent, its packet three times from one port", ev, peers)
		}
	})
}

// One host that asks from thousands of ports, acknowledges once and then sleeps
// keeps nobody out.
func TestSlowHostKeepsNobodyOut(t *testing.T) {
	for name, host := range map[string]func(i int) net.IP{
		"one host":   func(int) net.IP { return net.IPv4(10, 0, 0, 66) },
		"many hosts": func(i int) net.IP { return net.IPv4(10, 3, byte(i>>8), byte(i)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newMemNet(0, 0, 1)
				s := &Server{MaxTransfers: 64}
				server, _ := startMem(t, n, map[string]int64{"f": 7000}, s)
				buf := make([]byte, 600)
				for i := range 200 {
					c := n.listen(host(i).To4(), 0)
					defer c.Close()
					_, _ = c.WriteTo(rrq("f", "blksize", "8", "timeout", "255"), server)
					_ = c.SetReadDeadline(time.Now().Add(time.Second))
					if _, peer, err := c.ReadFrom(buf); err == nil {
						_, _ = c.WriteTo([]byte{0, opACK, 0, 0}, peer)
					}
				}
				time.Sleep(youngest)
				s.mu.Lock()
				held := len(s.live)
				s.mu.Unlock()
				if name == "one host" && held > DefaultMaxPerClient {
					t.Errorf("one host holds %d places; want at most %d", held, DefaultMaxPerClient)
				}
				for i := range 8 {
					if _, err := fetchAs(t.Context(), net.IPv4(10, 0, 1, byte(i)), n, server, "f", 7000, 512, 1); err != nil {
						t.Errorf("real client: %v", err)
					}
				}
			})
		})
	}
}

// Requests from elsewhere are not answered.
func TestOtherNetworks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(0, 0, 1)
		server, _ := startMem(t, n, map[string]int64{"f": 100}, &Server{Serves: netip.MustParsePrefix("10.0.0.0/24").Contains})
		for ip, want := range map[string]bool{"10.0.0.9": true, "10.0.1.9": false} {
			c := n.listen(net.ParseIP(ip).To4(), 0)
			defer c.Close()
			_, _ = c.WriteTo(rrq("f"), server)
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			if _, _, err := c.ReadFrom(make([]byte, 600)); (err == nil) != want {
				t.Errorf("%s is answered: %v; want %v", ip, err == nil, want)
			}
		}
	})
}

// A client that has acknowledged something and then falls silent gets five more
// sends of a window.
func TestGivesUpAfterFiveResends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(0, 0, 1)
		server, events := startMem(t, n, map[string]int64{"f": 1 << 20}, &Server{})
		c := n.listen(net.IPv4(10, 0, 0, 2).To4(), 0)
		defer c.Close()
		_, _ = c.WriteTo(rrq("f"), server)
		buf := make([]byte, 600)
		_, peer, _ := c.ReadFrom(buf)
		start := time.Now()
		_, _ = c.WriteTo([]byte{0, opACK, 0, 1}, peer)
		time.Sleep(5 * time.Minute)
		ev := events()
		if len(ev) != 1 || ev[0].Outcome != Failed || ev[0].Resent != 5 || ev[0].Acked != 512 {
			t.Fatalf("events %+v; want one failure after 5 resends and 512 bytes", ev)
		}
		// 1+2+4+8+16+32 seconds: the wait doubles.
		if took := ev[0].Time.Add(ev[0].Took).Sub(start).Round(time.Second); took != 63*time.Second {
			t.Errorf("gave up after %v; want 63s", took)
		}
	})
}

// OVMF takes the size and leaves, then asks for the file, perhaps from the same
// port and before its ERROR has come through.
func TestSizeProbe(t *testing.T) {
	for _, lostError := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newMemNet(0, 0, 1)
			server, events := startMem(t, n, map[string]int64{"f": 100}, &Server{})
			c := n.listen(net.IPv4(10, 0, 0, 2).To4(), 2070)
			defer c.Close()
			_, _ = c.WriteTo(rrq("f", "tsize", "0", "blksize", "1468"), server)
			buf := make([]byte, 600)
			k, peer, _ := c.ReadFrom(buf)
			if want := []byte("\x00\x06blksize\x001468\x00tsize\x00100\x00"); !bytes.Equal(buf[:k], want) {
				t.Errorf("OACK %q; want %q", buf[:k], want)
			}
			if !lostError {
				_, _ = c.WriteTo(appendERROR(nil, &refusal{codeOptions, "User aborted the transfer"}), peer)
			}
			_, _ = c.WriteTo(rrq("f", "blksize", "1468"), server)
			_, peer, _ = c.ReadFrom(buf)
			_, _ = c.WriteTo([]byte{0, opACK, 0, 0}, peer)
			k, _, _ = c.ReadFrom(buf)
			_, _ = c.WriteTo([]byte{0, opACK, 0, 1}, peer)
			synctest.Wait()
			ev := events()
			slices.SortFunc(ev, func(a, b Event) int { return int(b.Outcome - a.Outcome) })
			if k != 104 || len(ev) != 2 || ev[0].Outcome != Probed || ev[0].Err != nil || ev[1].Outcome != Sent {
				t.Errorf("lost error %v: %d bytes, events %+v; want the file, probed then sent", lostError, k, ev)
			}
		})
	}
}

// A thousand machines start in the same instant, each losing packets.
func TestHerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(0.02, 0.02, 1)
		server, _ := startMem(t, n, map[string]int64{"f": 15_000}, &Server{})
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				if _, err := fetchAs(t.Context(), net.IPv4(10, 2, byte(i>>8), byte(i)), n, server, "f", 15_000, 1468, 4); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

// Ten thousand requests that are never answered must not keep a real client
// out.
func TestHalfOpenFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newMemNet(0, 0, 1)
		s := &Server{MaxTransfers: 64}
		server, _ := startMem(t, n, map[string]int64{"f": 7000}, s)
		for i := range 10_000 {
			c := n.listen(net.IPv4(10, 1, byte(i>>8), byte(i)).To4(), 1000)
			_, _ = c.WriteTo(rrq("f"), server)
			c.Close()
			if i%100 == 0 {
				synctest.Wait()
				s.mu.Lock()
				if len(s.live) > 64 {
					t.Errorf("%d transfers; want at most 64", len(s.live))
				}
				s.mu.Unlock()
			}
		}
		if _, err := fetch(t.Context(), n, server, "f", 7000, 512, 1); err != nil {
			t.Errorf("real client beside the flood: %v", err)
		}
	})
}
