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
)

// sampleEvery is the distance of the chunks that VerifySample reads back.
const sampleEvery = 100

// readBack proves that the medium holds what was written.
func (f *Flight) readBack(ctx context.Context) error {
	// What was begun while chunks still arrived comes to its end here.
	if err := f.following.Wait(); err != nil {
		return err
	}
	if err := f.prove(ctx, f.toReadBack()); err != nil {
		return err
	}
	if err := f.mend(ctx); err != nil {
		return err
	}
	if f.astray.Load() {
		return f.proveAll(ctx)
	}
	return nil
}

// toReadBack lists what Verify asks for. Held chunks are not on the disk yet,
// and what is verified was read from the medium already, after the last write
// that could have gone astray.
func (f *Flight) toReadBack() []int {
	var chunks []int
	for _, i := range f.onDisk() {
		if f.chunks.isProved(i) || f.wrong.has(i) {
			continue
		}
		if f.Verify == VerifyFull || f.Verify == VerifySample && i%sampleEvery == 0 {
			chunks = append(chunks, i)
		}
	}
	return chunks
}

// prove reads the chunks back and notes which are wrong.
func (f *Flight) prove(ctx context.Context, chunks []int) error {
	f.meter.expect(f.bytesOf(chunks))
	return f.examine(ctx, chunks, readers, func(i int, right bool) error {
		_, length := f.table.Extent(i)
		f.meter.done.Add(length)
		return f.proved(i, right)
	})
}

// proved takes note of what chunk i reads back as.
func (f *Flight) proved(i int, right bool) error {
	if f.chunks.proved(i, right) && !right {
		off, length := f.table.Extent(i)
		return f.wrong.add(i, off, length)
	}
	return nil
}

// mend writes again what was read back wrong: disks do remap a bad sector on
// the second write. Where a write went astray it may have hit a chunk that was
// proved before, so every chunk is read back after that, whatever Verify says.
func (f *Flight) mend(ctx context.Context) error {
	for wrong := f.wrong.take(); len(wrong) > 0; wrong = f.wrong.take() {
		f.meter.repaired.Add(int64(len(wrong)))
		if err := f.rewrite(ctx, wrong); err != nil {
			return err
		}
		if err := f.prove(ctx, f.onDisk()); err != nil {
			return err
		}
	}
	return nil
}

// proveAll reads back whatever the disk should hold, and mends it.
func (f *Flight) proveAll(ctx context.Context) error {
	if err := f.prove(ctx, f.onDisk()); err != nil {
		return err
	}
	return f.mend(ctx)
}

// onDisk lists the chunks that the disk should hold by now: all but those that
// wait for the seal, and those that a system has made its own.
func (f *Flight) onDisk() []int {
	var chunks []int
	for i := range f.table.Len() {
		if !f.held.holds(i) && f.chunks.get(i) != owned {
			chunks = append(chunks, i)
		}
	}
	return chunks
}

// rewrite fetches and writes chunks again, as plain bytes even where they are
// zeros: the way that failed is not taken twice.
func (f *Flight) rewrite(ctx context.Context, chunks []int) error {
	next := counter(chunks)
	g, gctx := errgroup.WithContext(ctx)
	for range min(f.Workers, len(chunks)) {
		g.Go(func() error {
			return f.work(func(w *worker) error {
				for i, ok := next(); ok; i, ok = next() {
					raw, err := w.refetch(gctx, i, badFrames)
					if err != nil {
						return err
					}
					off, _ := f.table.Extent(i)
					if err := writeFull(f.Disk, raw, off); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := f.Disk.Flush(); err != nil {
		return fmt.Errorf("flushing rewritten data: %w", err)
	}
	return nil
}

// examine reads chunks from the medium, so many side by side, and tells of each
// whether it is what the image says.
func (f *Flight) examine(ctx context.Context, chunks []int, side int, tell func(i int, right bool) error) error {
	if len(chunks) == 0 {
		return nil
	}
	medium, err := f.openMedium()
	if err != nil {
		return err
	}
	defer medium.Close()
	next := counter(chunks)
	g, ctx := errgroup.WithContext(ctx)
	for range min(side, len(chunks)) {
		g.Go(func() error {
			buf := f.buffers.get()
			defer f.buffers.put(buf)
			for i, ok := next(); ok; i, ok = next() {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				right, err := f.holds(medium, i, buf)
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
func (f *Flight) holds(medium io.ReaderAt, i int, buf []byte) (bool, error) {
	start := time.Now()
	defer func() { f.survey.reading.add(int64(len(buf)), time.Since(start)) }()
	off, length := f.table.Extent(i)
	raw := buf[:length]
	if err := readFull(medium, raw, off); err != nil {
		return false, err
	}
	if f.table.Zero(i) {
		return allZero(raw), nil
	}
	// A new disk is zero, and to hash that takes long on a small machine.
	if allZero(raw) {
		return f.table.Chunk(i).Hash == f.table.ZeroHash(length), nil
	}
	return f.table.Hash.Sum(raw) == f.table.Chunk(i).Hash, nil
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

// readFull fills p from the disk, or says where it could not.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at byte %d of the disk: %w", len(p), off, err)
}

func (f *Flight) bytesOf(chunks []int) int64 {
	var n int64
	for _, i := range chunks {
		_, length := f.table.Extent(i)
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

// ErrMedium is wrapped by the errors that Run returns when bytes read back other
// than they were written, and did so again when they were written once more.
var ErrMedium = errors.New("replace the disk")

// wrongChunks are the chunks that read back other than written.
type wrongChunks struct {
	mu    sync.Mutex
	found []int
	ever  map[int]bool
}

// add takes note of chunk i. That one chunk is wrong a second time is the
// disk's last word.
func (w *wrongChunks) add(i int, off, length int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ever[i] {
		return fmt.Errorf("%d bytes at byte %d of the disk read back other than written, twice: %w", length, off, ErrMedium)
	}
	if w.ever == nil {
		w.ever = map[int]bool{}
	}
	w.ever[i] = true
	w.found = append(w.found, i)
	return nil
}

func (w *wrongChunks) has(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ever[i]
}

// take returns those not taken before.
func (w *wrongChunks) take() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.found
	w.found = nil
	return found
}
