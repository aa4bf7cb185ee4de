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
	most := int(zeroBytes / f.table.ChunkSize)
	for ctx.Err() == nil {
		first, next := f.chunks.claimZeros(most)
		if first == next {
			return nil
		}
		if err := f.zeroRun(first, next); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
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
		f.chunks.set(i, written)
	}
	f.meter.zeroed.Add(length)
	f.meter.done.Add(length)
	return nil
}
