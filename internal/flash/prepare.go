package flash

import (
	"context"
	"fmt"

	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// prepare closes the gate, then removes what could make anything take the
// disk for its old self. The two are separate flushed steps because a disk
// may keep the writes of one step in any order.
func (f *Flight) prepare(ctx context.Context) error {
	if err := f.rehearse(ctx); err != nil {
		return err
	}
	if err := f.closeGate(ctx); err != nil {
		return err
	}
	untouchable, err := f.secure(ctx)
	if err != nil {
		return fmt.Errorf("keeping partitions: %w", err)
	}
	if err := f.zeroProven(ctx, without(f.leftovers(), untouchable)...); err != nil {
		return fmt.Errorf("wiping old signatures: %w", err)
	}
	return nil
}

// closeGate makes sure that no firmware boots the disk.
func (f *Flight) closeGate(ctx context.Context) error {
	if err := f.zeroProven(ctx, blockdev.Range{Offset: 0, Length: int64(f.Disk.SectorSize())}); err != nil {
		return fmt.Errorf("zeroing LBA 0: %w", err)
	}
	return nil
}

// leftovers are the places of old signatures that are not written in any case
// before the seal. The others hold chunks that an interrupted flash may have
// left right.
func (f *Flight) leftovers() []blockdev.Range {
	var ranges []blockdev.Range
	for _, r := range blockdev.SignatureRanges(f.Disk.Size()) {
		if r.Offset < heldBytes || r.Offset+r.Length > f.table.DiskSize-heldBytes {
			ranges = append(ranges, r)
		}
	}
	return ranges
}

// zeroProven zeroes, flushes, and reads back from the medium. What does not
// read as zeros is written as plain bytes: the way that failed is not taken
// twice.
func (f *Flight) zeroProven(ctx context.Context, ranges ...blockdev.Range) error {
	for _, r := range ranges {
		if err := f.Disk.ZeroRange(r.Offset, r.Length); err != nil {
			return err
		}
	}
	if err := f.Disk.Flush(); err != nil {
		return fmt.Errorf("flushing: %w", err)
	}
	zero := f.buffers.get()
	defer f.buffers.put(zero)
	clear(zero)
	var zeros []extent
	for _, r := range ranges {
		for at := int64(0); at < r.Length; at += int64(len(zero)) {
			zeros = append(zeros, extent{r.Offset + at, zero[:min(int64(len(zero)), r.Length-at)]})
		}
	}
	return f.writeProven(ctx, zeros, func() error { return nil })
}
