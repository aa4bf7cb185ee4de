package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/agent/newids"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/diskloss"
	"github.com/gild-dev/gild/internal/disk/diskrule"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/golden"
)

// errUnfit says that the disk and the image do not go together.
var errUnfit = errors.New("nothing was written")

// errTooSmall is the errUnfit of a disk that has no room for the image.
var errTooSmall = fmt.Errorf("too small: %w", errUnfit)

// flashed is what a flash leaves for the receipt.
type flashed struct {
	flash.Result
	times map[string]float64 // seconds
	grown *partition.Partition
	// identity is the digest of what was written, empty for none.
	identity string
	samples  []api.Sample // the throughput over time
}

// chooseDisk picks the one disk that the plan means and checks it against the
// image.
func (a *Agent) chooseDisk(context.Context) (string, error) {
	rule, err := diskrule.Parse(a.plan.Disk)
	if err != nil {
		return "", err
	}
	disk, err := rule.Select(a.host.Disks())
	if err != nil {
		return "", err
	}
	if err := a.isAgreed(disk); err != nil {
		return "", err
	}
	if err := fits(disk, a.image.Config.Disk); err != nil {
		return "", err
	}
	if a.sealed == a.plan.ID && disk.Name != a.disk.Name {
		return "", fmt.Errorf("plan %s was carried out on %s; its rule now means %s, which is not written", a.plan.ID, a.disk.Name, disk.Name)
	}
	if a.sealed != a.plan.ID { // what it holds now is what the plan wanted
		if _, err := a.judge(disk); err != nil {
			return "", err
		}
	}
	a.disk = disk
	return diskrule.Describe(disk), nil
}

// claimedError says that a disk needs the operator's explicit word.
type claimedError struct{ disk, why string }

func (e *claimedError) Error() string {
	return fmt.Sprintf("%s %s: it is not overwritten unless the operator arms the machine with --wipe", e.disk, e.why)
}

// judge refuses a disk whose content the plan does not permit to overwrite, and
// gives the partitions that stay.
func (a *Agent) judge(disk api.Disk) ([]api.Partition, error) {
	// An earlier boot may have been cut off after it gave the disk new IDs, and
	// before it could tell.
	known := slices.Concat(a.plan.Known, newids.Left(disk.TableID, a.plan.ID, a.image.Config.Disk))
	verdict, err := diskloss.Of(disk, describeImage(a.image.Config.Disk), a.plan.Keep, known)
	if err != nil {
		return nil, err
	}
	if verdict.Claim != "" && !a.plan.Wipe {
		return nil, &claimedError{disk.Name, verdict.Claim}
	}
	return verdict.Keep, nil
}

// describeImage is what decides about a disk, in the words of the wire.
func describeImage(d golden.Disk) api.Image {
	im := api.Image{Size: d.Size, SectorSize: d.SectorSize, Scheme: d.Scheme, TableID: d.ID}
	for _, p := range d.Partitions {
		im.Partitions = append(im.Partitions, api.Partition{
			Number: p.Number, Start: p.Start, Size: p.Size, Type: p.Type, Label: p.Name, UUID: p.PartUUID,
			FileSystem: p.FileSystem, FSLabel: p.FSLabel,
		})
	}
	return im
}

// keep finds the entries of the partitions that stay, on the disk as it is now
// that nobody else has it: a moment ago it may have been another.
func (a *Agent) keep(device *blockdev.Device) ([]partition.Entry, error) {
	disk := a.disk
	machine.AddContent(&disk, device)
	kept, err := a.judge(disk)
	a.preserved = nil
	if err != nil || len(kept) == 0 {
		return nil, err
	}
	numbers := make([]int, 0, len(kept))
	for _, p := range kept {
		numbers = append(numbers, p.Number)
		a.preserved = append(a.preserved, p.UUID)
	}
	entries, err := partition.Entries(device, device.Size(), device.SectorSize(), numbers...)
	if err != nil {
		return nil, fmt.Errorf("keeping partitions: %w: %w", err, errUnfit)
	}
	return entries, nil
}

func fits(disk api.Disk, image golden.Disk) error {
	switch {
	case disk.SectorSize != image.SectorSize:
		return fmt.Errorf("%s has sectors of %d bytes, the image was made for %d: %w", disk.Name, disk.SectorSize, image.SectorSize, errUnfit)
	case disk.Size < image.Size:
		return fmt.Errorf("%s has %d bytes, the image needs %d: %w", disk.Name, disk.Size, image.Size, errTooSmall)
	}
	return nil
}

