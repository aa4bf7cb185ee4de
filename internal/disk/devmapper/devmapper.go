// Package devmapper makes linear block devices of the kernel's device-mapper
// (linux/dm-ioctl.h), which can move to another disk while in use.
//
// A device has two places for a table: Load fills the inactive one, Resume
// makes it live. Suspend brings what is under way to its end, freezes the file
// system, and holds all that comes after until Resume.
package devmapper

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Control is the open control node of device-mapper.
type Control struct {
	file  *os.File
	ioctl func(request uint, arg []byte) error
}

// Open opens the control node, "/dev/mapper/control". It is there once the
// module dm-mod is loaded.
func Open(path string) (*Control, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening device-mapper: %w", err)
	}
	c := &Control{file: f}
	c.ioctl = func(request uint, arg []byte) error {
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(unsafe.Pointer(&arg[0]))); errno != 0 {
			return errno
		}
		return nil
	}
	return c, nil
}

// Close closes the control node. The devices stay.
func (c *Control) Close() error { return c.file.Close() }

// Linear is a table of one target: a device that is a range of another.
type Linear struct {
	Major, Minor uint32 // of the other
	Start        int64  // of the range in the other, in bytes
	Size         int64  // bytes
}

// Layout of the structures and what this package speaks: version 4.0 is that of
// every kernel since 2.6, and asks for nothing newer.
const (
	headSize   = int(unsafe.Sizeof(unix.DmIoctl{}))
	specSize   = int(unsafe.Sizeof(unix.DmTargetSpec{}))
	sectorSize = 512 // of tables, whatever the disk's
	tries      = 100 // of a call that a signal interrupts
)

// Create makes a device without a table, which no one can use yet. name becomes
// that of its link below /dev/mapper. A uuid that begins with "part3-" says
// that it is the third partition of the device below it, which libblkid then
// asks for the partition's IDs.
func (c *Control) Create(name, uuid string) (major, minor uint32, err error) {
	req, err := newRequest(name, 0)
	if err != nil {
		return 0, 0, fmt.Errorf("making device %s: %w", name, err)
	}
	if len(uuid) >= len(req.head.Uuid) {
		return 0, 0, fmt.Errorf("making device %s: its uuid has %d bytes", name, len(uuid))
	}
	copy(req.head.Uuid[:], uuid)
	if err := c.do(unix.DM_DEV_CREATE, req); err != nil {
		return 0, 0, fmt.Errorf("making device %s: %w", name, err)
	}
	return unix.Major(req.head.Dev), unix.Minor(req.head.Dev), nil
}

// Load gives a device the table that it will have after Resume. It claims the
// other device, and fails with EBUSY where that is claimed by somebody else.
func (c *Control) Load(name string, t Linear) error {
	if t.Start < 0 || t.Size <= 0 || t.Start%sectorSize != 0 || t.Size%sectorSize != 0 {
		return fmt.Errorf("loading the table of %s: %d bytes at %d are no whole sectors", name, t.Size, t.Start)
	}
	req, err := newRequest(name, 0)
	if err != nil {
		return fmt.Errorf("loading the table of %s: %w", name, err)
	}
	params := fmt.Appendf(nil, "%d:%d %d\x00", t.Major, t.Minor, t.Start/sectorSize)
	req.head.Target_count = 1
	spec := unix.DmTargetSpec{Length: uint64(t.Size / sectorSize), Next: uint32(specSize + (len(params)+7)/8*8)}
	copy(spec.Target_type[:], "linear")
	req.rest = append(unsafe.Slice((*byte)(unsafe.Pointer(&spec)), specSize), params...)
	if err := c.do(unix.DM_TABLE_LOAD, req); err != nil {
		return fmt.Errorf("loading the table of %s: %w", name, err)
	}
	return nil
}

// Clear forgets what Load gave and no Resume has made live.
func (c *Control) Clear(name string) error {
	return c.simple(unix.DM_TABLE_CLEAR, 0, name, "forgetting the new table of")
}

// Suspend stops a device: on return nothing is under way in it, and a file
// system on it is as good as unmounted.
func (c *Control) Suspend(name string) error {
	return c.simple(unix.DM_DEV_SUSPEND, unix.DM_SUSPEND_FLAG, name, "stopping")
}

// Resume lets a device continue, with the table that was loaded if there is
// one.
func (c *Control) Resume(name string) error {
	return c.simple(unix.DM_DEV_SUSPEND, 0, name, "starting")
}

// Remove takes a device away that nobody uses.
func (c *Control) Remove(name string) error {
	return c.simple(unix.DM_DEV_REMOVE, 0, name, "removing")
}

func (c *Control) simple(request uint, flags uint32, name, doing string) error {
	req, err := newRequest(name, flags)
	if err == nil {
		err = c.do(request, req)
	}
	if err != nil {
		return fmt.Errorf("%s device %s: %w", doing, name, err)
	}
	return nil
}

// request is one call.
type request struct {
	head unix.DmIoctl
	rest []byte
}

func newRequest(name string, flags uint32) (*request, error) {
	r := &request{head: unix.DmIoctl{Version: [3]uint32{4, 0, 0}, Flags: flags}}
	if name == "" || len(name) >= len(r.head.Name) {
		return nil, fmt.Errorf("a name of %d bytes", len(name))
	}
	copy(r.head.Name[:], name)
	return r, nil
}

// do makes the call, and leaves the kernel's answer in the head. A signal that
// interrupts a suspend undoes it.
func (c *Control) do(code uint, r *request) (err error) {
	size := (headSize + len(r.rest) + 7) / 8 * 8
	r.head.Data_size, r.head.Data_start = uint32(size), uint32(headSize)
	for range tries {
		p := make([]byte, size)
		copy(p, unsafe.Slice((*byte)(unsafe.Pointer(&r.head)), headSize))
		copy(p[headSize:], r.rest)
		if err = c.ioctl(code, p); !errors.Is(err, unix.EINTR) {
			r.head = *(*unix.DmIoctl)(unsafe.Pointer(&p[0]))
			return err
		}
	}
	return err
}

// UdevRecord is what udev's database must hold of a device that was made before
// udev runs: without it the rules take its first event for one of a device that
// is not ready, and show it to nobody (10-dm.rules, 55-dm.rules of Debian). The
// file is b<major>:<minor> in /run/udev/data.
func UdevRecord() []byte {
	return []byte("E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\nE:DM_UDEV_RULES=1\nE:DM_UDEV_RULES_VSN=2\nV:1\n")
}
