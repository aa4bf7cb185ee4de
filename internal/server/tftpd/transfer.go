package tftpd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// transferLimit ends a transfer whose client acknowledges, but so slowly that
// it only holds a place.
const transferLimit = 30 * time.Minute

// resends is how often one window is sent again before the transfer is given
// up. To an address that has not acknowledged anything nothing is sent twice
// but what it asks for twice: a spoofed request gets its victim one packet.
const resends = 5

// patience is how long an address that has not acknowledged anything may take
// to do so.
const patience = 31 * time.Second

var (
	errNoAnswer = errors.New("client stopped answering")
	errReplaced = errors.New("client asked again from the same port")
	errShed     = errors.New("client had not answered when others needed the place")
	errSlow     = errors.New("client was the slowest when others needed the place")
	errRepeat   = errors.New("client asked again")
)

// clientError is an ERROR packet from the client.
type clientError struct {
	code uint16
	text string
}

func (e *clientError) Error() string { return fmt.Sprintf("client error %d: %q", e.code, e.text) }

// transfer sends one file to one client from a socket, hence a transfer
// identifier, of its own.
type transfer struct {
	conn    net.PacketConn
	peer    netip.AddrPort
	to      net.Addr
	content io.ReaderAt
	size    int64

	opts    []option // to acknowledge before the first block
	blksize int64
	window  int64
	wait    time.Duration // first retransmission timeout
	fixed   bool          // the client chose the timeout: no backoff
	proven  func()        // called at the first valid ACK: the address is no spoofed one
	moved   func()        // called whenever the client made progress

	opened time.Time
	asked  atomic.Bool  // for the first packet again
	sent   atomic.Int64 // when the last packet was, Unix time in nanoseconds

	acked   int64 // blocks acknowledged; block numbers count from 1 and do not wrap here
	high    int64 // highest block sent, 0 for the OACK, -1 for nothing
	resent  int   // packets sent again
	heard   bool
	packet  []byte
	scratch []byte
}

// negotiate fits the client's options to what this server does.
func (t *transfer) negotiate(r request, maxBlock int, wait time.Duration) {
	t.blksize, t.window, t.wait = 512, 1, wait
	if r.blksize > 0 {
		t.blksize = int64(min(r.blksize, maxBlock))
		t.opts = append(t.opts, option{"blksize", t.blksize})
	}
	if r.timeout > 0 {
		t.wait, t.fixed = time.Duration(r.timeout)*time.Second, true
		t.opts = append(t.opts, option{"timeout", int64(r.timeout)})
	}
	if r.tsize {
		t.opts = append(t.opts, option{"tsize", t.size})
	}
	if r.windowsize > 0 {
		t.window = int64(min(r.windowsize, maxWindow))
		t.opts = append(t.opts, option{"windowsize", t.window})
	}
}

// run sends the file and returns when its last block is acknowledged, or with
// the reason why not.
func (t *transfer) run(ctx context.Context) error {
	t.packet = make([]byte, 4+t.blksize)
	t.scratch = make([]byte, 512)
	t.high = -1
	t.opened = time.Now()
	end := t.opened.Add(transferLimit)
	if len(t.opts) > 0 {
		if err := t.exchange(ctx, end, t.sendOACK, 0, 0); err != nil {
			return err
		}
	}
	// A file whose size is a multiple of the block size ends with an empty block.
	for last := t.size/t.blksize + 1; t.acked < last; {
		first, upto := t.acked+1, min(t.acked+t.window, last)
		if err := t.exchange(ctx, end, func() error { return t.sendBlocks(first, upto) }, first, upto); err != nil {
			return err
		}
	}
	return nil
}

// exchange sends and waits until a block from first to upto is acknowledged,
// sending again when nothing comes. For the OACK both are 0.
//
// Only an ACK that moves the transfer forward is acted on. Sending on a
// repeated ACK would double every block from there to the end of the file (the
// Sorcerer's Apprentice, RFC 1123 4.2.3.1), and in a window it would do so
// again and again.
func (t *transfer) exchange(ctx context.Context, end time.Time, send func() error, first, upto int64) error {
	wait := t.wait
	for try := 0; ; try++ {
		if err := send(); err != nil {
			return err
		}
		deadline := time.Now().Add(wait)
		if !t.heard {
			deadline = t.opened.Add(patience)
		}
		if deadline.After(end) {
			return fmt.Errorf("transfer took longer than %v", transferLimit)
		}
		n, err := t.await(ctx, deadline, first, upto)
		switch {
		case err == nil:
			t.acked = n
			return nil
		case errors.Is(err, errRepeat) && try < resends:
			continue
		case errors.Is(err, errRepeat):
			return errNoAnswer
		case !errors.Is(err, errNoAnswer) || !t.heard || try == resends:
			return err
		}
		if !t.fixed {
			wait *= 2
		}
	}
}

