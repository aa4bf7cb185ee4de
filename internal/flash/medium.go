package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/ledger"
	"github.com/gild-dev/gild/internal/golden"
)

// ErrMedium is wrapped by the errors that Run returns when bytes read back
// other than they were written, and did so again when they were written once
// more.
var ErrMedium = errors.New("disk returned wrong data")

// readers is how many chunks are read from the disk at a time: disks and
// their queues want company, and one core hashes less than a disk can read.
const readers = 4

// medium is the disk of a flight as far as its bytes have to be there: what is
// written through it is read back past every cache.
type medium struct {
	disk     *watchedDisk
	table    *golden.Table
	buffers  *buffers
	reading  *rate // of one reader
	ledger   *ledger.Ledger
	repaired *atomic.Int64 // pieces that read back wrong once
}

// open opens the disk past every cache.
func (m *medium) open() (blockdev.ReadBack, error) {
	back, err := m.disk.OpenReadBack()
	if err != nil {
		return nil, fmt.Errorf("opening the disk to read it: %w", err)
	}
	return back, nil
}

// closeGate makes sure that no firmware boots the disk.
func (m *medium) closeGate(ctx context.Context) error {
	if err := m.zeroProven(ctx, blockdev.Range{Offset: 0, Length: int64(m.disk.SectorSize())}); err != nil {
		return fmt.Errorf("zeroing LBA 0: %w", err)
	}
	return nil
}

// zeroProven zeroes, flushes, and reads back from the medium. What does not
// read as zeros is written as plain bytes: the way that failed is not taken
// twice.
func (m *medium) zeroProven(ctx context.Context, ranges ...blockdev.Range) error {
	for _, r := range ranges {
		if err := m.disk.ZeroRange(r.Offset, r.Length); err != nil {
			return err
		}
	}
	if err := m.disk.Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	zero := m.buffers.get()
	defer m.buffers.put(zero)
	clear(zero)
	var zeros []blockdev.Extent
	for _, r := range ranges {
		for at := int64(0); at < r.Length; at += int64(len(zero)) {
			zeros = append(zeros, blockdev.Extent{Offset: r.Offset + at, Data: zero[:min(int64(len(zero)), r.Length-at)]})
		}
	}
	return m.writeProven(ctx, zeros, func() error { return nil })
}

// writeProven makes the medium hold the extents. It writes only those that it
// reads back wrong: a write that goes astray then always shows at the place
// where it was to go. Bytes that are wrong after they were written may be
// anywhere, so astray is called to find what they hit before they are written
// once more.
func (m *medium) writeProven(ctx context.Context, extents []blockdev.Extent, astray func() error) error {
	for attempt := 0; ; attempt++ {
		wrong, err := m.wrongExtents(extents)
		if err != nil || len(wrong) == 0 {
			return err
		}
		if attempt > 1 {
			return wrongTwice(wrong[0].Offset)
		}
		if attempt == 1 {
			m.repaired.Add(1)
			if err := astray(); err != nil {
				return err
			}
		}
		if err := context.Cause(ctx); err != nil {
			return err
		}
		for _, e := range wrong {
			if err := blockdev.WriteFull(m.disk, e.Data, e.Offset); err != nil {
				return err
			}
		}
		if err := m.disk.Flush(); err != nil {
			return fmt.Errorf("flushing: %w", err)
		}
	}
}

func wrongTwice(off int64) error {
	return fmt.Errorf("byte %d and following of the disk read back wrong twice: %w", off, ErrMedium)
}

// wrongExtents returns those that the medium does not hold.
func (m *medium) wrongExtents(extents []blockdev.Extent) ([]blockdev.Extent, error) {
	back, err := m.open()
	if err != nil {
		return nil, err
	}
	defer back.Close()
	buf := m.buffers.get()
	defer m.buffers.put(buf)
	var wrong []blockdev.Extent
	for _, e := range extents {
		right, err := isOn(back, e, buf)
		if err != nil {
			return nil, err
		}
		if !right {
			wrong = append(wrong, e)
		}
	}
	return wrong, nil
}

