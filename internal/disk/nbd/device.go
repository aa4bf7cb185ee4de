package nbd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Requests of the driver, _IO(0xab, n): linux/nbd.h.
const (
	setSock       = 0xab00
	setBlockSize  = 0xab01
	doIt          = 0xab03
	clearSock     = 0xab04
	setSizeBlocks = 0xab07
	disconnect    = 0xab08
	setTimeout    = 0xab09
	setFlags      = 0xab0a
)

// Flags of a device: linux/nbd.h.
const (
	hasFlags  = 1 << 0
	sendFlush = 1 << 2
	sendFUA   = 1 << 3
)

// detachPatience is how long the driver may take to let go.
const detachPatience = 10 * time.Second

// Device is a device of the driver that this process answers for.
type Device struct {
	file  *os.File
	conn  *os.File      // our end of the stream; the driver has the other
	done  chan struct{} // closed when the driver has let go
	major uint32
	minor uint32
}

// Attach makes the device at path, "/dev/nbd0", one of size bytes with sectors
// of sector bytes: the kernel finds a partition table only where its sectors
// are the image's. Nothing is answered before Serve runs, and nothing but the
// open files is needed from here on.
func Attach(path string, size int64, sector int) (_ *Device, err error) {
	d := &Device{done: make(chan struct{})}
	defer func() {
		if err != nil {
			d.close()
			err = fmt.Errorf("attaching %s: %w", path, err)
		}
	}()
	if d.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(d.file.Fd()), &st); err != nil {
		return nil, err
	}
	d.major, d.minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	// Only ours: the driver waits for what it asks.
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, errors.Join(err, unix.Close(fds[0]), unix.Close(fds[1]))
	}
	d.conn = os.NewFile(uintptr(fds[0]), "network block device")
	defer unix.Close(fds[1])
	for _, set := range []struct {
		what  string
		code  uint
		value int
	}{
		{"clearing", clearSock, 0}, // of what another has left
		{"setting the sector size", setBlockSize, sector},
		{"setting the size", setSizeBlocks, int(size / int64(sector))},
		{"setting the flags", setFlags, hasFlags | sendFlush | sendFUA},
		{"setting the timeout", setTimeout, 0}, // none: a server may be away for an hour
		{"setting the socket", setSock, fds[1]},
	} {
		if err := unix.IoctlSetInt(int(d.file.Fd()), set.code, set.value); err != nil {
			return nil, fmt.Errorf("%s: %w", set.what, err)
		}
	}
	if err := keepTags(filepath.Base(path)); err != nil {
		return nil, err
	}
	go d.drive()
	return d, nil
}

// keepTags takes the scheduler from a device. A signal to whoever writes may
// interrupt the sending of a request, which continues later: with a scheduler,
// under another tag than its header had, and the answer to that ends the device
// (mended in Linux 6.14: "nbd: fix partial sending"). Without one a request
// keeps its tag. It was one scheduler too many anyway: the disk below
// has its own.
func keepTags(name string) error {
	if err := os.WriteFile(filepath.Join("/sys/block", name, "queue/scheduler"), []byte("none"), 0); err != nil {
		return fmt.Errorf("taking the scheduler away: %w", err)
	}
	return nil
}

// drive lends the driver a thread, which it has until it is done. A signal to
// that thread would end the device under the system's feet, so it gets none; it
// ends with the goroutine.
func (d *Device) drive() {
	runtime.LockOSThread()
	defer close(d.done)
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		return
	}
	_ = unix.IoctlSetInt(int(d.file.Fd()), doIt, 0) // how it ended shows at the other end
}

// Number is the device's number.
func (d *Device) Number() (major, minor uint32) { return d.major, d.minor }

// Serve answers for the device: see the function Serve.
func (d *Device) Serve(ctx context.Context, disk Disk, o Options) error {
	return Serve(ctx, d.conn, disk, o)
}

// Detach lets the device go. Whoever still has it open gets errors.
func (d *Device) Detach() error {
	defer d.close()
	err := unix.IoctlSetInt(int(d.file.Fd()), disconnect, 0)
	select {
	case <-d.done:
	case <-time.After(detachPatience):
		// The stream's end is a disconnect that needs no answer.
		d.conn.Close()
		select {
		case <-d.done:
		case <-time.After(detachPatience):
			return errors.New("letting go of the network block device: the driver keeps it")
		}
	}
	if clearErr := unix.IoctlSetInt(int(d.file.Fd()), clearSock, 0); clearErr != nil {
		err = errors.Join(err, clearErr)
	}
	if err != nil {
		return fmt.Errorf("letting go of the network block device: %w", err)
	}
	return nil
}

func (d *Device) close() {
	for _, f := range []*os.File{d.conn, d.file} {
		if f != nil {
			f.Close()
		}
	}
}
