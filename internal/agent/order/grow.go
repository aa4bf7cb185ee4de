package order

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/partition"
)

// Grow extends the last partition and its file system to the end of the disk
// where the plan asks for it, and shows the kernel the new partitions. The
// disk is complete and boots without it, so nothing here stops the boot: the
// handoff finds another way if a partition cannot be seen.
func (j *Job) Grow(ctx context.Context) (string, error) {
	if j.ids != nil {
		return "already done", nil // and its table may not be readable now
	}
	start := time.Now()
	note, err := j.growPartition(ctx)
	if err != nil {
		j.Report.Event(api.Event{Step: "grow", State: api.StateFailed, Cause: api.CauseGrow, Message: err.Error()})
		return "left as the image has it", nil //nolint:nilerr // reported above; the disk is complete without it
	}
	if j.Result.Grown != nil && ctx.Err() == nil {
		size, err := j.GrowFileSystem(ctx, *j.Result.Grown)
		if err != nil {
			j.Report.Event(api.Event{Step: "grow", State: api.StateFailed, Cause: api.CauseGrow, Message: err.Error()})
		} else {
			note += size
		}
	}
	j.Result.Times["grow"] = time.Since(start).Seconds()
	return note, nil
}

func (j *Job) growPartition(ctx context.Context) (note string, err error) {
	device, err := j.Target.Open()
	if err != nil {
		return "", err
	}
	defer device.Close()
	note = "not asked for"
	if j.Target.Plan.Grow {
		plan, err := partition.GrowLast(device, device.Size(), device.SectorSize(), partition.GrowOptions{Below: j.Target.Image.Table.DiskSize})
		if err != nil {
			return "", err
		}
		// In this order one sound table is on the disk after each write.
		for _, e := range plan.Edits {
			if ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
			if _, err := device.WriteAt(e.Data, e.Offset); err != nil {
				return "", fmt.Errorf("growing the last partition: %w", err)
			}
			if err := device.Flush(); err != nil {
				return "", fmt.Errorf("growing the last partition: %w", err)
			}
		}
		note, j.Result.Grown = plan.Note, plan.Grown
	}
	return note, j.Target.reread(ctx, device)
}

// GrowFileSystem mounts the grown partition, whichever it is, and grows what
// is in it.
func (j *Job) GrowFileSystem(ctx context.Context, p partition.Partition) (note string, err error) {
	fsType := ""
	for _, q := range j.Target.Image.Config.Disk.Partitions {
		if q.Number == p.Number {
			fsType = q.FileSystem
		}
	}
	if !mount.CanGrow(fsType) {
		return fmt.Sprintf("; its file system (%s) is left as it is", cmp.Or(fsType, "unknown")), nil
	}
	const dir = "/grow"
	if err := j.Target.Mount(ctx, p.Number, fsType, dir, 0, ""); err != nil {
		return "", err
	}
	before, after, err := mount.Grow(dir, fsType, p.Size)
	if err := errors.Join(err, mount.Unmount(dir)); err != nil {
		return "", err
	}
	return fmt.Sprintf("; %s from %.1f to %.1f GB", fsType, float64(before)/1e9, float64(after)/1e9), nil
}
