package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/fsread"
	"github.com/gild-dev/gild/internal/golden/fstab"
)

// instant tells whether the system can be entered while its disk is still
// being written: golden.InstantReady, or what it lacks.
func (l *look) instant(tree fs.FS, boot *golden.Boot) string {
	for _, err := range []error{
		l.instantKernel(boot),
		instantRoot(boot),
		instantInitrd(boot),
		instantInit(tree, boot.Init),
		instantMounts(tree),
	} {
		if err != nil {
			return err.Error()
		}
	}
	return golden.InstantReady
}

// instantKernel asks for what the disk is served and moved by.
func (l *look) instantKernel(boot *golden.Boot) error {
	if l.found.Modules == nil {
		return fmt.Errorf("the modules of its kernel %s were not found", boot.KernelRelease)
	}
	for _, name := range []string{"nbd", "dm-mod"} {
		report := l.found.Modules.Report
		if slices.Contains(report.Absent, name) || slices.ContainsFunc(report.Broken, func(s string) bool { return strings.HasPrefix(s, name) }) {
			return fmt.Errorf("its kernel %s has no %s", boot.KernelRelease, name)
		}
	}
	return nil
}

func instantRoot(boot *golden.Boot) error {
	if boot.Root.Partition == 0 {
		return errors.New("its root is no partition")
	}
	return nil
}

// instantInitrd asks for a root that is entered without the image's own initrd.
func instantInitrd(boot *golden.Boot) error {
	if work := boot.InitrdWork(); len(work) > 0 {
		return fmt.Errorf("its own initrd has work to do: %s", strings.Join(work, ", "))
	}
	return nil
}

// maxLinks is how many symbolic links one path may go through, as in the
// kernel (MAXSYMLINKS).
const maxLinks = 40

// instantInit asks for systemd, which lets the process live that serves the
// disk of the root (https://systemd.io/ROOT_STORAGE_DAEMONS).
func instantInit(tree fs.FS, name string) error {
	if name == "" {
		return errors.New("it has no first program")
	}
	for range maxLinks {
		if path.Base(name) == "systemd" {
			return nil
		}
		target, err := fs.ReadLink(tree, fsread.Rel(name))
		if err != nil {
			break // no link, or not readable
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		name = path.Clean(target)
	}
	return errors.New("its first program is not systemd")
}

// virtual are the types of fstab's lines that need no disk of the machine.
var virtual = []string{
	"proc", "sysfs", "tmpfs", "devtmpfs", "devpts", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "efivarfs", "hugetlbfs", "mqueue",
	"overlay",
	"nfs", "nfs4", "cifs", "9p", "virtiofs", "ceph", "glusterfs", "fuse.sshfs",
}

// instantMounts asks that whatever else the system mounts is found by what is
// on it: the partitions have other names than they will have after a restart.
func instantMounts(tree fs.FS) error {
	mounts, _ := fstab.Parse(readOptional(tree, "etc/fstab"))
	more := false
	for _, m := range mounts {
		if m.File == "/" || slices.Contains(virtual, m.Type) || slices.Contains(m.Options, "noauto") || slices.Contains(m.Options, "bind") {
			continue
		}
		if !byContent(m.Spec) {
			return fmt.Errorf("its /etc/fstab finds %s as %.80s, a name that the device will not have", m.File, m.Spec)
		}
		more = true
	}
	if more && !hasRule(tree) {
		return errors.New("its udev has no rules for device-mapper, by which it would find what /etc/fstab names")
	}
	return nil
}

// byContent reports whether fstab names a device by what is on it.
func byContent(spec string) bool {
	for _, prefix := range []string{
		"UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=",
		"/dev/disk/by-uuid/", "/dev/disk/by-label/", "/dev/disk/by-partuuid/", "/dev/disk/by-partlabel/",
	} {
		if strings.HasPrefix(spec, prefix) {
			return true
		}
	}
	return false
}

// hasRule reports whether udev makes links for device-mapper devices: by the
// rules that lvm2 calls 13-dm-disk.rules, and Debian otherwise.
func hasRule(tree fs.FS) bool {
	for _, dir := range []string{"usr/lib/udev/rules.d", "lib/udev/rules.d"} {
		for _, name := range []string{"60-persistent-storage-dm.rules", "13-dm-disk.rules"} {
			if _, err := fs.Stat(tree, path.Join(dir, name)); err == nil {
				return true
			}
		}
	}
	return false
}
