package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
)

// A scan begins with a look at probeChunks data chunks, spread over the disk
// and dense at its front, where an interrupted flash got furthest. When none
// is right, the disk holds something else and reading it all would be waste.
const probeChunks = 64

// sampleEvery is the distance of the chunks that VerifySample reads back.
const sampleEvery = 100

// scan finds what is already right on the disk: what an interrupted flash
// left, or an older version of the image. Only hashes decide: a journal would
// have to be believed.
func (f *flight) scan(ctx context.Context) error {
	data := f.dataChunks()
	probe := spread(data, probeChunks)
	f.meter.expect(f.bytesOf(probe))
	if err := f.findRight(ctx, probe); err != nil {
		return err
	}
	if f.meter.kept.Load() == 0 {
		return nil
	}
	var rest []int
	for _, i := range data {
		if f.chunks.get(i) == absent {
			rest = append(rest, i)
		}
	}
	f.meter.expect(f.bytesOf(rest))
	return f.findRight(ctx, rest)
}

// findRight marks the chunks among those given that the disk already holds.
func (f *flight) findRight(ctx context.Context, chunks []int) error {
	return f.examine(ctx, chunks, func(i int, right bool) {
		if right {
			f.chunks.set(i, verified)
			_, length := f.table.Extent(i)
			f.meter.kept.Add(length)
		}
	})
}

// readBack proves that the medium holds what was written. A chunk that reads
// back wrong is fetched and written once more: disks do remap a bad sector on
// the second write. Wrong again is the disk's last word.
func (f *flight) readBack(ctx context.Context) error {
	chunks := f.toReadBack()
	f.meter.expect(f.bytesOf(chunks))
	wrong, err := f.wrongAmong(ctx, chunks)
	if err != nil || len(wrong) == 0 {
		return err
	}
	f.meter.repaired.Add(int64(len(wrong)))
	if err := f.rewrite(ctx, wrong); err != nil {
		return err
	}
	if wrong, err = f.wrongAmong(ctx, wrong); err != nil {
		return err
	}
	if len(wrong) > 0 {
		off, length := f.table.Extent(wrong[0])
		return fmt.Errorf("%d bytes at byte %d of the disk read back other than written, twice (%d such places): replace the disk",
			length, off, len(wrong))
	}
	return nil
}

// toReadBack lists what Verify asks for. Held chunks are not on the disk yet,
// and what a scan found right was read from the medium a moment ago.
func (f *flight) toReadBack() []int {
	var chunks []int
	for i := range f.table.Len() {
		if f.held.holds(i) || f.chunks.get(i) == verified {
			continue
		}
		if f.Verify == VerifyFull || f.Verify == VerifySample && i%sampleEvery == 0 {
			chunks = append(chunks, i)
		}
	}
	return chunks
}

// wrongAmong reads the chunks back and returns those that are wrong.
func (f *flight) wrongAmong(ctx context.Context, chunks []int) ([]int, error) {
	var mu sync.Mutex
	var wrong []int
	err := f.examine(ctx, chunks, func(i int, right bool) {
		if right {
			f.chunks.set(i, verified)
			return
		}
		mu.Lock()
		wrong = append(wrong, i)
		mu.Unlock()
	})
	return wrong, err
}

// rewrite fetches and writes chunks again, as plain bytes even where they are
// zeros: the way that failed is not taken twice.
func (f *flight) rewrite(ctx context.Context, chunks []int) error {
	next := counter(chunks)
	err := f.parallel(ctx, func(ctx context.Context, w *worker) error {
		for i, ok := next(); ok; i, ok = next() {
			raw, err := w.fetch(ctx, i, badFrames)
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
	if err != nil {
		return err
	}
	if err := f.Disk.Flush(); err != nil {
		return fmt.Errorf("flushing rewritten data: %w", err)
	}
	return nil
}

// examine reads chunks from the medium, in parallel, and tells of each
// whether it is what the image says.
func (f *flight) examine(ctx context.Context, chunks []int, tell func(i int, right bool)) error {
	if len(chunks) == 0 {
		return nil
	}
	medium, err := f.Disk.OpenReadBack()
	if err != nil {
		return fmt.Errorf("opening the disk to read it back: %w", err)
	}
	defer medium.Close()
	next := counter(chunks)
	return f.parallel(ctx, func(ctx context.Context, w *worker) error {
		for i, ok := next(); ok; i, ok = next() {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			off, length := f.table.Extent(i)
			raw := w.raw[:length]
			if err := readFull(medium, raw, off); err != nil {
				return err
			}
			tell(i, f.right(i, raw))
			f.meter.done.Add(length)
		}
		return nil
	})
}

// right reports whether raw is chunk i. That zeros are zeros needs no hash:
// the table was checked to mean them.
func (f *flight) right(i int, raw []byte) bool {
	if f.table.Zero(i) {
		return bytes.Equal(raw, f.zeros[:len(raw)])
	}
	return f.table.Hash.Sum(raw) == f.table.Chunk(i).Hash
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

// dataChunks lists the chunks that a scan is about. Zero chunks are zeroed in
// any case, which is cheaper than to read them.
func (f *flight) dataChunks() []int {
	var data []int
	for i := range f.table.Len() {
		if !f.table.Zero(i) && !f.held.holds(i) {
			data = append(data, i)
		}
	}
	return data
}

func (f *flight) bytesOf(chunks []int) int64 {
	var n int64
	for _, i := range chunks {
		_, length := f.table.Extent(i)
		n += length
	}
	return n
}

// spread picks n of the values: the first quarter of them from the front in a
// row, the rest at even distances.
func spread(values []int, n int) []int {
	if len(values) <= n {
		return values
	}
	front := n / 4
	picked := append([]int(nil), values[:front]...)
	rest := values[front:]
	for k := range n - front {
		picked = append(picked, rest[k*len(rest)/(n-front)])
	}
	return picked
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