// grace is how long an ACK from inside a window may be followed by a later one,
// before it is taken for the report of a loss. Without it a client that
// acknowledges every doubled packet would be sent a whole window for each.
const grace = 10 * time.Millisecond

// await reads until the deadline for an ACK of a block from first to upto, the
// latest there is.
func (t *transfer) await(ctx context.Context, deadline time.Time, first, upto int64) (int64, error) {
	if err := t.conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	if ctx.Err() != nil { // else its end, which comes after this deadline was set, wakes the read
		return 0, context.Cause(ctx)
	}
	if !t.heard && t.asked.Swap(false) {
		return 0, errRepeat
	}
	best := int64(-1)
	for {
		n, from, err := t.conn.ReadFrom(t.scratch)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err != nil {
			ne, ok := errors.AsType[net.Error](err)
			switch {
			case !ok || !ne.Timeout():
				return 0, fmt.Errorf("receiving: %w", err)
			case best >= 0:
				return best, nil
			case !t.heard && t.asked.Swap(false):
				return 0, errRepeat
			}
			return 0, errNoAnswer
		}
		b := t.scratch[:n]
		code, text, isError := parseERROR(b)
		if addrPort(from) != t.peer {
			if !isError {
				// RFC 1350 section 4: tell the stranger, leave the transfer alone.
				_, _ = t.conn.WriteTo(appendERROR(nil, &refusal{codeUnknownID, "unknown transfer"}), from)
			}
			continue
		}
		if isError {
			return 0, &clientError{code, text}
		}
		got, ok := parseACK(b)
		// Block numbers on the wire are the low 16 bits; the window is far smaller than
		// 65,536, so the distance from the first awaited block tells which one is
		// meant.
		if ahead := int64(got - uint16(first)); ok && ahead <= upto-first {
			if !t.heard {
				t.heard = true
				t.proven()
			}
			t.moved()
			if first+ahead == upto {
				return upto, nil
			}
			if first+ahead > best {
				best = first + ahead
				if err := t.conn.SetReadDeadline(time.Now().Add(grace)); err != nil {
					return 0, err
				}
			}
		}
	}
}

// repeat has the first packet sent again: the client has asked for the file
// again, and not by a packet that the network has doubled. It may be called by
// others than the transfer's goroutine, until the client has acknowledged
// something.
func (t *transfer) repeat() {
	if time.Since(time.Unix(0, t.sent.Load())) < t.wait/2 {
		return
	}
	t.asked.Store(true)
	_ = t.conn.SetReadDeadline(time.Unix(1, 0))
}

// write sends the packet of a block, 0 for the OACK. What the kernel would not
// send is as good as lost: it is sent again, until the limit.
func (t *transfer) write(b []byte, block int64) {
	if block > t.high {
		t.high = block
	} else {
		t.resent++
	}
	t.sent.Store(time.Now().UnixNano())
	_, _ = t.conn.WriteTo(b, t.to)
}

func (t *transfer) sendOACK() error {
	t.write(appendOACK(nil, t.opts), 0)
	return nil
}

func (t *transfer) sendBlocks(first, upto int64) error {
	for block := first; block <= upto; block++ {
		at := (block - 1) * t.blksize
		data := t.packet[4 : 4+min(t.blksize, t.size-at)]
		binary.BigEndian.PutUint16(t.packet, opDATA)
		binary.BigEndian.PutUint16(t.packet[2:], uint16(block))
		if n, err := t.content.ReadAt(data, at); n < len(data) {
			// A file cut short under us must not look like its end.
			_, _ = t.conn.WriteTo(appendERROR(nil, &refusal{codeUndefined, "cannot read the file"}), t.to)
			return fmt.Errorf("reading at %d: %w", at, err)
		}
		t.write(t.packet[:4+len(data)], block)
	}
	return nil
}
