package order

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/gild-dev/gild/internal/agent/coldplug"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/newids"
	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/diskloss"
	"github.com/gild-dev/gild/internal/disk/diskrule"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
)

// Target is the disk that a plan means, in the machine that it means.
type Target struct {
	Host    Host
	Session *report.Session  // its MAC is one of the machine's labels
	Modules *coldplug.Loader // for file systems
	Log     *slog.Logger

	Plan  *api.Plan
	Image *golden.Image // nil before it was fetched
	Disk  api.Disk      // the chosen one, with what it holds
	// Nodes are the devices of the partitions, by number, where they are not the
	// kernel's own: of a disk that is used while it is written.
	Nodes map[int]string

	// preserved are the PARTUUIDs of what the flash left as it was.
	preserved []string
}

// errUnfit says that the disk and the image do not go together.
var errUnfit = errors.New("nothing was written")

// errTooSmall is the errUnfit of a disk that has no room for the image.
var errTooSmall = fmt.Errorf("too small: %w", errUnfit)

// ChooseDisk picks the one disk that the plan means and checks it against the
// image.
func (j *Job) ChooseDisk(context.Context) (string, error) {
	rule, err := diskrule.Parse(j.Target.Plan.Disk)
	if err != nil {
		return "", err
	}
	disk, err := rule.Select(j.Target.Host.Disks())
	if err != nil {
		return "", err
	}
	if err := j.Target.isAgreed(disk); err != nil {
		return "", err
	}
	if err := fits(disk, j.Target.Image.Config.Disk); err != nil {
		return "", err
	}
	if j.Sealed() && disk.Name != j.Target.Disk.Name {
		return "", fmt.Errorf("plan %s was carried out on %s; its rule now means %s, which is not written",
			j.Target.Plan.ID, j.Target.Disk.Name, disk.Name)
	}
	if !j.Sealed() { // what it holds now is what the plan wanted
		if _, err := j.Target.judge(disk); err != nil {
			return "", err
		}
	}
	j.Target.Disk = disk
	return diskrule.Describe(disk), nil
}

// claimedError says that a disk needs the operator's explicit word.
type claimedError struct{ disk, why string }

func (e *claimedError) Error() string {
	return fmt.Sprintf("%s %s: it is not overwritten unless the operator arms the machine with --wipe", e.disk, e.why)
}

// judge refuses a disk whose content the plan does not permit to overwrite, and
// gives the partitions that stay.
func (t *Target) judge(disk api.Disk) ([]api.Partition, error) {
	// An earlier boot may have been cut off after it gave the disk new IDs, and
	// before it could tell.
	known := slices.Concat(t.Plan.Known, newids.Left(disk.TableID, t.Plan.ID, t.Image.Config.Disk))
	verdict, err := diskloss.Of(disk, t.Image.Config.Disk.Layout(), t.Plan.Keep, known)
	if err != nil {
		return nil, err
	}
	if verdict.Claim != "" && !t.Plan.Wipe {
		return nil, &claimedError{disk.Name, verdict.Claim}
	}
	return verdict.Keep, nil
}

// Keep finds the entries of the partitions that stay, on the disk as it is now
// that nobody else has it: a moment ago it may have been another.
func (t *Target) Keep(device *blockdev.Device) ([]partition.Entry, error) {
	disk := t.Disk
	machine.AddContent(&disk, device)
	kept, err := t.judge(disk)
	t.preserved = nil
	if err != nil || len(kept) == 0 {
		return nil, err
	}
	numbers := make([]int, 0, len(kept))
	for _, p := range kept {
		numbers = append(numbers, p.Number)
		t.preserved = append(t.preserved, p.UUID)
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

// reread shows the kernel and the receipt what the partition table now says.
func (t *Target) reread(ctx context.Context, device *blockdev.Device) error {
	table, err := partition.Read(device, device.Size(), device.SectorSize())
	if err != nil {
		return err
	}
	machine.AddContent(&t.Disk, device)
	t.Disk.Holds = blockdev.Signatures(device, device.Size())
	return device.RereadPartitions(ctx, table.Partitions)
}

// preservedNames are the kept partitions as the receipt names them.
func (t *Target) preservedNames() []string {
	var names []string
	for _, p := range t.Disk.Partitions {
		if slices.Contains(t.preserved, p.UUID) {
			names = append(names, diskloss.Name(p))
		}
	}
	return names
}
