package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/backoff"
	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

// newRoot is where the new system is mounted.
const newRoot = "/newroot"

// receiptPatience is how long the receipt may take to arrive. Without it the
// server does not know that the plan was carried out.
const receiptPatience = 5 * time.Minute

// nodePatience is how long a partition may take to appear below /dev.
const nodePatience = 10 * time.Second

// jump leaves the machine. It returns only with an error; committed says that
// nothing but a reboot is possible any more.
type jump func() (committed bool, err error)

// handoff tries the plan's ways in order: what can be checked or loaded
// without changing anything first, then the receipt, then the jump.
func (a *Agent) handoff(ctx context.Context) (string, error) {
	ways, err := handoff.Ways(a.plan.Handoff)
	if err != nil {
		return "", err
	}
	reasons := slices.Clone(a.without)
	for _, way := range ways {
		start := time.Now()
		leave, err := a.prepare(ctx, way)
		if ctx.Err() != nil {
			return "", errors.Join(context.Cause(ctx), mount.Unmount(newRoot))
		}
		if err != nil {
			reasons = append(reasons, way+": "+err.Error())
			a.report.Note("handoff", "no %s: %v", way, err)
			continue
		}
		a.result.times["handoff"] = time.Since(start).Seconds()
		a.receipt(ctx, way, reasons)
		if ctx.Err() != nil {
			return "", errors.Join(context.Cause(ctx), mount.Unmount(newRoot))
		}
		committed, err := a.jump(leave)
		reasons = append(reasons, way+": "+err.Error())
		a.report.Event(api.Event{Step: "handoff", State: api.StateFailed, Cause: api.CauseHandoff, Message: reasons[len(reasons)-1]})
		if committed {
			return "", machine.Reboot()
		}
		_ = mount.Unmount(newRoot)
	}
	return "", errors.New(strings.Join(reasons, "; "))
}

func (a *Agent) prepare(ctx context.Context, way string) (jump, error) {
	switch way {
	case handoff.SwitchRoot:
		return a.prepareSwitch(ctx)
	case handoff.Kexec:
		return a.prepareKexec(ctx)
	}
	return func() (bool, error) { return true, machine.Reboot() }, nil
}

var errNoKernel = errors.New("the image names no Linux system to enter")

// prepareSwitch mounts the new root and checks everything that switch_root
// relies on.
func (a *Agent) prepareSwitch(ctx context.Context) (_ jump, err error) {
	boot := a.image.Config.Boot
	if boot == nil {
		return nil, errNoKernel
	}
	if a.plan.Handoff != handoff.SwitchRoot && a.staleLine() {
		return nil, errStale
	}
	if undone := a.undone(); a.plan.Handoff != handoff.SwitchRoot && len(undone) > 0 {
		return nil, fmt.Errorf("the image's modprobe.d has a command for %s that only its own initrd runs", strings.Join(undone, ", "))
	}
	flags, data := mount.Options(boot.Root.Options)
	// As the kernel does it for a boot from the disk; the new system's init
	// makes the root writable when it has checked it.
	flags &^= unix.MS_RDONLY
	if a.line.ReadOnlyRoot() {
		flags |= unix.MS_RDONLY
	}
	if err := a.mountPartition(ctx, boot.Root.Partition, boot.Root.FileSystem, newRoot, flags, data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, mount.Unmount(newRoot))
		}
	}()
	if err := handoff.Fits(newRoot, machine.Kernel(), ownKernel(boot)); err != nil {
		return nil, err
	}
	s := handoff.Switch{Root: newRoot, Init: a.init(boot.Init), Args: initArgs(a.line, os.Args[1:]), Env: environ(os.Environ())}
	if err := s.Prepare(runtime.GOARCH); err != nil {
		return nil, err
	}
	return s.Jump, nil
}

// errStale keeps auto from a switch_root that would leave the old UUIDs in
// /proc/cmdline: kernel-install(8) writes what is there into the boot entries of
// the next kernel.
var errStale = errors.New("the running kernel's command line names a UUID that has changed")

func (a *Agent) staleLine() bool {
	return a.ids != nil && slices.ContainsFunc(a.line, func(w cmdline.Word) bool { return a.ids.Replace(w.Value) != w.Value })
}