// isOn compares the extent with the medium, as much at a time as buf holds.
func isOn(back io.ReaderAt, e blockdev.Extent, buf []byte) (bool, error) {
	for at := 0; at < len(e.Data); at += len(buf) {
		want := e.Data[at:min(at+len(buf), len(e.Data))]
		got := buf[:len(want)]
		if err := blockdev.ReadFull(back, got, e.Offset+int64(at)); err != nil {
			return false, err
		}
		if !bytes.Equal(got, want) {
			return false, nil
		}
	}
	return true, nil
}

// anyChunk begins with every chunk.
func anyChunk(int) bool { return true }

// examine reads those chunks from the medium that begin reports true for, so
// many side by side, and tells of each whether it is what the image says.
func (m *medium) examine(ctx context.Context, list []int, side int, begin func(i int) bool, tell func(i int, right bool) error) error {
	if len(list) == 0 {
		return nil
	}
	back, err := m.open()
	if err != nil {
		return err
	}
	defer back.Close()
	next := counter(list)
	g, ctx := errgroup.WithContext(ctx)
	for range min(side, len(list)) {
		g.Go(func() error {
			buf := m.buffers.get()
			defer m.buffers.put(buf)
			for i, ok := next(); ok; i, ok = next() {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				if !begin(i) {
					continue
				}
				right, err := m.holds(back, i, buf)
				if err == nil {
					err = tell(i, right)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// holds reports whether the medium holds chunk i. That zeros are zeros needs
// no hash: the table was checked to mean them.
func (m *medium) holds(back io.ReaderAt, i int, buf []byte) (bool, error) {
	start := time.Now()
	var disk time.Duration
	defer func() {
		m.reading.add(int64(len(buf)), time.Since(start))
		m.ledger.Read(i, start, disk)
	}()
	off, length := m.table.Extent(i)
	raw := buf[:length]
	err := blockdev.ReadFull(back, raw, off)
	if disk = time.Since(start); err != nil {
		return false, err
	}
	if m.table.Zero(i) {
		return allZero(raw), nil
	}
	// A new disk is zero, and to hash that takes long on a small machine.
	if allZero(raw) {
		return m.table.Chunk(i).Hash == m.table.ZeroHash(length), nil
	}
	return m.table.Hash.Sum(raw) == m.table.Chunk(i).Hash, nil
}

// lend reads chunk i, and lends its bytes to use if they are right.
func (m *medium) lend(back io.ReaderAt, i int, use func(raw []byte)) (right bool, err error) {
	buf := m.buffers.get()
	defer m.buffers.put(buf)
	if right, err = m.holds(back, i, buf); right {
		use(buf)
	}
	return right, err
}

// allZero compares block by block, which runs at memory speed.
func allZero(p []byte) bool {
	var zeros [4096]byte
	for len(p) > 0 {
		n := min(len(zeros), len(p))
		if !bytes.Equal(p[:n], zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}

// bytesOf adds up the raw bytes of the chunks.
func bytesOf(t *golden.Table, list []int) int64 {
	var n int64
	for _, i := range list {
		_, length := t.Extent(i)
		n += length
	}
	return n
}

// counter hands the values out one by one to many callers.
func counter(values []int) func() (int, bool) {
	var n atomic.Int64
	return func() (int, bool) {
		k := int(n.Add(1)) - 1
		if k >= len(values) {
			return 0, false
		}
		return values[k], true
	}
}

// buffers lends out buffers of one chunk, aligned as the disk wants them. They
// are kept for the next borrower: what the collector takes back it takes late.
type buffers struct {
	size int
	mu   sync.Mutex
	free [][]byte
}

func (b *buffers) get() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.free); n > 0 {
		buf := b.free[n-1]
		b.free = b.free[:n-1]
		return buf
	}
	return blockdev.AlignedBuffer(b.size)
}

func (b *buffers) put(buf []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free = append(b.free, buf)
}
