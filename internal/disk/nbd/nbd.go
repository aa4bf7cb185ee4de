// Package nbd serves a disk to the kernel's driver of network block devices,
// over a pair of sockets within one process: [Attach] gives the driver its end
// (linux/nbd.h, drivers/block/nbd.c), [Serve] answers at the other (the
// transmission phase of NBD's doc/proto.md).
package nbd

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/semaphore"

	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// Disk is what is served. Offsets and lengths are bytes and multiples of the
// sector size. All methods are called by many at a time.
type Disk interface {
	Size() int64
	// Await returns when a read of the range has nothing to wait for but the disk.
	// It may take as long as it takes, and holds up nothing else.
	Await(off, n int64) error
	io.ReaderAt // reads all or fails
	io.WriterAt
	Flush() error
}

// Options of [Serve].
type Options struct {
	// OnError is told of every request that failed, with what it was to do and
	// where in bytes. The kernel learns no more than that there was an error. nil:
	// nobody is told.
	OnError func(op string, off int64, err error)
}

// Magic numbers, commands, flags and errors of the protocol.
const (
	requestMagic = 0x25609513
	replyMagic   = 0x67446698

	cmdRead  = 0
	cmdWrite = 1
	cmdDisc  = 2
	cmdFlush = 3

	flagFUA = 1 << 0 // of a request

	errIO      = 5
	errInvalid = 22
	errNoSpace = 28
)

const (
	requestSize = 28
	replySize   = 16
	// maxLength is the longest request that the driver makes, in bytes.
	maxLength = 32 << 20
	// budget bounds the bytes of reads under way, and those of writes: neither can
	// starve the other.
	budget = 8 << 20
	// pooled is the size of the buffers that are kept, what the driver asks for
	// most.
	pooled = 128 << 10
	// headroom is in front of the bytes of a read, so that the reply is one write
	// and the disk gets a buffer as it wants it.
	headroom = 4096
)

var order = binary.BigEndian

type header struct {
	flags, command uint16
	handle         uint64
	off            int64
	length         int64
}

func parseHeader(p *[requestSize]byte) (header, error) {
	if order.Uint32(p[:]) != requestMagic {
		return header{}, fmt.Errorf("a request begins with %#x", order.Uint32(p[:]))
	}
	return header{
		flags: order.Uint16(p[4:]), command: order.Uint16(p[6:]), handle: order.Uint64(p[8:]),
		off: int64(order.Uint64(p[16:])), length: int64(order.Uint32(p[24:])),
	}, nil
}

// server is one connection.
type server struct {
	Options
	ctx           context.Context
	disk          Disk
	reads, writes *semaphore.Weighted // bytes
	buffers       sync.Pool
	busy          sync.WaitGroup

	mu   sync.Mutex // a reply is one piece
	conn io.Writer
}

// Serve answers requests until the other side says that it has had enough,
// which is nil, or until ctx is done or the stream breaks. Requests are carried
// out side by side and answered as they are done; whoever waits for the network
// keeps nobody else waiting. It closes conn.
func Serve(ctx context.Context, conn io.ReadWriteCloser, disk Disk, o Options) error {
	s := &server{Options: o, ctx: ctx, disk: disk, reads: semaphore.NewWeighted(budget), writes: semaphore.NewWeighted(budget), conn: conn}
	s.buffers.New = func() any { return blockdev.AlignedBuffer(headroom + pooled) }
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	// Closed before the last answers: nobody is there to take them.
	defer s.busy.Wait()
	defer conn.Close()
	for {
		var raw [requestSize]byte
		if _, err := io.ReadFull(conn, raw[:]); err != nil {
			return s.ended(err)
		}
		h, err := parseHeader(&raw)
		if err != nil {
			return fmt.Errorf("serving a disk: %w", err)
		}
		if h.command == cmdDisc {
			return nil
		}
		if err := s.begin(conn, h); err != nil {
			return s.ended(err)
		}
	}
}

func (s *server) ended(err error) error {
	if s.ctx.Err() != nil {
		err = context.Cause(s.ctx)
	}
	return fmt.Errorf("serving a disk: %w", err)
}

// begin takes what belongs to a request from the stream and has it carried out.
func (s *server) begin(stream io.Reader, h header) error {
	if h.command != cmdWrite {
		s.busy.Go(func() { s.carryOut(h) })
		return nil
	}
	if h.length > maxLength {
		return fmt.Errorf("a write of %d bytes", h.length)
	}
	share := min(h.length, budget)
	if err := s.writes.Acquire(s.ctx, share); err != nil {
		return err
	}
	buf, free := s.buffer(h.length)
	if _, err := io.ReadFull(stream, buf[headroom:]); err != nil {
		return err
	}
	s.busy.Go(func() {
		defer s.writes.Release(share)
		defer free()
		s.reply(h, s.check("writing", h, errNoSpace, func() error {
			_, err := s.disk.WriteAt(buf[headroom:], h.off)
			if err == nil && h.flags&flagFUA != 0 {
				err = s.disk.Flush()
			}
			return err
		}))
	})
	return nil
}

func (s *server) carryOut(h header) {
	switch h.command {
	case cmdRead:
		s.read(h)
	case cmdFlush:
		s.reply(h, s.check("flushing", header{}, errInvalid, s.disk.Flush))
	default:
		s.reply(h, errInvalid)
	}
}

func (s *server) read(h header) {
	if h.length > maxLength {
		s.reply(h, errInvalid)
		return
	}
	code := s.check("reading", h, errInvalid, func() error { return s.disk.Await(h.off, h.length) })
	if code != 0 {
		s.reply(h, code)
		return
	}
	share := min(h.length, budget)
	if s.reads.Acquire(s.ctx, share) != nil {
		return // the stream is closed
	}
	defer s.reads.Release(share)
	buf, free := s.buffer(h.length)
	defer free()
	code = s.check("reading", h, errInvalid, func() error {
		_, err := s.disk.ReadAt(buf[headroom:], h.off)
		return err
	})
	if code != 0 {
		s.reply(h, code)
		return
	}
	out := buf[headroom-replySize:]
	putReply(out, h, 0)
	s.send(out)
}

// check carries out a request if it lies on the disk, and makes an error code
// of what came of it. outside is that of a request that does not.
func (s *server) check(op string, h header, outside uint32, do func() error) uint32 {
	if h.off < 0 || h.length > s.disk.Size() || h.off > s.disk.Size()-h.length {
		return outside
	}
	err := do()
	if err == nil {
		return 0
	}
	if s.OnError != nil && s.ctx.Err() == nil {
		s.OnError(op, h.off, err)
	}
	return errIO
}

// buffer lends room for a reply's header and n bytes, which begin at a page.
func (s *server) buffer(n int64) (buf []byte, free func()) {
	if n > pooled {
		return blockdev.AlignedBuffer(headroom + int(n)), func() {}
	}
	whole := s.buffers.Get().([]byte)
	return whole[:headroom+n], func() { s.buffers.Put(whole) } //nolint:staticcheck // a slice header is small beside the buffer
}

func (s *server) reply(h header, code uint32) {
	var p [replySize]byte
	putReply(p[:], h, code)
	s.send(p[:])
}

func putReply(p []byte, h header, code uint32) {
	order.PutUint32(p, replyMagic)
	order.PutUint32(p[4:], code)
	order.PutUint64(p[8:], h.handle)
}

// send writes one reply. That it cannot be sent shows in the next request.
func (s *server) send(p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.conn.Write(p)
}
