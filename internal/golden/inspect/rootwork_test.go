package inspect

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gild-dev/gild/internal/golden"
)

func TestRootWork(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		tree fstest.MapFS
		want []string
	}{
		"nothing": {fstest.MapFS{"etc/fstab": {Data: []byte("UUID=1 / ext4 defaults 0 1\nUUID=2 /home ext4 defaults 0 2\n/dev/sdb1 " +
			"/usr ext4 noauto 0 0\n")}}, nil},
		"/usr": {fstest.MapFS{"etc/fstab": {Data: []byte("UUID=1 / ext4 defaults 0 1\nUUID=2 /usr/ ext4 ro 0 2\nUUID=3 /var ext4 " +
			"x-initrd.mount 0 2\n")}}, []string{"mount /usr/", "mount /var"}},
		"overlay": {fstest.MapFS{"etc/overlayroot.conf": {
			Data: []byte("# overlayroot=\"x\"\noverlayroot_cfgdisk=\"disabled\"\noverlayroot=\"tmpfs:swap=1\"\n"),
		}}, []string{"overlayroot=tmpfs:swap=1"}},
		"no overlay": {fstest.MapFS{"etc/overlayroot.conf": {Data: []byte("overlayroot_cfgdisk=\"disabled\"\noverlayroot=\"\"\n")}}, nil},
		"scripts": {fstest.MapFS{
			"etc/initramfs-tools/scripts/local-bottom/slots":  {Data: []byte("#!/bin/sh\n"), Mode: 0o755},
			"etc/initramfs-tools/scripts/local-bottom/README": {Data: []byte("x"), Mode: 0o644},
			"etc/initramfs-tools/scripts/init-top/.keep":      {Mode: 0o644},
		}, []string{"run local-bottom/slots"}},
	} {
		if got := rootWork(tt.tree); !slices.Equal(got, tt.want) {
			t.Errorf("%s: rootWork() = %q; want %q", name, got, tt.want)
		}
	}
}

// What an initrd does with the root is foretold, and what names no partition of
// the image is said.
func TestLookSeesTheInitrdsWork(t *testing.T) {
	t.Parallel()
	for cmd, want := range map[string]struct{ way, why, doubt string }{
		"root=UUID=" + rootUUID + " overlayroot=tmpfs":                   {"kexec", "overlayroot=tmpfs", ""},
		"root=/dev/mapper/vg-root":                                       {"kexec", "root=/dev/mapper/vg-root", ""},
		"root=UUID=0b0b0b0b-0000-4000-8000-000000000000":                 {"switch_root", "", "which no partition of the image has"},
		"root=LABEL=other":                                               {"switch_root", "", "which no partition of the image has"},
		"root=PARTUUID=0b0b0b0b-0000-4000-8000-000000000000/PARTNROFF=1": {"switch_root", "", ""},
		"root=UUID=" + strings.ToUpper(rootUUID):                         {"switch_root", "", ""},
	} {
		found := lookAt(t, makeDisk(t, "gpt", ext4(system(t).with(files{"boot/grub/grub.cfg": grubCfg("/boot", cmd)}))), Given{})
		way, why := handoff(found)
		doubted := slices.ContainsFunc(found.Doubts, func(d golden.Doubt) bool { return strings.Contains(d.Why, want.doubt) })
		if way != want.way || !strings.Contains(why, want.why) || doubted != (want.doubt != "") {
			t.Errorf("%s: %s (%s), doubts %v; want %+v", cmd, way, why, found.Doubts, want)
		}
		if want.way == "kexec" && !strings.Contains(found.Boot.Instant, want.why) {
			t.Errorf("%s: instant %q", cmd, found.Boot.Instant)
		}
	}
}
