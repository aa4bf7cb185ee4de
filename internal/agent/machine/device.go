package machine

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// Open takes the disk of that name for the caller alone.
func (m Machine) Open(name string) (*blockdev.Device, error) {
	return blockdev.Open("/dev/"+name, blockdev.Options{Sys: m.Sys, Proc: m.Proc})
}

// Identify says which disk it is that was opened; what it holds is left out.
func (m Machine) Identify(device *blockdev.Device) (api.Disk, error) {
	major, minor := device.Number()
	number := fmt.Sprintf("%d:%d", major, minor)
	list, err := blockdev.List(blockdev.ListOptions{Sys: m.Sys})
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

// SetClock sets the clock. Only the times of events depend on it.
func (m Machine) SetClock(to time.Time) error {
	tv := unix.NsecToTimeval(to.UnixNano())
	return unix.Settimeofday(&tv)
}

// Restart does not return, or with an error.
func (m Machine) Restart() error { return Reboot() }
