// Package handoff leaves the machine to the system on its disk: by
// switch_root, by kexec, or by a reboot.
//
// Each way has a part that can fail and changes nothing (checks, loading a
// kernel), and a jump that does not return. Whoever chooses runs the first
// parts in order and records why a way was not taken.
package handoff

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/mount"
)

// The ways, as plans and receipts name them.
const (
	Auto       = "auto"
	SwitchRoot = "switch_root"
	Kexec      = "kexec"
	Reboot     = "reboot"
	// Instant enters the system before its disk is complete. It is tried
	// before anything else, and never without being asked for.
	Instant = "instant"
)

// Ways returns what to try for a plan's choice, in order, with a complete disk. A reboot always
// comes last: a finished disk boots by itself.
func Ways(choice string) ([]string, error) {
	switch choice {
	case Auto, Instant, "":
		return []string{SwitchRoot, Kexec, Reboot}, nil
	case SwitchRoot, Kexec:
		return []string{choice, Reboot}, nil
	case Reboot:
		return []string{Reboot}, nil
	}
	return nil, fmt.Errorf("unknown handoff %.40q, want auto, switch_root, kexec, reboot or instant", choice)
}

// Fits says whether the running kernel can serve the system in root: it is
// the image's own (empty when it has none), or the system has its modules.
func Fits(root, running, image string) error {
	if running == image {
		return nil
	}
	dir, err := Resolve(root, "/lib/modules/"+running)
	if err == nil {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return nil
		}
	}
	return fmt.Errorf("the running kernel %s is not the image's (%q), which has no modules for it", running, image)
}

// Switch is a switch_root that was checked.
type Switch struct {
	Root string   // where the new root is mounted
	Init string   // path inside Root
	Args []string // of init, without its name
	Env  []string
}

// moved are the mounts that the new system takes over. systemd takes the
// running /dev, /proc, /sys and /run as they are.
var moved = []string{"/dev", "/proc", "/sys", "/run"}

// Prepare checks everything that can be checked before the jump.
func (s Switch) Prepare(arch string) error {
	if err := CheckInit(s.Root, s.Init, arch); err != nil {
		return err
	}
	for _, dir := range moved {
		if info, err := os.Lstat(filepath.Join(s.Root, dir)); err != nil || !info.IsDir() {
			return fmt.Errorf("the new root has no directory %s to move the running one to", dir)
		}
	}
	return s.guards().Check()
}

func (s Switch) guards() mount.Guards {
	return mount.Guards{Pid: os.Getpid(), Root: "/", NewRoot: s.Root, Init: "/init", Self: "/proc/self/exe"}
}

// Jump empties the initramfs and becomes the new system's init. It returns
// only with an error. Before anything was moved that error leaves the machine
// as it was; later only a reboot is possible, which committed tells.
func (s Switch) Jump() (committed bool, err error) {
	// The guards again, as the last thing before the first change.
	if err := s.guards().Check(); err != nil {
		return false, fmt.Errorf("switching root: %w", err)
	}
	old, err := os.Open("/")
	if err != nil {
		return false, fmt.Errorf("switching root: %w", err)
	}
	// All that follows belongs to one thread: what exec replaces must be the
	// one whose directory and root were changed.
	runtime.LockOSThread()
	unix.Sync()
	for _, dir := range moved {
		if err := unix.Mount(dir, filepath.Join(s.Root, dir), "", unix.MS_MOVE, ""); err != nil {
			return true, fmt.Errorf("moving %s to the new root: %w", dir, err)
		}
	}
	if err := enter(s.Root); err != nil {
		return true, err
	}
	// Memory that is not given back is a pity, not a reason to stop.
	_ = mount.Empty(old)
	old.Close()
	if err := stdio(); err != nil {
		return true, err
	}
	argv := append([]string{s.Init}, s.Args...)
	return true, fmt.Errorf("starting %s: %w", s.Init, unix.Exec(s.Init, argv, s.Env))
}

// enter makes root the root of the mount namespace and of this process. The
// initramfs cannot be pivoted away (Documentation/filesystems/
// ramfs-rootfs-initramfs.rst, "What is initramfs?"), so it is mounted over.
func enter(root string) error {
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"entering the new root", func() error { return unix.Chdir(root) }},
		{"moving the new root to /", func() error { return unix.Mount(".", "/", "", unix.MS_MOVE, "") }},
		{"changing the root", func() error { return unix.Chroot(".") }},
		{"changing the root", func() error { return unix.Chdir("/") }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	return nil
}

// stdio gives init the console as its standard files, as the kernel does, and
// keeps everything else from it.
func stdio() error {
	fd, err := unix.Open("/dev/console", unix.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		// The kernel starts an init without a console too.
		if fd, err = unix.Open("/dev/null", unix.O_RDWR, 0); err != nil {
			return fmt.Errorf("opening the console: %w", err)
		}
	}
	for i := range 3 {
		if err := unix.Dup3(fd, i, 0); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: it is that one
			return fmt.Errorf("opening the console: %w", err)
		}
	}
	// Go opens everything close-on-exec; this is for what was inherited.
	if err := unix.CloseRange(3, ^uint(0)>>1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		for i := 3; i < 1024; i++ { // before Linux 5.11
			unix.CloseOnExec(i)
		}
	}
	return nil
}
