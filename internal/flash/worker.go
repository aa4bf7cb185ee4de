package flash

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/backoff"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
)

// badFrames is how often a chunk may come wrong from the source before the
// flash gives up: once may be the wire, three times is the source.
const badFrames = 3

// worker has what one chunk needs on its way: a place for its frame, a
// decoder, a place for its raw bytes. Its memory is what bounds the engine's.
type worker struct {
	team  *workers
	dec   *golden.Decoder
	frame []byte
	raw   []byte
}

// bring brings a span of chunks onto the disk over one request.
func (w *worker) bring(ctx context.Context, span []int) error {
	if w.team.table.Zero(span[0]) {
		return w.placeZeros(ctx, span[0])
	}
	r := w.team.source.Open(ctx, span)
	defer r.Close()
	for n, i := range span {
		start := time.Now()
		raw, err := w.read(r, i)
		if bad := (*golden.ChunkError)(nil); errors.As(err, &bad) {
			if w.team.live() {
				// That may take for ever. Who waits for one of the others must not.
				w.team.chunks.Work.GiveBack(span[n+1:])
				span = span[:n+1]
			}
			raw, err = w.refetch(ctx, i, badFrames-1)
		}
		if err == nil {
			err = w.team.place(ctx, i, raw)
		}
		if err != nil {
			return err
		}
		w.team.fetching.add(int64(len(raw)), time.Since(start))
		if n+1 == len(span) {
			break // some were given back
		}
	}
	return nil
}

// read takes the frame of chunk i from r, whose turn it is, and decodes it.
func (w *worker) read(r *supply.Frames, i int) ([]byte, error) {
	length := w.team.table.Chunk(i).Length
	if int64(cap(w.frame)) < length {
		w.frame = make([]byte, length, max(length, w.team.table.ChunkSize))
	}
	frame := w.frame[:length]
	start := time.Now()
	err := r.Next(frame)
	waited := time.Since(start)
	w.team.waited.Add(int64(waited))
	w.team.meter.ledger.Waiting.Add(int64(waited))
	if err != nil {
		return nil, fmt.Errorf("fetching chunk %d: %w", i, err)
	}
	start = time.Now()
	raw, err := w.dec.Decode(i, frame, w.raw)
	w.team.meter.ledger.Computing.Add(int64(time.Since(start)))
	if err != nil && r.From != "" {
		err = fmt.Errorf("from %s: %w", r.From, err)
	}
	return raw, err
}

// refetch gets chunk i alone, over a connection of its own each time, up to
// attempts times: for ever when a system waits for it.
func (w *worker) refetch(ctx context.Context, i, attempts int) ([]byte, error) {
	var err error
	waits := w.team.source.Retry.Backoff()
	for n := 0; n < attempts || w.team.live(); n++ {
		if n >= attempts && backoff.Sleep(ctx, waits.Next()) != nil {
			return nil, context.Cause(ctx)
		}
		r := w.team.source.Open(ctx, []int{i})
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

// placeZeros is place for a chunk of zeros.
func (w *worker) placeZeros(ctx context.Context, i int) error {
	_, length := w.team.table.Extent(i)
	clear(w.raw[:length])
	return w.team.place(ctx, i, w.raw[:length])
}
