package flash

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/chunks"
	"github.com/gild-dev/gild/internal/flash/live"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
)

// errandWorkers is how many workers bring nothing but what is demanded.
const errandWorkers = 2

// What is asked for or zeroed at once while a system may want something else.
const (
	liveSpanBytes = 256 << 10
	liveZeroBytes = 16 << 20
)

// zeroBytes is the most that the disk is asked to zero at once, so that a
// cancelled flash ends soon and progress moves.
const zeroBytes = 256 << 20

// workers bring what is absent onto the disk.
type workers struct {
	table  *golden.Table
	chunks *chunks.Map
	held   *heldChunks
	source *supply.Line
	medium *medium
	meter  *meter
	// waited is how long the workers waited for the source, in nanoseconds, and
	// fetching how fast one of them is.
	waited   atomic.Int64
	fetching *rate
	verify   Verify

	// For a system that runs from the disk; both nil without one.
	throttle *live.Throttle
	recent   *live.Recent
}

// live reports whether a system runs from the disk, or will.
func (w *workers) live() bool { return w.throttle != nil }

// work runs do with a worker's means.
func (w *workers) work(do func(*worker) error) error {
	dec, err := golden.NewDecoder(w.table)
	if err != nil {
		return err
	}
	defer dec.Close()
	raw := w.medium.buffers.get()
	defer w.medium.buffers.put(raw)
	return do(&worker{team: w, dec: dec, raw: raw})
}

// fetch fetches and writes until nothing is left to claim.
func (w *workers) fetch(ctx context.Context, spare bool) error {
	return w.work(func(one *worker) error {
		for {
			if err := w.throttle.Yield(ctx, spare); err != nil {
				return err
			}
			span := w.chunks.Work.Claim(ctx, w.spanBytes())
			if len(span) == 0 {
				return context.Cause(ctx)
			}
			if err := one.bring(ctx, span); err != nil {
				return err
			}
		}
	})
}

func (w *workers) spanBytes() int64 {
	if w.throttle.Busy() {
		return liveSpanBytes
	}
	return chunks.SpanBytes
}

// runErrands brings what is demanded until nothing can be any more. look looks
// at a chunk that the disk may hold.
func (w *workers) runErrands(ctx context.Context, look func(i int, buf []byte) error) error {
	return w.work(func(one *worker) error {
		for {
			span, unknown := w.chunks.Work.ClaimUrgent(ctx)
			var err error
			switch {
			case len(span) == 0:
				return context.Cause(ctx)
			case unknown:
				err = look(span[0], one.raw)
			default:
				err = one.bring(ctx, span)
			}
			if err != nil {
				return err
			}
		}
	})
}

// zero makes every run of zero chunks zero on the disk. Skipping them would
// leave the old content of a used disk behind; a discard need not read as
// zeros afterwards.
func (w *workers) zero(ctx context.Context) error {
	bytes := int64(zeroBytes)
	if w.live() {
		bytes = liveZeroBytes
	}
	most := max(1, int(bytes/w.table.ChunkSize))
	for ctx.Err() == nil {
		if err := w.throttle.Yield(ctx, false); err != nil {
			return err
		}
		first, next := w.chunks.Work.ClaimZeros(most)
		if first == next {
			return w.zeroMixed(ctx)
		}
		if err := w.zeroRun(first, next); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// zeroMixed zeroes what a system has left of the chunks of zeros that it has
// written to.
func (w *workers) zeroMixed(ctx context.Context) error {
	return w.work(func(one *worker) error {
		for i, ok := w.chunks.Work.ClaimMixed(); ok; i, ok = w.chunks.Work.ClaimMixed() {
			if err := one.placeZeros(ctx, i); err != nil {
				return err
			}
		}
		return nil
	})
}

// zeroRun zeroes the chunks from first up to but not including next.
func (w *workers) zeroRun(first, next int) error {
	start, _ := w.table.Extent(first)
	last, length := w.table.Extent(next - 1)
	length += last - start
	began := time.Now()
	if err := w.medium.disk.ZeroRange(start, length); err != nil {
		return fmt.Errorf("zeroing %d bytes at byte %d of the disk: %w", length, start, err)
	}
	w.meter.ledger.Zeroing.Add(int64(time.Since(began)))
	for i := first; i < next; i++ {
		w.chunks.Work.Landed(i)
		w.meter.ledger.Landed(i)
	}
	w.meter.zeroed.Add(length)
	w.meter.done.Add(length)
	return nil
}

// place brings the verified raw bytes of chunk i to their place: onto the
// disk, or into memory until the seal.
func (w *workers) place(ctx context.Context, i int, raw []byte) error {
	start := time.Now()
	if err := w.land(ctx, i, raw); err != nil {
		return err
	}
	w.meter.ledger.Writing.Add(int64(time.Since(start)))
	w.meter.ledger.Landed(i)
	w.meter.written.Add(int64(len(raw)))
	w.meter.done.Add(int64(len(raw)))
	return nil
}

func (w *workers) land(ctx context.Context, i int, raw []byte) error {
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
	if w.live() && w.chunks.Work.Demanded(i) {
		w.recent.Add(i, raw)
	}
	off, _ := w.table.Extent(i)
	if err := blockdev.WriteFull(w.medium.disk, raw, off); err != nil {
		return err
	}
	w.chunks.Work.Landed(i)
	return nil
}

// layAround writes those bytes of chunk i that are not the system's own, and
// proves them at once: later nobody could tell what they should be.
func (w *workers) layAround(i int, raw []byte, own *chunks.Sectors) error {
	off, _ := w.table.Extent(i)
	disk := w.medium.disk
	var parts []blockdev.Extent
	sector := disk.SectorSize()
	for from, to := range own.Others() {
		parts = append(parts, blockdev.Extent{Offset: off + int64(from*sector), Data: raw[from*sector : to*sector]})
	}
	for range 2 {
		for _, e := range parts {
			if err := blockdev.WriteFull(disk, e.Data, e.Offset); err != nil {
				return err
			}
		}
		if w.verify == VerifyOff || len(parts) == 0 {
			return nil
		}
		if err := disk.Flush(); err != nil {
			return fmt.Errorf("flushing the rest of chunk %d: %w", i, err)
		}
		wrong, err := w.medium.wrongExtents(parts)
		if err != nil || len(wrong) == 0 {
			return err
		}
		w.meter.repaired.Add(1)
		w.chunks.Proofs.Strayed()
		parts = wrong
	}
	return wrongTwice(parts[0].Offset)
}
