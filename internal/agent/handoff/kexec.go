package handoff

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/api"
)

// kexec starts the image's kernel by the running one.
type kexec struct{}

// Name implements Way.
func (kexec) Name() string { return api.HandoffKexec }

// Prepare loads the image's kernel from its disk. Nothing stays mounted.
func (kexec) Prepare(ctx context.Context, t Target) (Jump, error) {
	boot := t.Boot
	if boot == nil {
		return nil, ErrNoKernel
	}
	if boot.Kernel == "" {
		return nil, errors.New("the kernel of this image is not on its disk")
	}
	if boot.Arch != runtime.GOARCH {
		return nil, fmt.Errorf("the image is for %.20s, this machine is %s", boot.Arch, runtime.GOARCH)
	}
	err := t.Mount(ctx, boot.Root.Partition, boot.Root.FileSystem, NewRoot, unix.MS_RDONLY, "")
	if err != nil {
		return nil, err
	}
	kernel := Kernel{Cmdline: t.replace(boot.Cmdline)}
	paths, err := t.bootFiles(ctx, append([]string{boot.Kernel}, boot.Initrds...))
	if err == nil {
		kernel.Image, kernel.Initrds = paths[0], paths[1:]
		err = kernel.Load()
	}
	if err := errors.Join(err, mount.Unmount("/newboot"), mount.Unmount(NewRoot)); err != nil {
		return nil, err
	}
	return func() (bool, error) { return false, kernel.Jump() }, nil
}

// bootFiles finds files of the image below the mounted root, or, where /boot
// is a partition of its own, on that: the first whose file system has the
// first of them.
func (t Target) bootFiles(ctx context.Context, names []string) ([]string, error) {
	paths, err := resolveAll(NewRoot, names, "")
	if err == nil {
		return paths, nil
	}
	for _, p := range t.Partitions {
		switch p.FileSystem {
		case "ext2", "ext3", "ext4", "xfs", "vfat":
		default:
			continue
		}
		if p.Number == t.Boot.Root.Partition || t.Mount(ctx, p.Number, p.FileSystem, "/newboot", unix.MS_RDONLY, "") != nil {
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
		path, err := Resolve(root, rest)
		if err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// Kernel is what a kexec needs, as files from here.
type Kernel struct {
	Image   string
	Initrds []string // concatenated in order
	Cmdline string   // the image's own
}

// kexecNoInitramfs is KEXEC_FILE_NO_INITRAMFS of linux/kexec.h.
const kexecNoInitramfs = 4

// Load hands the kernel over to the running one (kexec_file_load(2)). Nothing
// is changed yet; a lockdown refuses unsigned kernels here.
func (k Kernel) Load() error {
	image, err := os.Open(k.Image)
	if err != nil {
		return fmt.Errorf("loading the image's kernel: %w", err)
	}
	defer image.Close()
	flags, initrd := kexecNoInitramfs, -1
	if len(k.Initrds) > 0 {
		f, err := joinInitrds(k.Initrds)
		if err != nil {
			return err
		}
		defer f.Close()
		flags, initrd = 0, int(f.Fd())
	}
	if err := unix.KexecFileLoad(int(image.Fd()), initrd, k.Cmdline, flags); err != nil {
		return fmt.Errorf("loading the image's kernel: %w", err)
	}
	return nil
}

// joinInitrds puts all initrds into one file in memory, each from a multiple
// of four bytes, which the kernel's unpacker expects (initramfs buffer
// format, "pad").
func joinInitrds(paths []string) (*os.File, error) {
	fd, err := unix.MemfdCreate("initrd", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("joining the image's initrds: %w", err)
	}
	out := os.NewFile(uintptr(fd), "initrd")
	for _, path := range paths {
		if err := appendPadded(out, path); err != nil {
			out.Close()
			return nil, fmt.Errorf("joining the image's initrds: %w", err)
		}
	}
	return out, nil
}

func appendPadded(out *os.File, path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	n, err := io.Copy(out, in)
	if err != nil {
		return err
	}
	_, err = out.Write(make([]byte, -n&3))
	return err
}

// Jump starts the loaded kernel. The kernel flushes nothing: every file
// system must be unmounted or read-only by now. It returns only with an
// error.
func (k Kernel) Jump() error {
	unix.Sync()
	return fmt.Errorf("starting the image's kernel: %w", unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC))
}
