package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/busy"
	"github.com/gild-dev/gild/internal/vm"
)

// buildImage makes a bootable disk at dst from the tree in the archive base.
func (b *Builder) buildImage(ctx context.Context, spec Spec, base, dst, work string) error {
	file, err := os.OpenFile(dst, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Truncate(spec.Size); err != nil {
		return err
	}
	if err := run(ctx, nil, strings.NewReader(spec.table()), "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", dst); err != nil {
		return err
	}
	var boot loader
	err = isolate(func() (err error) {
		boot, err = fillRoot(ctx, spec, base, dst, work)
		return err
	})
	if err == nil {
		if spec.Firmware == vm.UEFI {
			err = fillESP(ctx, spec, boot, dst, work)
		} else {
			err = installBIOS(file, spec, boot)
		}
	}
	return errors.Join(err, file.Sync())
}

// editRoot copies an image and has change alter its root file system, given
// where that is mounted.
func editRoot(ctx context.Context, spec Spec, from, dst, work string, change func(root string) error) error {
	if err := run(ctx, nil, nil, "cp", "--sparse=always", from, dst); err != nil {
		return err
	}
	return isolate(func() (err error) {
		loop, err := AttachLoop(dst, spec.rootStart(), spec.rootSize())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, loop.Close()) }()
		root := filepath.Join(work, "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			return err
		}
		if err := mount(loop.Path, root, string(spec.RootFS), 0, ""); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, busy.Unmount(root)) }()
		return change(root)
	})
}

// fillRoot makes the root file system, unpacks the tree into it and has the
// tree's own GRUB write its menu and its core image. It runs in a mount
// namespace of its own.
func fillRoot(ctx context.Context, spec Spec, base, disk, work string) (boot loader, err error) {
	loop, err := AttachLoop(disk, spec.rootStart(), spec.rootSize())
	if err != nil {
		return loader{}, err
	}
	defer func() { err = errors.Join(err, loop.Close()) }()
	device, err := disguise(loop, spec.RootUUID, work)
	if err != nil {
		return loader{}, err
	}
	if err := makeFileSystem(ctx, spec, base, device, work); err != nil {
		return loader{}, err
	}
	root := filepath.Join(work, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return loader{}, err
	}
	if err := mount(device, root, string(spec.RootFS), 0, ""); err != nil {
		return loader{}, err
	}
	defer func() { err = errors.Join(err, busy.Unmount(root)) }()

	if err := run(ctx, nil, nil, "tar", "--extract", "--file", base, "--directory", root, "--numeric-owner", "--xattrs",
		"--xattrs-include=*"); err != nil {
		return loader{}, err
	}
	if err := writeFile(filepath.Join(root, "etc/fstab"), fstab(spec)); err != nil {
		return loader{}, err
	}
	if err := os.MkdirAll(filepath.Join(root, "boot/efi"), 0o755); err != nil {
		return loader{}, err
	}
	if err := mountTree(root); err != nil {
		return loader{}, err
	}
	defer func() { err = errors.Join(err, unmountTree(root)) }()
	return makeLoader(ctx, spec, root)
}

// makeFileSystem formats the root partition by the golden Debian's own
// programs: newer ones, of the host, make features that its kernel and its GRUB
// cannot read. The file system must exist before the tree can be unpacked into
// it, so these few directories are unpacked elsewhere first.
func makeFileSystem(ctx context.Context, spec Spec, base, device, work string) error {
	tools := filepath.Join(work, "tools")
	if err := os.Mkdir(tools, 0o755); err != nil {
		return err
	}
	err := run(ctx, nil, nil, "tar", "--extract", "--file", base, "--directory", tools, "./sbin", "./lib", "./lib64",
		"./usr/sbin", "./usr/lib64", "./usr/lib/x86_64-linux-gnu", "./etc/mke2fs.conf", "./proc", "./sys", "./dev")
	if err != nil {
		return err
	}
	// mkfs.xfs asks /proc whether the device is mounted, and takes no answer for a
	// yes.
	if err := mountTree(tools); err != nil {
		return err
	}
	if spec.RootFS == XFS {
		err = chroot(ctx, tools, "/sbin/mkfs.xfs", "-q", "-L", "root", "-m", "uuid="+spec.RootUUID, device)
	} else {
		err = chroot(ctx, tools, "/sbin/mkfs.ext4", "-q", "-L", "root", "-U", spec.RootUUID, "-E", "hash_seed="+spec.RootUUID, device)
	}
	return errors.Join(err, unmountTree(tools))
}

// disguise gives this mount namespace a /dev in which the loop device has
// another name, and returns that name. grub-mkconfig writes no menu for a root
// on a device called loop, and names the root by its UUID only where udev's
// link for it exists.
func disguise(loop *Loop, uuid, work string) (device string, err error) {
	const name = "golden"
	minor, err := loop.number()
	if err != nil {
		return "", err
	}
	dev := filepath.Join(work, "dev")
	if err := os.MkdirAll(dev, 0o755); err != nil {
		return "", err
	}
	if err := mount("dev", dev, "tmpfs", 0, "mode=755"); err != nil {
		return "", err
	}
	links := filepath.Join(dev, "disk/by-uuid")
	// Character devices by their fixed numbers
	// (Documentation/admin-guide/devices.txt).
	err = errors.Join(
		unix.Mknod(filepath.Join(dev, name), unix.S_IFBLK|0o600, int(unix.Mkdev(7, uint32(minor)))),
		unix.Mknod(filepath.Join(dev, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		unix.Mknod(filepath.Join(dev, "zero"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))),
		unix.Mknod(filepath.Join(dev, "urandom"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 9))),
		os.MkdirAll(links, 0o755),
		os.Symlink("../../"+name, filepath.Join(links, uuid)))
	if err != nil {
		return "", fmt.Errorf("make device nodes: %w", err)
	}
	if err := mount(dev, "/dev", "", unix.MS_MOVE, ""); err != nil {
		return "", err
	}
	return "/dev/" + name, nil
}

func fstab(spec Spec) string {
	pass := 1
	if spec.RootFS == XFS {
		pass = 0 // XFS replays its journal at mount, there is no boot-time check
	}
	text := "# <file system> <mount point> <type> <options> <dump> <pass>\n" +
		"UUID=" + spec.RootUUID + " / " + string(spec.RootFS) + " defaults 0 " + strconv.Itoa(pass) + "\n"
	if spec.Firmware == vm.UEFI {
		text += "UUID=" + espUUID + " /boot/efi vfat umask=0077 0 1\n"
	}
	return text
}
