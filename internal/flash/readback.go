package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gild-dev/gild/internal/flash/chunks"
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
	return f.mendAll(ctx)
}

// toReadBack lists what Verify asks for. Held chunks are not on the disk yet,
// and what is verified was read from the medium already, after the last write
// that could have gone astray.
func (f *Flight) toReadBack() []int {
	var chunks []int
	for _, i := range f.onDisk() {
		if f.chunks.Proofs.Final(i) {
			continue
		}
		if f.Verify == VerifyFull || f.Verify == VerifySample && i%sampleEvery == 0 {
			chunks = append(chunks, i)
		}
	}
	return chunks
}

// prove reads the chunks back, those that were proved before once more. What is
// wrong is then to be mended.
func (f *Flight) prove(ctx context.Context, chunks []int) error {
	f.meter.expect(f.bytesOf(chunks))
	begin := func(i int) bool {
		_, length := f.table.Extent(i)
		f.meter.done.Add(length)
		return f.chunks.Proofs.BeginAgain(i)
	}
	return f.examine(ctx, chunks, readers, begin, f.proved)
}

// proved takes note of what chunk i reads back as.
func (f *Flight) proved(i int, right bool) error {
	if f.chunks.Proofs.Proved(i, right) {
		off, length := f.table.Extent(i)
		return fmt.Errorf("%d bytes at byte %d of the disk read back other than written, twice: %w", length, off, ErrMedium)
	}
	return nil
}

// mend writes chunks again that read back wrong, and reads them back: disks do
// remap a bad sector on the second write.
func (f *Flight) mend(ctx context.Context, claimed []int) error {
	f.meter.repaired.Add(int64(len(claimed)))
	if err := f.rewrite(ctx, claimed); err != nil {
		return err
	}
	return f.examine(ctx, claimed, readers, anyChunk, f.proved)
}

// mendAll mends until nothing is wrong. Where a write went astray it may have
// hit a chunk that was proved before, so every chunk is read back after that,
// whatever Verify says.
func (f *Flight) mendAll(ctx context.Context) error {
	for {
		for claimed := f.chunks.Proofs.ClaimWrong(ctx, false); len(claimed) > 0; claimed = f.chunks.Proofs.ClaimWrong(ctx, false) {
			if err := f.mend(ctx, claimed); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !f.chunks.Proofs.TakeAstray() {
			return nil
		}
		if err := f.prove(ctx, f.onDisk()); err != nil {
			return err
		}
	}
}

// proveAll reads back whatever the disk should hold, and mends it.
func (f *Flight) proveAll(ctx context.Context) error {
	if err := f.prove(ctx, f.onDisk()); err != nil {
		return err
	}
	return f.mendAll(ctx)
}

// onDisk lists the chunks that the disk should hold by now: all but those that
// wait for the seal, and those that a system has made its own.
func (f *Flight) onDisk() []int {
	var all []int
	for i := range f.table.Len() {
		if !f.held.holds(i) && f.chunks.Get(i) != chunks.Owned {
			all = append(all, i)
		}
	}
	return all
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

// anyChunk begins with every chunk.
func anyChunk(int) bool { return true }

// examine reads those chunks from the medium that begin reports true for, so
// many side by side, and tells of each whether it is what the image says.
func (f *Flight) examine(ctx context.Context, chunks []int, side int, begin func(i int) bool, tell func(i int, right bool) error) error {
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
				if !begin(i) {
					continue
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
