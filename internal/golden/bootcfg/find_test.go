package bootcfg_test

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gild-dev/gild/internal/golden/bootcfg"
	"github.com/gild-dev/gild/internal/golden/vmlinuz/vmlinuztest"
)

// mounted is a disk whose system has the volumes of the given directories
// apart: what stands behind a colon is the type of the partition. A directory
// that begins with a hash is a volume that the system does not mount.
func mounted(t testing.TB, tree fstest.MapFS, mounts ...string) *bootcfg.Disk {
	t.Helper()
	d := &bootcfg.Disk{Tree: tree, Volumes: []bootcfg.Volume{{Number: 1, GPT: true, Kind: "ext4", UUID: "0a1b-2c3d", FS: tree, Mount: "."}}}
	for i, m := range mounts {
		dir, kind, _ := strings.Cut(m, ":")
		sub, err := fs.Sub(tree, dir)
		if err != nil {
			t.Fatal(err)
		}
		v := bootcfg.Volume{Number: i + 2, GPT: true, Kind: "ext4", UUID: dir + "-uuid", FS: sub, Mount: dir}
		if strings.HasPrefix(dir, "#") {
			v.Mount = ""
		}
		switch kind {
		case "esp":
			v.Kind, v.Type = "vfat", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
		case "xbootldr":
			v.Type = "bc13c2ff-59e6-4262-a352-b275fd6f7172"
		}
		d.Volumes = append(d.Volumes, v)
	}
	return d
}

func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return fsys
}

// text is what was found in one line: "SOURCE KERNEL CMDLINE + INITRD", or why
// there is no entry.
func text(f *bootcfg.Found) string {
	if f.Entry == nil {
		if f.Why != nil {
			return "none: " + f.Why.Error()
		}
		return "doubt: " + f.Doubts[0].String()
	}
	s := fmt.Sprintf("%s %s %s", f.Entry.Source, f.Entry.Kernel, f.Entry.Cmdline)
	for _, i := range f.Entry.Initrds {
		s += " + " + i
	}
	return s
}

// grubCfg boots kernels by their names, each an entry of that id.
func grubCfg(def string, kernels ...string) string {
	s := "set root=hd0,gpt1\nset default=k" + def + "\n"
	for _, k := range kernels {
		s += fmt.Sprintf("menuentry 'Linux %s' --id k%s {\n linux /boot/vmlinuz-%s root=/dev/sda1 k=%s\n}\n", k, k, k, k)
	}
	return s
}

const (
	grubCode     = "\xeb\x63GRUB \x00Geom\x00Hard Disk\x00Read\x00 Error\r\n"
	syslinuxCode = "\x33\xc0Missing operating system.\r\n"
	sdBootEFI    = "MZ #### LoaderInfo: systemd-boot 257 ####"
	grubEFI      = "MZ sbat,1\ngrub,4,Free Software Foundation,grub,2.06\n\x00/EFI/debian\x00"
	shimEFI      = "MZ sbat,1\nshim,4,UEFI shim,shim,1,https://github.com/rhboot/shim\n"
)

