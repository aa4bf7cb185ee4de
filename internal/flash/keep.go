package flash

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/partition"
)

// Kept partitions outlive the table that describes them. At every moment from
// the first write to the seal at least one sound GPT with their entries is on
// the medium (docs/decisions/0013-kept-partitions.md):
//
//   - the disk's own backup GPT, which is made before the head is wiped if it
//     is not there, and which the wipe of the tail leaves alone;
//   - the new primary GPT, which is on the medium and was read back before the
//     backup is written anew.
//
// So a flash that is begun again finds them, whatever LBA 0 holds.

// checkKeep refuses, before anything is touched, what the writes would hit.
func checkKeep(job Job) error {
	const shared = 4096 // sectors that a disk may hide behind smaller ones
	end := (job.Image.Table.DiskSize + shared - 1) / shared * shared
	for _, e := range job.Keep {
		switch {
		case job.Image.Config.Disk.Scheme != "gpt":
			return fmt.Errorf("keeping partition %d: the image has no GPT to describe it; %w", e.Number, ErrUnfit)
		case e.Start < end || e.Size <= 0 || e.Start > job.Disk.Size()-e.Size:
			return fmt.Errorf("keeping partition %d: its bytes %d to %d are not behind the image, which ends at %d; %w", e.Number, e.Start, e.End(), end, ErrUnfit)
		}
	}
	return nil
}

// rehearse fetches what is held for the seal and makes the final tables of it,
// so that a kept partition that they cannot carry is known before the first
// write and not at the last, and so that a system can be shown its disk early.
func (f *Flight) rehearse(ctx context.Context) error {
	if len(f.Keep) == 0 && f.Move == nil {
		return nil
	}
	err := f.work(func(w *worker) error {
		for i := range f.table.Len() {
			if !f.held.holds(i) || f.table.Zero(i) {
				continue
			}
			raw, err := w.refetch(ctx, i, badFrames)
			if err != nil {
				return err
			}
			if err := w.place(ctx, i, raw); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if f.Image.Config.Disk.Scheme == "gpt" {
		_, err = f.fitted()
	}
	if err == nil && len(f.Keep) > 0 {
		_, err = f.backup()
	}
	if err != nil {
		return fmt.Errorf("%w; %w", err, ErrUnfit)
	}
	return nil
}

// backup plans the backup GPT that stands until the new one is written.
func (f *Flight) backup() (*partition.Plan, error) {
	medium, err := f.openMedium()
	if err != nil {
		return nil, err
	}
	defer medium.Close()
	return partition.SecureBackup(medium, f.Disk.Size(), f.Disk.SectorSize(), f.Keep)
}

// secure makes sure that the entries of the kept partitions are in a sound
// backup GPT, and gives the ranges that no wipe may touch: theirs, and its.
func (f *Flight) secure(ctx context.Context) ([]blockdev.Range, error) {
	if len(f.Keep) == 0 {
		return nil, nil
	}
	plan, err := f.backup()
	if err != nil {
		return nil, err
	}
	var extents []extent
	for _, e := range plan.Edits {
		data := blockdev.AlignedBuffer(len(e.Data))
		copy(data, e.Data)
		extents = append(extents, extent{e.Offset, data})
	}
	if err := f.writeProven(ctx, extents, func() error { return nil }); err != nil {
		return nil, err
	}
	start, err := f.backupStart()
	if err != nil {
		return nil, err
	}
	ranges := []blockdev.Range{{Offset: start, Length: f.Disk.Size() - start}}
	for _, e := range f.Keep {
		ranges = append(ranges, blockdev.Range{Offset: e.Start, Length: e.Size})
	}
	return ranges, nil
}

// backupStart reads the medium anew: the backup may have just been written.
func (f *Flight) backupStart() (int64, error) {
	medium, err := f.openMedium()
	if err != nil {
		return 0, err
	}
	defer medium.Close()
	return partition.BackupStart(medium, f.Disk.Size(), f.Disk.SectorSize())
}

// without takes the bytes of others out of the ranges.
func without(ranges, others []blockdev.Range) []blockdev.Range {
	for _, o := range others {
		var rest []blockdev.Range
		for _, r := range ranges {
			end, oend := r.Offset+r.Length, o.Offset+o.Length
			if before := min(end, o.Offset) - r.Offset; before > 0 {
				rest = append(rest, blockdev.Range{Offset: r.Offset, Length: before})
			}
			if from := max(r.Offset, oend); from < end {
				rest = append(rest, blockdev.Range{Offset: from, Length: end - from})
			}
		}
		ranges = rest
	}
	slices.SortFunc(ranges, func(a, b blockdev.Range) int { return cmp.Compare(a.Offset, b.Offset) })
	return ranges
}
