package images

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Loop is a loop device over a part of a file. The kernel frees it when its
// last user is gone, also when this process is killed: no path leaves one
// behind.
type Loop struct {
	Path string // like /dev/loop7
	file *os.File
}

// AttachLoop makes a loop device of size bytes from offset in the file at path;
// size 0 means to its end.
func AttachLoop(path string, offset, size int64) (*Loop, error) {
	loop, err := attachLoop(path, offset, size)
	if err != nil {
		return nil, fmt.Errorf("attach loop device to %s: %w", path, err)
	}
	return loop, nil
}

func attachLoop(path string, offset, size int64) (*Loop, error) {
	backing, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer backing.Close() // the device holds its own reference
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()

	config := unix.LoopConfig{Fd: uint32(backing.Fd())}
	config.Info.Offset = uint64(offset)
	config.Info.Sizelimit = uint64(size)
	config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
	// Between asking for a free device and taking it another process may take it:
	// then ask again.
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("find a free loop device: %w", err)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		device, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(device.Fd()), &config)
		if err == nil {
			return &Loop{Path: name, file: device}, nil
		}
		device.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("configure %s: %w", name, err)
		}
	}
	return nil, errors.New("other processes took every free loop device")
}

// Number is the device's minor number; the major is 7
// (Documentation/admin-guide/devices.txt).
func (l *Loop) number() (int, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(l.file.Fd()), &st); err != nil {
		return 0, err
	}
	return int(unix.Minor(st.Rdev)), nil
}

// Close frees the device as soon as nothing else uses it.
func (l *Loop) Close() error { return l.file.Close() }

// loopSetDirectIO is LOOP_SET_DIRECT_IO of linux/loop.h, which x/sys does not
// name.
const loopSetDirectIO = 0x4c08

// DirectIO has the device read and write its file past the page cache: a flush
// of the device is then one of the disk below.
func (l *Loop) DirectIO() error {
	if err := unix.IoctlSetInt(int(l.file.Fd()), loopSetDirectIO, 1); err != nil {
		return fmt.Errorf("direct I/O of %s: %w", l.Path, err)
	}
	return nil
}

// Sync returns when all that was written to the device is on the disk below.
func (l *Loop) Sync() error { return l.file.Sync() }

// DropCache writes and forgets what the page cache holds of the device.
func (l *Loop) DropCache() error {
	if err := unix.IoctlSetInt(int(l.file.Fd()), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("drop the cache of %s: %w", l.Path, err)
	}
	return nil
}
