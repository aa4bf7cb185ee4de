package instant

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/busy"
	"github.com/gild-dev/gild/internal/disk/devmapper"
	"github.com/gild-dev/gild/internal/disk/nbd"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/flash/live"
)

// livePartition is a partition of the live disk with the name of its device.
type livePartition struct {
	partition.Partition
	name string
}

// serve makes devices of the live disk: one for each partition, over the
// network block device.
func (k *keeper) serve(ctx context.Context, live *live.Disk) (reply, error) {
	r := reply{Parts: map[int]livePart{}}
	var err error
	if r.Grown, err = k.growLast(live); err != nil {
		return r, err
	}
	table, err := partition.Read(live, live.Size(), live.SectorSize())
	if err != nil {
		return r, err
	}
	// The partitions of what was on the disk are gone, and the kernel must
	// not show them to a system that may know file systems of the same IDs.
	if err := k.device.RereadPartitions(ctx, nil); err != nil {
		return r, err
	}
	if err := k.device.Unlock(); err != nil {
		return r, err
	}
	if k.dm, err = devmapper.Open("/dev/mapper/control"); err != nil {
		return r, err
	}
	if k.network, err = nbd.Attach("/dev/nbd0", live.Size(), live.SectorSize()); err != nil {
		return r, err
	}
	k.tasks.Go("network disk", func() {
		err := k.network.Serve(ctx, live, nbd.Options{OnError: func(op string, off int64, err error) {
			k.log.Error("the system's disk fails", "doing", op, "at", off, "error", err)
		}})
		if err != nil {
			k.log.Error("the system's disk is not served any more", "error", err)
		}
	})
	for _, p := range table.Partitions {
		if p.TypeName == "extended" {
			continue
		}
		if r.Parts[p.Number], err = k.expose(p, table.DiskID); err != nil {
			return r, fmt.Errorf("partition %d: %w", p.Number, err)
		}
	}
	return r, nil
}

// growLast makes the last partition end with the disk, where the plan wants
// that. It returns that partition, nil if it did not grow.
func (k *keeper) growLast(live *live.Disk) (*partition.Partition, error) {
	if !k.job.Target.Plan.Grow {
		return nil, nil
	}
	plan, err := partition.GrowLast(live, live.Size(), live.SectorSize(), partition.GrowOptions{Below: k.job.Target.Image.Table.DiskSize})
	if err != nil {
		k.job.Report.Event(api.Event{Step: "grow", State: api.StateFailed, Cause: api.CauseGrow, Message: err.Error()})
		plan = &partition.Plan{} // the image's own table will do
	}
	for _, e := range plan.Edits {
		if _, err := live.WriteAt(e.Data, e.Offset); err != nil {
			return nil, fmt.Errorf("growing the last partition: %w", err)
		}
	}
	return plan.Grown, nil
}

// expose makes the device that stands for a partition of the disk with an ID.
func (k *keeper) expose(p partition.Partition, disk string) (part livePart, err error) {
	name := "gild" + strconv.Itoa(p.Number)
	major, minor, err := k.dm.Create(name, fmt.Sprintf("part%d-gild-%s", p.Number, disk))
	if err != nil {
		return part, err
	}
	k.parts = append(k.parts, livePartition{p, name})
	below, at := k.network.Number()
	if err := k.dm.Load(name, devmapper.Linear{Size: p.Size, Major: below, Minor: at, Start: p.Start}); err != nil {
		return part, err
	}
	if err := k.dm.Resume(name); err != nil {
		return part, err
	}
	return livePart{"/dev/dm-" + strconv.FormatUint(uint64(minor), 10), major, minor}, nil
}

// move brings the system from the network's device onto the disk: flash.Job.
// Each device is given its place on the disk, then all are stopped, and let go
// when everything is on the disk. What fails before that leaves them where they
// were.
func (k *keeper) move(ctx context.Context, settle func() error) (err error) {
	if err := k.device.Share(); err != nil {
		return err
	}
	var stopped []string
	defer func() {
		if err != nil {
			for _, p := range k.parts {
				err = errors.Join(err, k.dm.Clear(p.name))
			}
		}
		for _, name := range stopped {
			err = errors.Join(err, k.dm.Resume(name))
		}
	}()
	major, minor := k.device.Number()
	for _, p := range k.parts {
		if err := k.load(ctx, p.name, devmapper.Linear{Size: p.Size, Major: major, Minor: minor, Start: p.Start}); err != nil {
			return err
		}
	}
	for _, p := range k.parts {
		if err := k.dm.Suspend(p.name); err != nil {
			return err
		}
		stopped = append(stopped, p.name)
	}
	return settle()
}

// claimPatience is how long the claim on the disk that was just given up may
// linger in calls under way.
const claimPatience = 2 * time.Second

// load gives a device the table that it continues with.
func (k *keeper) load(ctx context.Context, name string, to devmapper.Linear) error {
	return busy.While(ctx, claimPatience, func() error { return k.dm.Load(name, to) })
}
