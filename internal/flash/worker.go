package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gild-dev/gild/internal/golden"
)

// badFrames is how often a chunk may come wrong from the source before the
// flash gives up: once may be the wire, three times is the source.
const badFrames = 3

// worker has what one chunk needs on its way: a place for its frame, a
// decoder, a place for its raw bytes. Its memory is what bounds the engine's.
type worker struct {
	*Flight
	dec   *golden.Decoder
	frame []byte
	raw   []byte
}

// work runs do with a worker's means.
func (f *Flight) work(do func(*worker) error) error {
	dec, err := golden.NewDecoder(f.table)
	if err != nil {
		return err
	}
	defer dec.Close()
	raw := f.buffers.get()
	defer f.buffers.put(raw)
	return do(&worker{Flight: f, dec: dec, raw: raw})
}

// fetch fetches and writes until nothing is left to claim.
func (f *Flight) fetch(ctx context.Context, spare bool) error {
	return f.work(func(w *worker) error {
		for {
			if err := f.yield(ctx, spare); err != nil {
				return err
			}
			span := f.chunks.Work.Claim(ctx, f.spanBytes())
			if len(span) == 0 {
				return context.Cause(ctx)
			}
			if err := w.bring(ctx, span); err != nil {
				return err
			}
		}
	})
}

// bring brings a span of chunks onto the disk over one request.
func (w *worker) bring(ctx context.Context, span []int) error {
	if w.table.Zero(span[0]) {
		return w.placeZeros(ctx, span[0])
	}
	first, last := w.table.Chunk(span[0]), w.table.Chunk(span[len(span)-1])
	r := w.source.open(ctx, first.Offset, last.Offset+last.Length)
	defer r.Close()
	for n, i := range span {
		start := time.Now()
		if gap := w.table.Chunk(i).Offset - r.off; gap > 0 {
			if _, err := io.CopyN(io.Discard, r, gap); err != nil {
				return fmt.Errorf("fetching up to chunk %d: %w", i, err)
			}
		}
		raw, err := w.read(r, i)
		if bad := (*golden.ChunkError)(nil); errors.As(err, &bad) {
			if w.Move != nil {
				// That may take for ever. Who waits for one of the others must not.
				w.chunks.Work.GiveBack(span[n+1:])
				span = span[:n+1]
			}
			raw, err = w.refetch(ctx, i, badFrames-1)
		}
		if err == nil {
			err = w.place(ctx, i, raw)
		}
		if err != nil {
			return err
		}
		w.survey.fetching.add(int64(len(raw)), time.Since(start))
		if n+1 == len(span) {
			break // some were given back
		}
	}
	return nil
}

// read takes the frame of chunk i from r, which stands at its start, and
// decodes it.
func (w *worker) read(r io.Reader, i int) ([]byte, error) {
	length := w.table.Chunk(i).Length
	if int64(cap(w.frame)) < length {
		w.frame = make([]byte, length, max(length, w.table.ChunkSize))
	}
	frame := w.frame[:length]
	start := time.Now()
	_, err := io.ReadFull(r, frame)
	w.waited.Add(int64(time.Since(start)))
	if err != nil {
		return nil, fmt.Errorf("fetching chunk %d: %w", i, err)
	}
	return w.dec.Decode(i, frame, w.raw)
}

// refetch gets chunk i alone, over a connection of its own each time, up to
// attempts times: for ever when a system waits for it.
func (w *worker) refetch(ctx context.Context, i, attempts int) ([]byte, error) {
	c := w.table.Chunk(i)
	var err error
	for n := 0; n < attempts || w.Move != nil; n++ {
		if n >= attempts && w.source.retry.wait(ctx, n-attempts) != nil {
			return nil, context.Cause(ctx)
		}
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

// place brings the verified raw bytes of chunk i to their place: onto the
// disk, or into memory until the seal.
func (w *worker) place(ctx context.Context, i int, raw []byte) error {
	if err := w.land(ctx, i, raw); err != nil {
		return err
	}
	w.meter.written.Add(int64(len(raw)))
	w.meter.done.Add(int64(len(raw)))
	return nil
}

func (w *worker) land(ctx context.Context, i int, raw []byte) error {
	if w.held.take(i, raw) {
		w.chunks.Work.Landed(i)
		return nil
	}
	own, err := w.chunks.System.Land(ctx, i)
	if err != nil {
		return err
	}
	if own != nil {
		if err := w.layAround(i, raw, own); err != nil {
			return err
		}
		w.chunks.System.LaidAround(i)
		return nil
	}
	w.remember(i, raw)
	off, _ := w.table.Extent(i)
	if err := writeFull(w.Disk, raw, off); err != nil {
		return err
	}
	w.chunks.Work.Landed(i)
	return nil
}

// placeZeros is place for a chunk of zeros.
func (w *worker) placeZeros(ctx context.Context, i int) error {
	_, length := w.table.Extent(i)
	clear(w.raw[:length])
	return w.place(ctx, i, w.raw[:length])
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
