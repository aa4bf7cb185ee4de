package inspect

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/initramfs/pick"
)

func TestInstant(t *testing.T) {
	link := func(to string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink | 0o777}
	}
	fstab := func(lines string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("UUID=1 / ext4 defaults 0 1\n" + lines)}
	}
	rules := &fstest.MapFile{}
	good := fstest.MapFS{
		"sbin/init": link("../lib/systemd/systemd"), "lib/systemd/systemd": &fstest.MapFile{}, "etc/fstab": fstab("UUID=2 /boot/efi vfat\n"),
		"lib/udev/rules.d/60-persistent-storage-dm.rules": rules,
	}
	with := func(name string, f *fstest.MapFile) fstest.MapFS {
		tree := fstest.MapFS{}
		for k, v := range good {
			tree[k] = v
		}
		if tree[name] = f; f == nil {
			delete(tree, name)
		}
		return tree
	}
	for name, tt := range map[string]struct {
		tree    fstest.MapFS
		absent  string
		whole   bool // the root is the whole disk
		lacking string
	}{
		"ready":                {tree: good},
		"no nbd":               {tree: good, absent: "nbd", lacking: "no nbd"},
		"no device-mapper":     {tree: good, absent: "dm-mod", lacking: "no dm-mod"},
		"whole disk":           {tree: good, whole: true, lacking: "no partition"},
		"absolute link":        {tree: with("sbin/init", link("/lib/systemd/systemd"))},
		"another init":         {tree: with("sbin/init", &fstest.MapFile{}), lacking: "not systemd"},
		"a link to another":    {tree: with("sbin/init", link("openrc-init")), lacking: "not systemd"},
		"an endless link":      {tree: with("sbin/init", link("init")), lacking: "not systemd"},
		"no fstab":             {tree: with("etc/fstab", nil)},
		"by name":              {tree: with("etc/fstab", fstab("/dev/vda2 /boot ext4\n")), lacking: "finds /boot as /dev/vda2"},
		"swap by name":         {tree: with("etc/fstab", fstab("/dev/vda3 none swap\n")), lacking: "/dev/vda3"},
		"by name, not mounted": {tree: with("etc/fstab", fstab("/dev/vda2 /mnt ext4 noauto\n"))},
		"from the network":     {tree: with("etc/fstab", fstab("server:/home /home nfs\ntmpfs /tmp tmpfs\n"))},
		"by link":              {tree: with("etc/fstab", fstab("/dev/disk/by-partuuid/1-2 /srv ext4\nLABEL=swap none swap\n"))},
		"no rules":             {tree: with("lib/udev/rules.d/60-persistent-storage-dm.rules", nil), lacking: "no rules"},
		"other rules":          {tree: with("usr/lib/udev/rules.d/13-dm-disk.rules", rules)},
		"no rules needed":      {tree: fstest.MapFS{"sbin/init": good["sbin/init"], "etc/fstab": fstab("")}},
	} {
		t.Run(name, func(t *testing.T) {
			l := &look{found: &Finding{Modules: &pick.Selection{}}}
			if tt.absent != "" {
				l.found.Modules.Report.Absent = []string{"pata_legacy", tt.absent}
			}
			boot := &golden.Boot{KernelRelease: release, Init: "/sbin/init", Root: golden.Root{Partition: 1}}
			if tt.whole {
				boot.Root.Partition = 0
			}
			got := l.instant(tt.tree, boot)
			if tt.lacking == "" && got != golden.InstantReady || !strings.Contains(got, tt.lacking) ||
				tt.lacking != "" && got == golden.InstantReady {
				t.Errorf("instant() = %q; want %q in it", got, tt.lacking)
			}
		})
	}
	if got := (&look{found: &Finding{}}).instant(good, &golden.Boot{KernelRelease: release}); !strings.Contains(got, release) {
		t.Errorf("instant() without modules = %q; want the kernel named", got)
	}
}
