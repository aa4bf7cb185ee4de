package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Guards are the proofs that the current root is the initramfs of this boot
// and may be emptied. All four must hold.
type Guards struct {
	Pid     int    // of this process; must be 1
	Root    string // "/"
	NewRoot string // must be the root of a file system on another device
	Init    string // "/init": must be the very file that Self is
	Self    string // "/proc/self/exe"
}

// Check returns what does not hold. It changes nothing.
func (g Guards) Check() error {
	if g.Pid != 1 {
		return fmt.Errorf("this process is %d and not PID 1: some other system runs here", g.Pid)
	}
	var root, newRoot, parent unix.Stat_t
	if err := unix.Stat(g.Root, &root); err != nil {
		return fmt.Errorf("the root: %w", err)
	}
	if err := unix.Stat(g.NewRoot, &newRoot); err != nil {
		return fmt.Errorf("the new root: %w", err)
	}
	if root.Dev == newRoot.Dev {
		return fmt.Errorf("%s is on the same device as %s: nothing is mounted there", g.NewRoot, g.Root)
	}
	if err := unix.Stat(filepath.Join(g.NewRoot, ".."), &parent); err != nil {
		return fmt.Errorf("the new root: %w", err)
	}
	if parent.Dev == newRoot.Dev {
		return fmt.Errorf("%s is not the top of a mount", g.NewRoot)
	}
	init, err := os.Stat(g.Init)
	if err != nil {
		return fmt.Errorf("the root is not gild's initramfs: %w", err)
	}
	self, err := os.Stat(g.Self)
	if err != nil {
		return fmt.Errorf("finding the running program: %w", err)
	}
	// The marker that cannot be forgotten nor forged by accident: a system on
	// a disk does not have this program as its /init.
	if !os.SameFile(init, self) {
		return fmt.Errorf("the root is not gild's initramfs: its %s is another program than this", g.Init)
	}
	return inMemory(g.Root)
}

// inMemory says whether dir is on a file system that lives in memory only.
func inMemory(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("the root: %w", err)
	}
	if s.Type != unix.RAMFS_MAGIC && s.Type != unix.TMPFS_MAGIC {
		return fmt.Errorf("the root is a file system of type %#x, not ramfs or tmpfs", s.Type)
	}
	return nil
}

// Empty deletes everything on the device that the open directory root is on,
// to give its memory back. It never crosses into another file system and
// never follows a link. What cannot be deleted is left: its memory is lost,
// the boot is not.
func Empty(root *os.File) error {
	var s unix.Stat_t
	if err := unix.Fstat(int(root.Fd()), &s); err != nil {
		return fmt.Errorf("emptying the initramfs: %w", err)
	}
	if err := empty(root, s.Dev); err != nil {
		return fmt.Errorf("emptying the initramfs: %w", err)
	}
	return nil
}

func empty(dir *os.File, dev uint64) error {
	names, err := dir.Readdirnames(-1)
	failures := []error{err}
	for _, name := range names {
		failures = append(failures, remove(dir, name, dev))
	}
	return errors.Join(failures...)
}

func remove(dir *os.File, name string, dev uint64) error {
	var s unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &s, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if s.Dev != dev {
		return nil // a mount point: not ours
	}
	if s.Mode&unix.S_IFMT != unix.S_IFDIR {
		return unix.Unlinkat(int(dir.Fd()), name, 0)
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	sub := os.NewFile(uintptr(fd), name)
	err = empty(sub, dev)
	sub.Close()
	return errors.Join(err, unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR))
}
