package flash

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/golden"
)

// badFrames is how often a chunk may come wrong from the source before the
// flash gives up: once may be the wire, three times is the source.
const badFrames = 3

// worker has what one chunk needs on its way: a place for its frame, a
// decoder, a place for its raw bytes. Its memory is what bounds the engine's.
type worker struct {
	*flight
	dec   *golden.Decoder
	frame []byte
	raw   []byte // aligned for O_DIRECT
}

func (f *flight) newWorker() (*worker, error) {
	dec, err := golden.NewDecoder(f.table)
	if err != nil {
		return nil, err
	}
	return &worker{flight: f, dec: dec, raw: blockdev.AlignedBuffer(int(f.table.ChunkSize))}, nil
}

// parallel runs do in every worker and each of beside once, next to them.
// The first error stops all.
func (f *flight) parallel(ctx context.Context, do func(context.Context, *worker) error, beside ...func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for range f.Workers {
		g.Go(func() error {
			w, err := f.newWorker()
			if err != nil {
				return err
			}
			defer w.dec.Close()
			return do(ctx, w)
		})
	}
	for _, b := range beside {
		g.Go(func() error { return b(ctx) })
	}
	return g.Wait()
}

// stream fetches and writes until nothing is left to claim.
func (f *flight) stream(ctx context.Context, w *worker) error {
	for {
		span := f.chunks.claim()
		if len(span) == 0 {
			return nil
		}
		if err := w.land(ctx, span); err != nil {
			return err
		}
	}
}

// land brings a span of chunks onto the disk over one request.
func (w *worker) land(ctx context.Context, span []int) error {
	first, last := w.table.Chunk(span[0]), w.table.Chunk(span[len(span)-1])
	r := w.source.open(ctx, first.Offset, last.Offset+last.Length)
	defer r.Close()
	for _, i := range span {
		if gap := w.table.Chunk(i).Offset - r.off; gap > 0 {
			if _, err := io.CopyN(io.Discard, r, gap); err != nil {
				return fmt.Errorf("fetching up to chunk %d: %w", i, err)
			}
		}
		raw, err := w.read(r, i)
		if bad := (*golden.ChunkError)(nil); errors.As(err, &bad) {
			raw, err = w.fetch(ctx, i, badFrames-1)
		}
		if err != nil {
			return err
		}
		if err := w.put(i, raw); err != nil {
			return err
		}
	}
	return nil
}

// read takes the frame of chunk i from r, which stands at its start.
func (w *worker) read(r io.Reader, i int) ([]byte, error) {
	length := w.table.Chunk(i).Length
	if int64(cap(w.frame)) < length {
		w.frame = make([]byte, length, max(length, w.table.ChunkSize))
	}
	frame := w.frame[:length]
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, fmt.Errorf("fetching chunk %d: %w", i, err)
	}
	return w.dec.Decode(i, frame, w.raw)
}

// fetch gets chunk i alone, over a connection of its own each time, up to
// attempts times.
func (w *worker) fetch(ctx context.Context, i, attempts int) ([]byte, error) {
	c := w.table.Chunk(i)
	var err error
	for range attempts {
		r := w.source.open(ctx, c.Offset, c.Offset+c.Length)
		var raw []byte
		raw, err = w.read(r, i)
		_ = r.Close()
		if err == nil {
			return raw, nil
		}
		if bad := (*golden.ChunkError)(nil); !errors.As(err, &bad) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the source gave wrong bytes again and again: %w", err)
}

// put brings the verified raw bytes of chunk i to their place: onto the disk,
// or into memory until the seal.
func (w *worker) put(i int, raw []byte) error {
	if !w.held.take(i, raw) {
		off, _ := w.table.Extent(i)
		if err := writeFull(w.Disk, raw, off); err != nil {
			return err
		}
	}
	w.chunks.set(i, written)
	w.meter.written.Add(int64(len(raw)))
	w.meter.done.Add(int64(len(raw)))
	return nil
}

// writeFull writes all of p, or says where it could not.
func writeFull(d io.WriterAt, p []byte, off int64) error {
	n, err := d.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	if err != nil {
		return fmt.Errorf("writing %d bytes at byte %d of the disk: %w", len(p), off, err)
	}
	return nil
}
