package flash

import (
	"context"
	"fmt"
)

// zeroBytes is the most that the disk is asked to zero at once, so that a
// cancelled flash ends soon and progress moves.
const zeroBytes = 256 << 20

// zero makes every run of zero chunks zero on the disk. Skipping them would
// leave the old content of a used disk behind; a discard need not read as
// zeros afterwards.
func (f *Flight) zero(ctx context.Context) error {
	most := max(1, int(f.zeroBytes()/f.table.ChunkSize))
	for ctx.Err() == nil {
		if err := f.yield(ctx, false); err != nil {
			return err
		}
		first, next := f.chunks.Work.ClaimZeros(most)
		if first == next {
			return f.zeroMixed(ctx)
		}
		if err := f.zeroRun(first, next); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// zeroMixed zeroes what a system has left of the chunks of zeros that it has
// written to.
func (f *Flight) zeroMixed(ctx context.Context) error {
	return f.work(func(w *worker) error {
		for i, ok := f.chunks.Work.ClaimMixed(); ok; i, ok = f.chunks.Work.ClaimMixed() {
			if err := w.placeZeros(ctx, i); err != nil {
				return err
			}
		}
		return nil
	})
}

// zeroRun zeroes the chunks from first up to but not including next.
func (f *Flight) zeroRun(first, next int) error {
	start, _ := f.table.Extent(first)
	last, length := f.table.Extent(next - 1)
	length += last - start
	if err := f.Disk.ZeroRange(start, length); err != nil {
		return fmt.Errorf("zeroing %d bytes at byte %d of the disk: %w", length, start, err)
	}
	for i := first; i < next; i++ {
		f.chunks.Work.Landed(i)
	}
	f.meter.zeroed.Add(length)
	f.meter.done.Add(length)
	return nil
}