// Which boot loader is the image's, and what it starts.
func TestFind(t *testing.T) {
	t.Parallel()
	kernels := []string{"boot/vmlinuz-6.1", "1", "boot/vmlinuz-6.2", "22", "boot/vmlinuz-6.3", "333"}
	with := func(more ...string) []string { return append(append([]string{}, kernels...), more...) }
	entry := func(k string) string { return "title Linux\nlinux /vmlinuz-" + k + "\noptions k=" + k + "\n" }
	for name, tt := range map[string]struct {
		files  []string
		mounts []string
		code   string
		entry  string
		want   string // begins with
		doubts []string
	}{
		"GRUB, nothing else": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.1", "6.2")),
			want:  "grub.cfg boot/vmlinuz-6.2 root=/dev/sda1 k=6.2",
		},
		"GRUB, an entry asked for": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.1", "6.2")), entry: "k6.1",
			want: "grub.cfg boot/vmlinuz-6.1",
		},
		"GRUB, an entry that is not": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.1", "6.2")), entry: "x",
			want: `doubt: the default entry: GRUB would start nothing: no entry is called "x"`,
		},
		"GRUB, kernel gone": {
			files: with("boot/grub/grub.cfg", grubCfg("6.9", "6.9", "6.2")),
			want:  "doubt: the default entry: GRUB would start nothing: the entry", doubts: []string{`it may be "k6.2" (--entry`},
		},
		"GRUB twice, alike": {files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "boot/grub2/grub.cfg",
			"\n"+grubCfg("6.2", "6.2")), want: "grub.cfg boot/vmlinuz-6.2"},
		"GRUB twice, apart": {
			files:  with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "boot/grub2/grub.cfg", grubCfg("6.1", "6.1")),
			want:   "grub.cfg boot/vmlinuz-6.2",
			doubts: []string{"it may be /boot/vmlinuz-6.1 root=/dev/sda1 k=6.1 by GRUB"},
		},
		"BIOS code of GRUB beside an extlinux.conf": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "boot/extlinux/extlinux.conf", "label a\nlinux ../vmlinuz-6.1\n"),
			code:  grubCode, want: "grub.cfg boot/vmlinuz-6.2",
		},
		"BIOS code of syslinux beside a grub.cfg": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "boot/extlinux/extlinux.conf", "label a\nlinux ../vmlinuz-6.1\nappend k=x\n"),
			code:  syslinuxCode, want: "extlinux boot/vmlinuz-6.1 k=x",
		},
		"no code, both configured": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "boot/extlinux/extlinux.conf", "label a\nlinux ../vmlinuz-6.1\n"),
			want:  "grub.cfg boot/vmlinuz-6.2", doubts: []string{"by extlinux"},
		},
		"UEFI alone, a stale grub.cfg for BIOS": {
			files:  with("boot/grub2/grub.cfg", grubCfg("6.1", "6.1"), "efi/EFI/centos/grub.cfg", grubCfg("6.2", "6.2"), "efi/EFI/BOOT/x", ""),
			mounts: []string{"efi:esp"}, want: "grub.cfg boot/vmlinuz-6.2",
		},
		"UEFI and BIOS, apart": {
			files: with("boot/grub2/grub.cfg", grubCfg("6.1", "6.1"), "efi/EFI/centos/grub.cfg", grubCfg("6.2", "6.2")), mounts: []string{"efi:esp"},
			code: grubCode,
			want: "grub.cfg boot/vmlinuz-6.2", doubts: []string{"k=6.1, as BIOS would start it"},
		},
		"UEFI and BIOS, alike": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "efi/EFI/BOOT/BOOTX64.EFI", shimEFI, "efi/EFI/BOOT/grubx64.efi", grubEFI,
				"efi/EFI/debian/grub.cfg", "set prefix=(hd0,gpt1)/boot/grub\nconfigfile $prefix/grub.cfg"),
			mounts: []string{"efi:esp"}, code: grubCode, want: "grub.cfg boot/vmlinuz-6.2",
		},
		"shim's fallback leads to a vendor": {
			files: with("efi/EFI/BOOT/BOOTX64.EFI", shimEFI, "efi/EFI/BOOT/fbx64.efi", "x", "efi/EFI/fedora/BOOTX64.CSV", "x",
				"efi/EFI/fedora/grubx64.efi", "MZ grub_ x",
				"efi/EFI/fedora/grub.cfg", grubCfg("6.2", "6.2"), "efi/EFI/other/grub.cfg", grubCfg("6.1", "6.1"), "efi/EFI/BOOT/grub.cfg",
				grubCfg("6.3", "6.3")),
			mounts: []string{"efi:esp"}, want: "grub.cfg boot/vmlinuz-6.2",
		},
		"GRUB whose prefix is not beside it": {
			files: with("efi/EFI/BOOT/BOOTX64.EFI", grubEFI, "efi/EFI/BOOT/grub.cfg", grubCfg("6.1", "6.1"), "efi/EFI/debian/grub.cfg",
				grubCfg("6.2", "6.2")), mounts: []string{"efi:esp"}, want: "grub.cfg boot/vmlinuz-6.2",
		},
		"GRUB that searches": {
			files: with("efi/EFI/BOOT/BOOTX64.EFI", "MZ grub_ \x00search.fs_uuid 0a1b-2c3d root hd0,gpt1\nset prefix=($root)'/boot/grub'\n\x00",
				"boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "efi/EFI/x/grub.cfg", grubCfg("6.1", "6.1")),
			mounts: []string{"efi:esp"}, want: "grub.cfg boot/vmlinuz-6.2",
		},
		"two vendors, none at the fallback path": {
			files: with("efi/EFI/a/grub.cfg", grubCfg("6.2", "6.2"), "efi/EFI/b/grub.cfg", grubCfg("6.1", "6.1")), mounts: []string{"efi:esp"},
			want: "grub.cfg boot/vmlinuz-6.2", doubts: []string{"which of several"},
		},
		"systemd-boot beside a grub.cfg": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "efi/EFI/BOOT/BOOTX64.EFI", sdBootEFI, "efi/loader/entries/a.conf",
				"linux /k\noptions k=sd", "efi/k", "k"), mounts: []string{"efi:esp"},
			want: "systemd-boot efi/k k=sd",
		},
		"entries of GRUB's blscfg are not systemd-boot's": {
			files: with("boot/grub2/grub.cfg", "set root=hd0,gpt2\nblscfg\n", "boot/loader/entries/a.conf", entry("6.2")), mounts: []string{"boot"},
			want: "BLS boot/vmlinuz-6.2 k=6.2",
		},
		"a loader that nobody knows": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "efi/EFI/BOOT/BOOTX64.EFI", "MZ"), mounts: []string{"efi:esp"},
			want:   "grub.cfg boot/vmlinuz-6.2",
			doubts: []string{"UEFI firmware starts /efi/EFI/BOOT/BOOTX64.EFI, and what that would start is not known"},
		},
		"a loader that nobody knows, and an entry": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.1", "6.2"), "efi/EFI/BOOT/BOOTX64.EFI", "MZ"), mounts: []string{"efi:esp"},
			entry: "k6.1", want: "grub.cfg boot/vmlinuz-6.1",
		},
		"a file that no firmware starts": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "efi/EFI/BOOT/BOOTX64.EFI", "text"), mounts: []string{"efi:esp"},
			want: "grub.cfg boot/vmlinuz-6.2",
		},
		"rEFInd beside a stale grub.cfg": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "boot/refind_linux.conf", "x", "efi/EFI/BOOT/BOOTX64.EFI",
				"MZ rEFInd boot manager"), mounts: []string{"efi:esp"}, want: "grub.cfg boot/vmlinuz-6.2",
			doubts: []string{"rEFInd is not read, and /boot/refind_linux.conf is its", "UEFI firmware starts rEFInd, /efi/EFI/BOOT/BOOTX64.EFI"},
		},
		"Limine": {
			files: with("efi/EFI/BOOT/BOOTX64.EFI", "MZ Limine ", "efi/limine.conf", "/Arch"), mounts: []string{"efi:esp"},
			want: "the newest kernel boot/vmlinuz-6.3",
			doubts: []string{
				"Limine is not read, and /efi/limine.conf is its; it may be 6.2 or 6.1 (--entry settles it)", "the command line: ",
				"UEFI firmware starts Limine, ",
			},
		},
		"a kernel at the fallback path": {
			files:  with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "efi/EFI/BOOT/BOOTX64.EFI", "MZ"+string(vmlinuztest.BzImage("6.1.0"))[2:]),
			mounts: []string{"efi:esp"}, want: "the firmware efi/EFI/BOOT/BOOTX64.EFI ",
			doubts: []string{"BOOTX64.EFI is a kernel that the firmware starts, " +
				"with a command line that is built in or none (--cmdline settles it)"},
		},
		"U-Boot's script beside a grub.cfg": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "boot/boot.scr", "x"),
			want:  "grub.cfg boot/vmlinuz-6.2", doubts: []string{"U-Boot's script is not read"},
		},
		"U-Boot's script behind an extlinux.conf": {files: with("boot/extlinux/extlinux.conf", "label a\nlinux ../vmlinuz-6.1\nappend k=x\n",
			"boot/boot.scr", "x"), want: "extlinux boot/vmlinuz-6.1 k=x"},
		"GRUB beside what GRUB legacy has left": {
			files: with("boot/grub/grub.cfg", grubCfg("6.2", "6.2"), "boot/grub/menu.lst", "x"),
			want:  "grub.cfg boot/vmlinuz-6.2",
		},
		"a unified kernel image at the fallback path": {
			files: with("efi/EFI/BOOT/BOOTX64.EFI", string(peFile(".linux", "k", ".cmdline", "uki=1"))), mounts: []string{"efi:esp"},
			want: "UKI efi/EFI/BOOT/BOOTX64.EFI uki=1",
		},
		"kernels where the system does not see them": {
			files:  with("#/EFI/BOOT/BOOTX64.EFI", sdBootEFI, "#/loader/entries/a.conf", "linux /k\noptions k=sd", "#/k", "k"),
			mounts: []string{"#:esp"}, want: "systemd-boot  k=sd",
		},
		"Red Hat's order, which release is not known": {
			files: with("boot/grub2/grub.cfg", "set root=hd0,gpt2\nblscfg\n", "boot/loader/entries/a-6.1-9.conf",
				"version 6.1-9\nlinux /vmlinuz-6.1\noptions x y", "boot/loader/entries/a-6.2-1.conf", "version 0.1-1\nlinux /vmlinuz-6.2\noptions x y"),
			mounts: []string{"boot"}, want: "BLS boot/vmlinuz-6.2", doubts: []string{"release's GRUB"},
		},
		"RHEL 8": {
			files: with("etc/os-release", "ID=rhel\nVERSION_ID=\"8.10\"\n", "boot/grub2/grub.cfg", "set root=hd0,gpt2\nblscfg\n",
				"boot/loader/entries/a-6.1-9.conf", "version 6.1-9\nlinux /vmlinuz-6.1\noptions x y", "boot/loader/entries/a-6.2-1.conf",
				"version 0.1-1\nlinux /vmlinuz-6.2\noptions x y"),
			mounts: []string{"boot"}, want: "BLS boot/vmlinuz-6.1",
		},
		"the newest, as Debian counts": {
			files: []string{
				"etc/os-release", "ID=debian", "boot/vmlinuz-6.1", "", "boot/vmlinuz-6.1.old", "", "boot/vmlinuz-6.1-rc3", "",
				"etc/default/grub", "X='a b'\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"$X ${X}c\"\n# GRUB_CMDLINE_LINUX=no",
			},
			want: "etc/default/grub boot/vmlinuz-6.1 a b a bc quiet",
		},
		"the newest, by /etc/kernel/cmdline": {files: []string{
			"boot/vmlinuz-6.9", "", "boot/vmlinuz-6.10", "", "boot/initramfs-6.10.img", "",
			"etc/kernel/cmdline", "root=LABEL=x ro\n",
		}, want: "etc/kernel/cmdline boot/vmlinuz-6.10 root=LABEL=x ro + boot/initramfs-6.10.img"},
		"the newest, in /usr": {
			files: []string{"usr/lib/modules/6.9.1/vmlinuz", "", "usr/lib/modules/6.10.1/vmlinuz", ""},
			want:  "the newest kernel usr/lib/modules/6.10.1/vmlinuz",
		},
		"the newest, which nobody counts alike": {
			files:  []string{"boot/vmlinuz-5.14.0-70.el9.x86_64", "", "boot/vmlinuz-5.14.0-70.13.1.el9_0.x86_64", ""},
			want:   "the newest kernel boot/vmlinuz-5.14.0-70.el9.x86_64",
			doubts: []string{"it may be 5.14.0-70.13.1.el9_0.x86_64"},
		},
		"the newest, without what packages leave": {
			files: []string{
				"boot/vmlinuz-6.1", "", "boot/vmlinuz-6.2.dpkg-new", "", "boot/vmlinuz-6.3.rpmsave", "", "boot/vmlinuz-6.4.sig", "",
				"boot/vmlinuz-0-rescue-6.5", "",
			},
			want: "the newest kernel boot/vmlinuz-6.1",
		},
		"the newest, as Gentoo names it": {
			files: []string{
				"etc/os-release", "ID=gentoo\n", "boot/kernel-6.6.9-gentoo", "", "boot/kernel-6.6.30-gentoo", "",
				"boot/initramfs-genkernel-6.6.30-gentoo", "",
			},
			want: "the newest kernel boot/kernel-6.6.30-gentoo  + boot/initramfs-genkernel-6.6.30-gentoo",
		},
		"a loader that is not read": {
			files: with("boot/boot.scr", "x"), want: "the newest kernel boot/vmlinuz-6.3",
			doubts: []string{"U-Boot's script is not read", "the command line: "},
		},
		"GRUB legacy alone": {
			files: with("boot/grub/menu.lst", "default 1"), code: grubCode,
			want: "the newest kernel boot/vmlinuz-6.3", doubts: []string{"GRUB legacy is not read", "the command line: "},
		},
		"a kernel that was asked for": {
			files: with("boot/boot.scr", "x"), entry: "6.1", want: "the newest kernel boot/vmlinuz-6.1",
			doubts: []string{"the command line: "},
		},
		"a kernel that is not": {
			files: with("boot/boot.scr", "x"), entry: "6.9",
			want: "doubt: the default entry: no boot loader is read, and no kernel has the release \"6.9\"; it may be 6.3 or 6.2 or 6.1 " +
				"(--entry settles it)",
		},
		"nothing": {want: "none: no boot entry found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := mounted(t, files(tt.files...), tt.mounts...)
			if tt.code != "" {
				d.BootCode = append([]byte(tt.code), make([]byte, 512)...)[:512]
			}
			found := bootcfg.Find(d, tt.entry)
			if got := text(found); !strings.HasPrefix(got, tt.want) {
				t.Errorf("Find() = %s\nwant %s\ndoubts: %v", got, tt.want, found.Doubts)
			}
			saysWhatDecided(t, d, found)
			if found.Entry != nil && len(found.Doubts) != len(tt.doubts) {
				t.Errorf("doubts %v; want %q", found.Doubts, tt.doubts)
			}
			for i, want := range tt.doubts {
				if i >= len(found.Doubts) || !strings.Contains(found.Doubts[i].String(), want) {
					t.Errorf("doubts %v; want %q", found.Doubts, want)
				}
			}
		})
	}
}

