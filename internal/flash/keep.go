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
			return fmt.Errorf("keeping partition %d: its bytes %d to %d are not behind the image, which ends at %d; %w", e.Number, e.Start, e.End(),
				end, ErrUnfit)
		}
	}
	return nil
}

// kept are partitions that stay, on their disk.
type kept struct {
	medium  *medium
	entries []partition.Entry
}

// backup plans the backup GPT that stands until the new one is written.
func (k *kept) backup() (*partition.Plan, error) {
	back, err := k.medium.open()
	if err != nil {
		return nil, err
	}
	defer back.Close()
	disk := k.medium.disk
	return partition.SecureBackup(back, disk.Size(), disk.SectorSize(), k.entries)
}

// secure makes sure that the entries of the kept partitions are in a sound
// backup GPT, and gives the ranges that no wipe may touch: theirs, and its.
func (k *kept) secure(ctx context.Context) ([]blockdev.Range, error) {
	if len(k.entries) == 0 {
		return nil, nil
	}
	plan, err := k.backup()
	if err != nil {
		return nil, err
	}
	var extents []blockdev.Extent
	for _, e := range plan.Edits {
		extents = append(extents, blockdev.Extent{Offset: e.Offset, Data: aligned(e.Data)})
	}
	if err := k.medium.writeProven(ctx, extents, func() error { return nil }); err != nil {
		return nil, err
	}
	start, err := k.backupStart()
	if err != nil {
		return nil, err
	}
	ranges := []blockdev.Range{{Offset: start, Length: k.medium.disk.Size() - start}}
	for _, e := range k.entries {
		ranges = append(ranges, blockdev.Range{Offset: e.Start, Length: e.Size})
	}
	return ranges, nil
}

// backupStart reads the medium anew: the backup may have just been written.
func (k *kept) backupStart() (int64, error) {
	back, err := k.medium.open()
	if err != nil {
		return 0, err
	}
	defer back.Close()
	return partition.BackupStart(back, k.medium.disk.Size(), k.medium.disk.SectorSize())
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