// flash writes the image. A plan that was carried out is never carried out
// again in this boot, whatever fails behind it.
func (a *Agent) flash(ctx context.Context) (string, error) {
	if a.sealed == a.plan.ID {
		return "already done", nil
	}
	if a.without = nil; a.plan.Handoff == api.HandoffInstant {
		err := a.instant(ctx)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		a.without = []string{api.HandoffInstant + ": " + err.Error()}
		a.report.Note("flash", "no instant handoff, the system is entered when its disk is complete: %v", err)
	}
	verify, err := parseVerify(a.plan.ReadBack)
	if err != nil {
		return "", err
	}
	device, err := a.open()
	if err != nil {
		return "", err
	}
	defer device.Close()
	keep, err := a.keep(device)
	if err != nil {
		return "", err
	}
	a.ids = nil
	start := time.Now()
	a.recorder = newRecorder(start)
	result, err := flash.Run(ctx, flash.Job{
		Image:    a.image,
		Keep:     keep,
		Source:   permanent{a.source},
		Disk:     device,
		Verify:   verify,
		Progress: a.reportProgress,
	})
	if err != nil {
		return "", err
	}
	a.sealed = a.plan.ID
	machine.AddContent(&a.disk, device)
	a.result = flashed{Result: result, times: map[string]float64{}, samples: a.recorder.samples()}
	for _, p := range result.Phases {
		a.result.times[p.Phase.String()] = p.Took.Seconds()
	}
	return fmt.Sprintf("sealed in %.1f s: %.1f GB written, %.1f GB zeroed, %.1f GB kept, %.1f GB fetched", time.Since(start).Seconds(),
		float64(result.Written)/1e9, float64(result.Zeroed)/1e9, float64(result.Kept)/1e9, float64(result.Wire)/1e9), nil
}

// reportProgress is called by the engine, from one goroutine.
func (a *Agent) reportProgress(p flash.Progress) {
	a.recorder.add(time.Now(), p)
	a.report.Progress("flash", api.Progress{
		Phase: p.Phase.String(), Done: p.Done, Total: p.Total, Rate: p.Rate, Wire: p.Wire, Unanswered: int(p.Unanswered.Seconds()),
	})
}

// permanent tells the engine which failures of the source will not pass.
type permanent struct{ ranges *client.Ranges }

// ReadRange implements flash.Source.
func (s permanent) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	body, err := s.ranges.ReadRange(ctx, off, length)
	var status *client.StatusError
	if errors.As(err, &status) && status.Permanent() {
		return nil, &flash.PermanentError{Err: err}
	}
	return body, err
}

// grow extends the last partition and its file system to the end of the disk
// where the plan asks for it, and shows the kernel the new partitions. The
// disk is complete and boots without it, so nothing here stops the boot: the
// handoff finds another way if a partition cannot be seen.
func (a *Agent) grow(ctx context.Context) (string, error) {
	if a.ids != nil {
		return "already done", nil // and its table may not be readable now
	}
	start := time.Now()
	note, err := a.growPartition(ctx)
	if err != nil {
		a.report.Event(api.Event{Step: "grow", State: api.StateFailed, Cause: api.CauseGrow, Message: err.Error()})
		return "left as the image has it", nil //nolint:nilerr // told above; the disk is complete without it
	}
	if a.result.grown != nil && ctx.Err() == nil {
		size, err := a.growFileSystem(ctx, *a.result.grown)
		if err != nil {
			a.report.Event(api.Event{Step: "grow", State: api.StateFailed, Cause: api.CauseGrow, Message: err.Error()})
		} else {
			note += size
		}
	}
	a.result.times["grow"] = time.Since(start).Seconds()
	return note, nil
}

func (a *Agent) growPartition(ctx context.Context) (note string, err error) {
	device, err := a.open()
	if err != nil {
		return "", err
	}
	defer device.Close()
	note = "not asked for"
	if a.plan.Grow {
		plan, err := partition.GrowLast(device, device.Size(), device.SectorSize(), partition.GrowOptions{Below: a.image.Table.DiskSize})
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
		note, a.result.grown = plan.Note, plan.Grown
	}
	return note, a.reread(ctx, device)
}

// reread shows the kernel and the receipt what the partition table now says.
func (a *Agent) reread(ctx context.Context, device *blockdev.Device) error {
	table, err := partition.Read(device, device.Size(), device.SectorSize())
	if err != nil {
		return err
	}
	machine.AddContent(&a.disk, device)
	a.disk.Holds = blockdev.Signatures(device, device.Size())
	return device.RereadPartitions(ctx, table.Partitions)
}

// preservedNames are the kept partitions as the receipt names them.
func (a *Agent) preservedNames() []string {
	var names []string
	for _, p := range a.disk.Partitions {
		if slices.Contains(a.preserved, p.UUID) {
			names = append(names, diskloss.Name(p))
		}
	}
	return names
}

// growFileSystem mounts the grown partition, whichever it is, and grows what
// is in it.
func (a *Agent) growFileSystem(ctx context.Context, p partition.Partition) (note string, err error) {
	fsType := ""
	for _, q := range a.image.Config.Disk.Partitions {
		if q.Number == p.Number {
			fsType = q.FileSystem
		}
	}
	if !mount.CanGrow(fsType) {
		return fmt.Sprintf("; its file system (%s) is left as it is", cmp.Or(fsType, "unknown")), nil
	}
	const dir = "/grow"
	if err := a.mountPartition(ctx, p.Number, fsType, dir, 0, ""); err != nil {
		return "", err
	}
	before, after, err := mount.Grow(dir, fsType, p.Size)
	if err := errors.Join(err, mount.Unmount(dir)); err != nil {
		return "", err
	}
	return fmt.Sprintf("; %s from %.1f to %.1f GB", fsType, float64(before)/1e9, float64(after)/1e9), nil
}