// What syslinux and U-Boot make of a configuration.
func TestExtlinux(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		conf, more, want string
		doubts           int
	}{
		"Alpine": {
			"DEFAULT menu.c32\nLABEL a\n  LINUX k\nLABEL lts\n  MENU DEFAULT\n  MENU LABEL Linux ^lts\n  " +
				"LINUX vmlinuz-lts\n  INITRD initramfs-lts\n  APPEND root=UUID=3 quiet\n", "",
			"extlinux boot/vmlinuz-lts root=UUID=3 quiet + boot/initramfs-lts", 0,
		},
		"an included file": {
			"default l0\ninclude linux.cfg\n", "label x\nlinux /k\nlabel l0\nlinux ../boot/vmlinuz-lts\nappend q",
			"extlinux boot/vmlinuz-lts q", 0,
		},
		"a file that is not":          {"include none.cfg\nlabel a\nlinux vmlinuz-lts\n", "", "extlinux boot/vmlinuz-lts ", 1},
		"a file that includes itself": {"include extlinux.conf\nlabel a\nlinux vmlinuz-lts\n", "", "extlinux boot/vmlinuz-lts ", 1},
		"ontimeout": {
			"default a\nontimeout b\nlabel a\nlinux k\nlabel b\nlinux vmlinuz-lts\n", "",
			"extlinux boot/vmlinuz-lts ", 0,
		},
		"global append": {
			"append all\ndefault b\nlabel a\nlinux k\nlabel b\nlinux vmlinuz-lts\n", "",
			"extlinux boot/vmlinuz-lts all", 1,
		},
		"append -": {"append all\ndefault b\nlabel b\nlinux vmlinuz-lts\nappend -\n", "", "extlinux boot/vmlinuz-lts ", 0},
		"two initrds": {
			"default b\nlabel b\nlinux vmlinuz-lts\ninitrd k,initramfs-lts\n", "",
			"extlinux boot/vmlinuz-lts  + boot/k + boot/initramfs-lts", 1,
		},
		"initrd= in append": {
			"default b\nlabel b\nlinux vmlinuz-lts\nappend initrd=initramfs-lts ro\n", "",
			"extlinux boot/vmlinuz-lts ro + boot/initramfs-lts", 0,
		},
		"a label twice": {"default b\nlabel b\nlinux vmlinuz-lts\nlabel b\nlinux k\n", "", "extlinux boot/vmlinuz-lts ", 0},
		"localboot": {
			"default b\nlabel a\nlinux k\nlabel b\nlocalboot 0\n", "",
			`doubt: the default entry: extlinux would start the label "b", which is no Linux`, 0,
		},
		"no such default": {
			"default c\nlabel a\nlinux k\n", "",
			`doubt: the default entry: extlinux would start "c", which is no label`, 0,
		},
		"kernel gone": {
			"default c\nlabel a\nlinux k\nlabel c\nlinux none\n", "",
			`doubt: the default entry: extlinux would start the label "c", whose kernel none is not there`, 0,
		},
		"control character": {
			"label a\nlinux k\nappend a\x1bb", "",
			`doubt: the default entry: extlinux would start the label "a", which no kernel takes`, 0,
		},
		"long": {
			"label a\nlinux k\nappend " + strings.Repeat("x", 4097), "",
			`doubt: the default entry: extlinux would start the label "a", which no kernel takes`, 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tree := files("boot/extlinux.conf", tt.conf, "boot/linux.cfg", tt.more, "boot/k", "k", "boot/vmlinuz-lts", "kk", "boot/initramfs-lts",
				"i")
			d := mounted(t, tree)
			found := bootcfg.Find(d, "")
			saysWhatDecided(t, d, found)
			if got := text(found); !strings.HasPrefix(got, tt.want) || found.Entry != nil && len(found.Doubts) != tt.doubts {
				t.Errorf("Find() = %q\nwant %q, %d doubts: %v", got, tt.want, tt.doubts, found.Doubts)
			}
		})
	}
}
