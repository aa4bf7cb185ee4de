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
func (f *flight) zero(ctx context.Context) error {
	for i := 0; i < f.table.Len(); {
		if !f.zeroable(i) {
			i++
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		next := i + 1
		for next < f.table.Len() && f.zeroable(next) && int64(next-i)*f.table.ChunkSize < zeroBytes {
			next++
		}
		if err := f.zeroRun(i, next); err != nil {
			return err
		}
		i = next
	}
	return nil
}

// zeroRun zeroes the chunks from first up to but not including next.
func (f *flight) zeroRun(first, next int) error {
	start, _ := f.table.Extent(first)
	last, length := f.table.Extent(next - 1)
	length += last - start
	if err := f.Disk.ZeroRange(start, length); err != nil {
		return fmt.Errorf("zeroing %d bytes at byte %d of the disk: %w", length, start, err)
	}
	for i := first; i < next; i++ {
		f.chunks.set(i, written)
	}
	f.meter.zeroed.Add(length)
	f.meter.done.Add(length)
	return nil
}

// zeroable reports whether chunk i is to be zeroed now. Held chunks of zeros
// wait for the seal like the others.
func (f *flight) zeroable(i int) bool {
	return f.table.Zero(i) && !f.held.holds(i) && f.chunks.get(i) == absent
}
