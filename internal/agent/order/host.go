package order

import (
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// Host is the machine as an order sees it. What happens around the order is
// the machine's own: drivers, network, growing, leaving.
type Host interface {
	// Inventory says what the machine is; mac is that of the link in use.
	Inventory(mac string) api.Inventory
	// Labels is the part of an inventory that tells one machine from another:
	// UUID, serial, addresses. It asks no disk.
	Labels(mac string) api.Inventory
	// Disks lists what an image could be written to, as it is now.
	Disks() []api.Disk
	// Open takes the disk of that name for the agent alone.
	Open(name string) (*blockdev.Device, error)
	// Identify says which disk it is that was opened; what it holds is left out.
	Identify(device *blockdev.Device) (api.Disk, error)
	SetClock(to time.Time) error
	// Restart does not return, or with an error.
	Restart() error
}
