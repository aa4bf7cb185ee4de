package blockdev

import (
	"testing"

	"github.com/gild-dev/gild/internal/disk/disktest"
)

// Files and block devices, with both sector sizes, are what the engine needs.
func TestDeviceIsADisk(t *testing.T) {
	targets(t, pattern(4<<20), func(t *testing.T, path string, opts Options) {
		disktest.Run[ReadBack](t, func(t *testing.T) disktest.Disk[ReadBack] { return mustOpen(t, path, opts) })
	})
}
