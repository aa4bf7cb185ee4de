// Package confine takes from a server's process what it needs no more once its
// ports are open.
package confine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrCgo says that a program that was built with cgo keeps its capabilities: Go
// cannot reach the threads that C may have made.
var ErrCgo = errors.New("this program was built with cgo, and keeps the capabilities that it was started with; build it with " +
	"CGO_ENABLED=0, as make does")

// needed are the capabilities of a running server: an interface that is made
// anew gets new sockets for DHCP and TFTP, on ports below 1024; ARP, the watch
// for other DHCP servers and pings go by raw sockets.
const needed = 1<<unix.CAP_NET_BIND_SERVICE | 1<<unix.CAP_NET_RAW

// Process keeps from the whole process, now and for good: core dumps and other
// processes that look into its memory, new privileges by programs that it
// starts, and every capability but those of a server. It also keeps
// CAP_DAC_OVERRIDE while a file that it works with is another user's, as when
// root serves from a home directory. owned are those files, folders with all
// that is in them; what is not there is left out. The same again is harmless.
//
// ErrCgo says that only the first of these was done.
func Process(owned ...string) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("keeping the process from being dumped: %w", err)
	}
	// Whatever else it is, a process that has given up its capabilities must not
	// get them back by a file.
	if err := everyThread(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0); err != nil {
		if errors.Is(err, unix.ENOTSUP) {
			return ErrCgo
		}
		return fmt.Errorf("giving up new privileges: %w", err)
	}
	keep := uint64(needed)
	if foreign(owned) {
		keep |= 1 << unix.CAP_DAC_OVERRIDE
	}
	if err := drop(keep); err != nil {
		return fmt.Errorf("giving up capabilities: %w", err)
	}
	return nil
}

// drop leaves of the capabilities of each thread those of a set, if it has
// them.
func drop(keep uint64) error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // the lower 32 capabilities, then the upper ones
	if err := unix.Capget(&head, &sets[0]); err != nil {
		return err
	}
	if sets[0].Effective&(1<<unix.CAP_SETPCAP) != 0 {
		if err := bound(keep); err != nil {
			return err
		}
	}
	// Programs that it starts get none: not from the ambient set, nor from the
	// inheritable one.
	if err := everyThread(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0); err != nil {
		return err
	}
	for i := range sets {
		part := uint32(keep >> (32 * i))
		sets[i].Permitted &= part
		sets[i].Effective = sets[i].Permitted
		sets[i].Inheritable = 0
	}
	// Without a process in its head the call is about the thread that makes it. The
	// pointers must be made here, or what they point to could move.
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&sets[0])),
		0); errno != 0 {
		return errno
	}
	return nil
}

// bound takes all but a set of capabilities from what the process and those
// that it starts can ever have.
func bound(keep uint64) error {
	for c := range uintptr(64) {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // the kernel knows no more
		}
		if err != nil {
			return err
		}
		if has == 0 || keep&(1<<c) != 0 {
			continue
		}
		if err := everyThread(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0); err != nil {
			return err
		}
	}
	return nil
}

// everyThread makes one call on each thread of the process: capabilities are
// each thread's own.
func everyThread(call, a, b, c uintptr) error {
	if _, _, errno := syscall.AllThreadsSyscall(call, a, b, c); errno != 0 {
		return errno
	}
	return nil
}

// foreign reports whether one of the files, or a folder on the way to it, is
// another user's.
func foreign(paths []string) bool {
	for _, path := range paths {
		if path == "" {
			continue
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return true // the working directory cannot be read
		}
		for dir := filepath.Dir(path); len(dir) > 1; dir = filepath.Dir(dir) {
			if info, err := os.Stat(dir); err == nil && others(info) {
				return true
			}
		}
		// A folder of the data directory may be a link to another disk.
		links, _ := filepath.Glob(filepath.Join(path, "*"))
		for _, root := range append(links, path) {
			if root, err := filepath.EvalSymlinks(root); err == nil && othersBelow(root) {
				return true
			}
		}
	}
	return false
}

func othersBelow(root string) bool {
	found := errors.New("found")
	err := filepath.WalkDir(root, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it has just gone
		}
		if info, err := e.Info(); err == nil && others(info) {
			return found
		}
		return nil
	})
	return errors.Is(err, found)
}

func others(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) != os.Geteuid() && st.Uid != 0
}
