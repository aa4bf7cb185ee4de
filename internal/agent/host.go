package agent

import (
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
	// disks lists what an image could be written to, as it is now.
	disks() []api.Disk
	// open takes the disk of that name for the agent alone.
	open(name string) (*blockdev.Device, error)
	setClock(to time.Time) error
	// restart does not return, or with an error.
	restart() error
}

func (m machine) open(name string) (*blockdev.Device, error) {
	return blockdev.Open("/dev/"+name, blockdev.Options{Sys: m.sys, Proc: m.proc})
}

// setClock changes what only the times of events depend on.
func (m machine) setClock(to time.Time) error {
	tv := unix.NsecToTimeval(to.UnixNano())
	return unix.Settimeofday(&tv)
}

func (m machine) restart() error { return handoff.RebootNow() }
