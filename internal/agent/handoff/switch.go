package handoff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

// switchRoot enters the system on the running kernel.
type switchRoot struct{}

// Name implements Way.
func (switchRoot) Name() string { return api.HandoffSwitchRoot }

// Prepare mounts the new root and checks everything that switch_root
// relies on.
func (switchRoot) Prepare(ctx context.Context, t Target) (_ Jump, err error) {
	boot := t.Boot
	if boot == nil {
		return nil, ErrNoKernel
	}
	if !t.Insist && t.staleLine() {
		return nil, errStale
	}
	if !t.Insist && len(t.Undone) > 0 {
		return nil, fmt.Errorf("the image's modprobe.d has a command for %s that only its own initrd runs", strings.Join(t.Undone, ", "))
	}
	if work := boot.InitrdWork(); !t.Insist && len(work) > 0 {
		return nil, fmt.Errorf("the image's own initrd has work to do: %s", strings.Join(work, ", "))
	}
	flags, data := mount.Options(boot.Root.Options)
	// As the kernel does it for a boot from the disk; the new system's init
	// makes the root writable when it has checked it.
	flags &^= unix.MS_RDONLY
	if t.Line.ReadOnlyRoot() {
		flags |= unix.MS_RDONLY
	}
	if err := t.Mount(ctx, boot.Root.Partition, boot.Root.FileSystem, NewRoot, flags, data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, mount.Unmount(NewRoot))
		}
	}()
	if err := Fits(NewRoot, machine.Kernel(), ownKernel(boot)); err != nil {
		return nil, err
	}
	s := Switch{Root: NewRoot, Init: t.init(boot.Init), Args: initArgs(t.Line, os.Args[1:]), Env: environ(os.Environ())}
	if err := s.Prepare(runtime.GOARCH); err != nil {
		return nil, err
	}
	return s.Jump, nil
}

// errStale keeps auto from a switch_root that would leave the old UUIDs in
// /proc/cmdline: kernel-install(8) writes what is there into the boot entries
// of the next kernel.
var errStale = errors.New("the running kernel's command line names a UUID that has changed")

func (t Target) staleLine() bool {
	return slices.ContainsFunc(t.Line, func(w cmdline.Word) bool { return t.replace(w.Value) != w.Value })
}

// ownKernel is the release of the kernel on the image's own disk, whose
// modules are there too; empty when the kernel came from elsewhere.
func ownKernel(boot *golden.Boot) string {
	if boot.Kernel == "" {
		return ""
	}
	return boot.KernelRelease
}

// init is the first program of the new system: what the command line says,
// then what the image says.
func (t Target) init(image string) string {
	if name, ok := t.Line.Value("init"); ok && name != "" {
		return name
	}
	return cmp.Or(image, "/sbin/init")
}

// kernelName is what the boot script calls the kernel.
const kernelName = "vmlinuz"

// initArgs is what the new init gets of this one's arguments: all but the
// kernel's own name. On UEFI iPXE puts that in front of the command line, as
// EFI programs have it, and the kernel hands a word that it does not know to
// init, which no boot from the disk does.
func initArgs(line cmdline.Line, args []string) []string {
	if len(line) > 0 && line[0].Bare && line[0].Key == kernelName && len(args) > 0 && args[0] == kernelName {
		return args[1:]
	}
	return args
}

// environ is what the kernel gave to this process, and with os.Args exactly
// what it would give to an init on the disk: it has sorted the words of the
// command line that it knows from those that it passes on (init/main.c,
// unknown_bootoption).
func environ(own []string) []string {
	if len(own) == 0 {
		return []string{"HOME=/", "TERM=linux"}
	}
	return own
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
