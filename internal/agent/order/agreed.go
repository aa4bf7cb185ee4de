package order

import (
	"errors"
	"fmt"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/diskrule"
	"github.com/gild-dev/gild/internal/evidence"
)

// A plan carries the machine and the disk that the operator was shown when the
// machine was armed. Servers go by what machines say of themselves and can be
// wrong about who is who; so the agent holds the machine that it runs on, and
// the disk, against that before it writes anything.

// errNothingAgreed refuses the plan of a server that does not know of this.
var errNothingAgreed = errors.New("the plan does not say which machine and disk the operator agreed to: " +
	"it comes from an older server; cancel it, and arm the machine again with a server of this version")

// isThisMachine holds the machine against a plan.
func (t *Target) isThisMachine(p *api.Plan) error {
	if g := p.Agreed; !g.Unseen && g.Disk == nil && g.UUID == "" && g.Serial == "" && len(g.MACs) == 0 {
		return errNothingAgreed
	}
	labels := t.Host.Labels(t.Session.MAC)
	return evidence.OtherMachine(p.Agreed, &labels)
}

// isAgreed holds a disk against the plan.
func (t *Target) isAgreed(disk api.Disk) error {
	if err := evidence.OtherDisk(t.Plan.Agreed.Disk, &disk); err != nil {
		return fmt.Errorf("%s: %w", diskrule.Describe(disk), err)
	}
	return nil
}

// Open takes the chosen disk to be written to, by whatever step. What is open
// is what counts: since the disk was chosen, its name may have become
// another's.
func (t *Target) Open() (_ *blockdev.Device, err error) {
	if err := t.isThisMachine(t.Plan); err != nil {
		return nil, err
	}
	device, err := t.Host.Open(t.Disk.Name)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, device.Close())
		}
	}()
	disk, err := t.Host.Identify(device)
	if err != nil {
		return nil, err
	}
	if err := t.isAgreed(disk); err != nil {
		return nil, err
	}
	chosen := api.AgreedDisk{
		Name: t.Disk.Name, Serial: t.Disk.Serial, WWN: t.Disk.WWN, Path: t.Disk.Path, Size: t.Disk.Size, Model: t.Disk.Model,
	}
	if err := evidence.OtherDisk(&chosen, &disk); err != nil {
		return nil, fmt.Errorf("%s is another disk than a moment ago (%w): %w", t.Disk.Name, err, errUnfit)
	}
	return device, nil
}