// undone are the loaded modules whose command in modprobe.d nobody has run.
func (a *Agent) undone() []string {
	if a.modules == nil {
		return nil
	}
	return a.modules.Undone()
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
func (a *Agent) init(image string) string {
	if name, ok := a.line.Value("init"); ok && name != "" {
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

// prepareKexec loads the image's kernel from its disk. Nothing stays mounted.
func (a *Agent) prepareKexec(ctx context.Context) (jump, error) {
	boot := a.image.Config.Boot
	if boot == nil {
		return nil, errNoKernel
	}
	if boot.Kernel == "" {
		return nil, errors.New("the kernel of this image is not on its disk")
	}
	if boot.Arch != runtime.GOARCH {
		return nil, fmt.Errorf("the image is for %.20s, this machine is %s", boot.Arch, runtime.GOARCH)
	}
	err := a.mountPartition(ctx, boot.Root.Partition, boot.Root.FileSystem, newRoot, unix.MS_RDONLY, "")
	if err != nil {
		return nil, err
	}
	kernel := handoff.Kernel{Cmdline: boot.Cmdline}
	if a.ids != nil {
		kernel.Cmdline = a.ids.Replace(kernel.Cmdline)
	}
	paths, err := a.bootFiles(ctx, append([]string{boot.Kernel}, boot.Initrds...))
	if err == nil {
		kernel.Image, kernel.Initrds = paths[0], paths[1:]
		err = kernel.Load()
	}
	if err := errors.Join(err, mount.Unmount("/newboot"), mount.Unmount(newRoot)); err != nil {
		return nil, err
	}
	return func() (bool, error) { return false, kernel.Jump() }, nil
}

// bootFiles finds files of the image below the mounted root, or, where /boot
// is a partition of its own, on that: the first whose file system has the
// first of them.
func (a *Agent) bootFiles(ctx context.Context, names []string) ([]string, error) {
	paths, err := resolveAll(newRoot, names, "")
	if err == nil {
		return paths, nil
	}
	for _, p := range a.image.Config.Disk.Partitions {
		switch p.FileSystem {
		case "ext2", "ext3", "ext4", "xfs", "vfat":
		default:
			continue
		}
		if p.Number == a.image.Config.Boot.Root.Partition || a.mountPartition(ctx, p.Number, p.FileSystem, "/newboot", unix.MS_RDONLY, "") != nil {
			continue
		}
		for _, top := range []string{"/boot/efi", "/boot", "/efi"} {
			if paths, err := resolveAll("/newboot", names, top); err == nil {
				return paths, nil
			}
		}
		if err := mount.Unmount("/newboot"); err != nil {
			return nil, err
		}
	}
	return nil, err
}

// resolveAll resolves names below root, which is mounted at top in the image.
func resolveAll(root string, names []string, top string) ([]string, error) {
	var paths []string
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, top)
		if !ok {
			return nil, fmt.Errorf("%s is not below %s", name, top)
		}
		path, err := handoff.Resolve(root, rest)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// mountPartition mounts a partition of the flashed disk, or the whole disk
// when number is 0.
func (a *Agent) mountPartition(ctx context.Context, number int, fsType, dir string, flags uintptr, data string) error {
	// The type is foreign: it names a module and a file system, no more.
	if fsType == "" || strings.Trim(fsType, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
		return fmt.Errorf("file system %.40q cannot be mounted", fsType)
	}
	if err := a.modules.Load(fsType); err != nil {
		a.log.Debug("no module for the file system", "type", fsType, "error", err) // mount(2) has the last word
	}
	node := a.parts[number].Node
	if a.parts == nil {
		found, err := partitionNode(ctx, "/sys", a.disk.Name, number)
		if err != nil {
			return err
		}
		node = found
	}
	if err := (mount.Point{Source: node, Target: dir, Type: fsType, Flags: flags, Data: data}).Mount(); err != nil {
		return &mountError{err}
	}
	return nil
}

// partitionNode waits for the device node of a partition, whose name only the
// kernel knows: sda1, nvme0n1p1.
func partitionNode(ctx context.Context, sys, disk string, number int) (string, error) {
	if number == 0 {
		return "/dev/" + disk, nil
	}
	ctx, cancel := context.WithTimeout(ctx, nodePatience)
	defer cancel()
	for {
		found, _ := filepath.Glob(filepath.Join(sys, "class/block", disk, "*", "partition"))
		for _, file := range found {
			name := filepath.Base(filepath.Dir(file))
			if machine.Text(file) != strconv.Itoa(number) {
				continue
			}
			if _, err := os.Stat("/dev/" + name); err == nil {
				return "/dev/" + name, nil
			}
		}
		if backoff.Sleep(ctx, 20*time.Millisecond) != nil {
			return "", fmt.Errorf("partition %d of %s did not appear", number, disk)
		}
	}
}

// receipt tells the server that the plan was carried out, and waits until it
// knows.
func (a *Agent) receipt(ctx context.Context, way string, reasons []string) {
	r, what := a.result, "leaving by "+way
	if way == handoff.Instant { // the system has been running since long ago
		what = "the disk is complete"
	}
	a.report.Event(api.Event{Step: "handoff", State: api.StateProgress, Message: what, Receipt: &api.Receipt{
		Plan: a.plan.ID, Image: a.plan.Image.Digest, Disk: a.disk, ReadBack: cmp.Or(a.plan.ReadBack, "full"), Handoff: way, Reasons: reasons,
		Written: r.Written, Zeroed: r.Zeroed, Kept: r.Kept, Wire: r.Wire, Repaired: r.Repaired, Demanded: r.Demanded, Waited: r.Waited.Seconds(), Memory: peakMemory(), PhaseTimes: r.times, Identity: r.identity,
		Preserved: a.preservedNames(), Samples: r.samples,
	}})
	if !a.session.Queue.Flush(ctx, 5*time.Second) {
		a.report.Console.Line("the server does not take the receipt; trying for some minutes before leaving without")
		a.session.Queue.Flush(ctx, receiptPatience)
	}
}

// peakMemory returns how much memory this process had resident at most, in
// bytes, or 0 where the kernel does not say (getrusage(2), ru_maxrss).
func peakMemory() int64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return usage.Maxrss << 10
}

// jump leaves everything as a system that boots from its disk expects it: no
// other process, links down, the kernel's settings its own.
func (a *Agent) jump(leave jump) (committed bool, err error) {
	a.report.Console.Drain(time.Second)
	if os.Getpid() == 1 {
		_ = unix.Kill(-1, unix.SIGKILL)
	}
	if err := netif.Down(); err != nil {
		a.log.Warn("links stay up", "error", err)
	}
	a.tuning.restore()
	return leave()
}
