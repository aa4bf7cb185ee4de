package agent

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// host is the machine as the steps from the plan to the flash see it. The
// steps around them are the machine's own altogether: drivers, network,
// growing, leaving.
type host interface {
	// inventory says what the machine is; mac is that of the link in use.
	inventory(mac string) api.Inventory
	// labels is the part of an inventory that tells one machine from another:
	// UUID, serial, addresses. It asks no disk.
	labels(mac string) api.Inventory
	// disks lists what an image could be written to, as it is now.
	disks() []api.Disk
	// open takes the disk of that name for the agent alone.
	open(name string) (*blockdev.Device, error)
	// identify says which disk it is that was opened; what it holds is left out.
	identify(device *blockdev.Device) (api.Disk, error)
	setClock(to time.Time) error
	// restart does not return, or with an error.
	restart() error
}

func (m machine) open(name string) (*blockdev.Device, error) {
	return blockdev.Open("/dev/"+name, blockdev.Options{Sys: m.sys, Proc: m.proc})
}

func (m machine) identify(device *blockdev.Device) (api.Disk, error) {
	major, minor := device.Number()
	number := fmt.Sprintf("%d:%d", major, minor)
	list, err := blockdev.List(blockdev.ListOptions{Sys: m.sys})
	if err != nil {
		return api.Disk{}, err
	}
	for _, info := range list {
		if info.Number == number {
			return apiDisk(info), nil
		}
	}
	return api.Disk{}, fmt.Errorf("%s (%s) is gone: was it unplugged?", device.Path(), number)
}

// setClock changes what only the times of events depend on.
func (m machine) setClock(to time.Time) error {
	tv := unix.NsecToTimeval(to.UnixNano())
	return unix.Settimeofday(&tv)
}

func (m machine) restart() error { return handoff.RebootNow() }
