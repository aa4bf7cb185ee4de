package flash

import (
	"testing"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/disktest"
)

// The model that stands for a disk in these tests is one, under watch too.
func TestModelDiskIsADisk(t *testing.T) {
	disktest.Run[blockdev.ReadBack](t, func(*testing.T) disktest.Disk[blockdev.ReadBack] {
		return newWatchedDisk(newModelDisk(randomDisk(1, 4*mib)))
	})
}
