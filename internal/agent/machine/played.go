package machine

import (
	"errors"
	"os"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// Played is a machine that is only played, with a file for its only disk.
type Played struct {
	Is    api.Inventory // all but Disks; MAC must be set
	File  string        // the disk
	Drive api.Disk      // what the disk claims to be: Name, Serial, Model, Transport
	// Restarted is called instead of a restart, with ErrLocalDisk; nil: nothing is.
	Restarted func(error)
}

// ErrLocalDisk says that a machine that is played was sent to its local disk.
var ErrLocalDisk = errors.New("the machine restarts for its local disk")

// Inventory is what the machine claims to be, with its disk as it is now.
func (p *Played) Inventory(mac string) api.Inventory {
	inv := p.Labels(mac)
	inv.Disks = p.Disks()
	return inv
}

// Labels is the inventory without its disk.
func (p *Played) Labels(mac string) api.Inventory {
	inv := p.Is
	inv.MAC, inv.Disks = mac, nil
	return inv
}

// Disks is the file as a disk; empty when it is not there.
func (p *Played) Disks() []api.Disk {
	f, err := os.Open(p.File)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	d := p.Drive
	d.Size, d.SectorSize = info.Size(), 512
	d.Holds = blockdev.Signatures(f, d.Size)
	AddContent(&d, f)
	return []api.Disk{d}
}

// Open takes the file, whatever name is asked for.
func (p *Played) Open(string) (*blockdev.Device, error) {
	return blockdev.Open(p.File, blockdev.Options{AllowFile: true})
}

// Identify says what the disk claims to be.
func (p *Played) Identify(device *blockdev.Device) (api.Disk, error) {
	d := p.Drive
	d.Size, d.SectorSize = device.Size(), device.SectorSize()
	return d, nil
}

// SetClock leaves the clock alone: it is that of whoever plays.
func (p *Played) SetClock(time.Time) error { return errors.ErrUnsupported }

// Restart calls Restarted.
func (p *Played) Restart() error {
	if p.Restarted != nil {
		p.Restarted(ErrLocalDisk)
	}
	return ErrLocalDisk
}
