package inspect

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/golden"
)

// lookAt inspects an image file.
func lookAt(t *testing.T, f *os.File, given Given) *Finding {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	found, err := Look(f, info.Size(), given)
	if err != nil {
		t.Fatalf("Look: %v", err)
	}
	return found
}

// grubCfg boots the kernel in dir, as a boot loader on that partition sees it.
func grubCfg(dir, cmdline string) string {
	return "set default=0\nmenuentry 'Golden' --class gnu-linux {\n\tlinux " + dir + "/vmlinuz-" + release + " " + cmdline +
		"\n\tinitrd " + dir + "/initrd.img-" + release + "\n}\n"
}

const cmdline = "root=UUID=" + rootUUID + " ro quiet console=ttyS0"

// The parts of an installed system.
var (
	etc = files{
		"etc/os-release": "ID=debian\n",
		"etc/fstab":      "UUID=" + rootUUID + " / ext4 noatime,errors=remount-ro 0 1\n",
		"sbin/init":      "init",
	}
	kernelInBoot = files{
		"vmlinuz-" + release:    kernel(release),
		"initrd.img-" + release: "initrd",
		"config-" + release:     "CONFIG_RD_ZSTD=y\n",
	}
)

// below puts a tree below a directory.
func below(dir string, f files) files {
	all := files{}
	for name, text := range f {
		all[dir+"/"+name] = text
	}
	return all
}

// system is a root file system that boots itself by GRUB.
func system(t *testing.T) files {
	return etc.with(modules(t, "")).with(below("boot", kernelInBoot)).
		with(files{"boot/grub/grub.cfg": grubCfg("/boot", cmdline)})
}

const linux, linuxMBR, esp = "0FC63DAF-8483-4772-8E79-3D69D8477DE4", "83", "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"

func ext4(tree files) part { return part{fs: "ext4", uuid: rootUUID, kind: linux, tree: tree} }

// wantBoot is the way into system.
func wantBoot() *golden.Boot {
	return &golden.Boot{
		Arch: "amd64", KernelRelease: release, Kernel: "/boot/vmlinuz-" + release, Initrds: []string{"/boot/initrd.img-" + release},
		Cmdline: cmdline, CmdlineFrom: "grub.cfg",
		Root:      golden.Root{Partition: 1, FileSystem: "ext4", UUID: rootUUID, Options: "noatime,errors=remount-ro"},
		Initramfs: "zstd", Init: "/sbin/init", Instant: "its first program is not systemd",
	}
}

// Whole systems, each the shape of a distribution.
func TestLookFindsTheWayIn(t *testing.T) {
	merged := files{}
	for name, text := range system(t) {
		if strings.HasPrefix(name, "lib/") || strings.HasPrefix(name, "sbin/") {
			name = "usr/" + name
		}
		merged[name] = text
	}
	merged = merged.with(files{
		"lib": "-> usr/lib", "sbin": "-> usr/sbin", "usr/sbin/init": "-> /lib/systemd/systemd",
		"usr/lib/systemd/systemd": "init",
	})
	bare := etc.with(modules(t, ""))
	bootOnly := kernelInBoot.with(files{"grub/grub.cfg": grubCfg("", cmdline)})
	bootPart := func(spec string) []part {
		root := ext4(bare.with(files{"boot": "/", "etc/fstab": "UUID=" + rootUUID + " / ext4 noatime,errors=remount-ro 0 1\n" + spec +
			" /boot ext4 defaults 0 2\n"}))
		return []part{root, {fs: "ext4", uuid: bootUUID, kind: linux, tree: bootOnly}}
	}
	espTree := below("gild", kernelInBoot).with(files{
		"loader/loader.conf": "default gold*\n",
		"loader/entries/gold.conf": "title Golden\nlinux /gild/vmlinuz-" + release + "\ninitrd /gild/initrd.img-" + release + "\noptions " +
			cmdline + "\n",
		"EFI/BOOT/BOOTX64.EFI": "loader",
	})
	espPart := part{fs: "vfat", uuid: "12345678", kind: esp, tree: espTree, size: 40 * mib}

	for name, tt := range map[string]struct {
		label string
		parts []part
		want  func(*golden.Boot)
		notes []string
	}{
		"ext4 on GPT": {"gpt", []part{ext4(system(t))}, nil, []string{"boot loader found"}},
		"ext4 on MBR": {"dos", []part{{fs: "ext4", uuid: rootUUID, kind: linuxMBR, tree: system(t)}}, nil, []string{"boot loader found"}},
		"xfs": {"gpt", []part{{fs: "xfs", uuid: rootUUID, kind: linux, tree: system(t)}}, func(b *golden.Boot) {
			b.Root.FileSystem = "xfs"
		}, []string{"boot loader found"}},
		"merged /usr": {
			"gpt",
			[]part{ext4(merged)},
			func(b *golden.Boot) { b.Instant = golden.InstantReady },
			[]string{"boot loader found"},
		},
		"/boot by UUID":                      {"gpt", bootPart("UUID=" + bootUUID), nil, []string{"boot loader found"}},
		"/boot by udev's link, as in Ubuntu": {"gpt", bootPart("/dev/disk/by-uuid/" + bootUUID), nil, []string{"boot loader found"}},
		"/boot by device":                    {"gpt", bootPart("/dev/vda2"), nil, []string{"boot loader found"}},
		"systemd-boot, ESP in fstab": {
			"gpt",
			[]part{ext4(bare.with(files{"boot/efi": "/", "etc/fstab": "UUID=1234-5678 /boot/efi vfat umask=0077 0 1\n"})), espPart},
			func(b *golden.Boot) {
				b.Kernel, b.Initrds = "/boot/efi/gild/vmlinuz-"+release, []string{"/boot/efi/gild/initrd.img-" + release}
				b.CmdlineFrom, b.Root.Options = "systemd-boot", ""
			}, nil,
		},
		"systemd-boot, ESP without fstab": {
			"gpt",
			[]part{ext4(bare.with(files{"efi": "/", "etc/fstab": "# none\n"})), espPart},
			func(b *golden.Boot) {
				b.Kernel, b.Initrds = "/efi/gild/vmlinuz-"+release, []string{"/efi/gild/initrd.img-" + release}
				b.CmdlineFrom, b.Root.Options = "systemd-boot", ""
			}, nil,
		},
		"extlinux": {"dos", []part{{fs: "ext4", uuid: rootUUID, kind: linuxMBR, tree: bare.with(below("boot", kernelInBoot)).with(files{
			"boot/extlinux/extlinux.conf": "DEFAULT gold\nLABEL gold\n  LINUX /boot/vmlinuz-" + release + "\n  INITRD /boot/initrd.img-" + release +
				"\n  APPEND " + cmdline + "\n",
		})}}, func(b *golden.Boot) { b.CmdlineFrom = "extlinux" }, []string{"boot loader found"}},
		"no partition table": {"", []part{ext4(system(t))}, func(b *golden.Boot) {
			b.Root.Partition, b.Instant = 0, "its root is no partition"
		}, []string{"no last partition can grow into", "boot loader found"}},
		"a kernel that cannot unpack zstd": {
			"gpt",
			[]part{ext4(system(t).with(files{"boot/config-" + release: "# CONFIG_RD_ZSTD is not set\n"}))},
			func(b *golden.Boot) { b.Initramfs = "gzip" },
			[]string{"boot loader found"},
		},
		"no modules": {
			"gpt",
			[]part{ext4(etc.with(below("boot", kernelInBoot)).with(files{"boot/grub/grub.cfg": grubCfg("/boot", cmdline)}))},
			func(b *golden.Boot) {
				b.Instant = "the modules of its kernel " + release + " were not found"
			},
			[]string{"boot loader found", "no modules for kernel " + release + "*--modules"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := lookAt(t, makeDisk(t, tt.label, tt.parts...), Given{})
			want := wantBoot()
			if tt.want != nil {
				tt.want(want)
			}
			if diff := cmp.Diff(want, found.Boot); diff != "" {
				t.Errorf("Look().Boot (-want +got):\n%s\nnotes: %v", diff, found.Notes)
			}
			wantNotes(t, found, tt.notes...)
			if string(found.Kernel) != kernel(release) {
				t.Errorf("Look().Kernel has %d bytes; want the image's", len(found.Kernel))
			}
			if name != "no modules" && (found.Modules == nil || found.Modules.Report.Modules != 4) {
				t.Errorf("Look().Modules = %+v; want the driver and what it needs", found.Modules)
			}
		})
	}
}

// wantNotes wants exactly these notes and doubts, each by words of it:
// "what*flag".
func wantNotes(t *testing.T, found *Finding, want ...string) {
	t.Helper()
	left := slices.Clone(found.Notes)
	for _, d := range found.Doubts {
		left = append(left, Note{d.String(), d.Settle})
	}
	for _, w := range want {
		what, flag, _ := strings.Cut(w, "*")
		i := slices.IndexFunc(left, func(n Note) bool { return strings.Contains(n.What, what) && n.Flag == flag })
		if i < 0 {
			t.Errorf("no note with %q that names %q; notes: %v, doubts: %v", what, flag, found.Notes, found.Doubts)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		t.Errorf("notes that nobody expects: %v", left)
	}
}

// What cannot be found is said, with the flag that supplies it.
func TestLookSaysWhatItDidNotFind(t *testing.T) {
	lvm := make([]byte, 4096)
	copy(lvm[512:], "LABELONE")
	copy(lvm[512+24:], "LVM2 001")
	luks := make([]byte, 4096)
	copy(luks, "LUKS\xba\xbe\x00\x02")
	btrfs := make([]byte, 128<<10)
	copy(btrfs[64<<10+64:], "_BHRfS_M")
	const seen = "no root file system was found; partition 1 holds "
	const flags = "*--root with --kernel, --modules and --cmdline"
	other := etc.with(below("boot", kernelInBoot)).with(files{"boot/grub/grub.cfg": grubCfg("/boot", "root=UUID="+otherUUID)})

	for name, tt := range map[string]struct {
		label string
		parts []part
		boots int // the partition of the root; 0: no way in
		notes []string
	}{
		"no kernel": {"gpt", []part{ext4(etc.with(modules(t, "")))}, 0, []string{"boot loader found", "no kernel was found*--kernel"}},
		"no root":   {"gpt", []part{ext4(files{"photos/1": "x"})}, 0, []string{"boot loader found", "no partition holds the root*--root"}},
		"LVM":       {"gpt", []part{{kind: linux, raw: lvm}}, 0, []string{"boot loader found", seen + "LVM2_member" + flags}},
		"LUKS":      {"gpt", []part{{kind: linux, raw: luks}}, 0, []string{"boot loader found", seen + "crypto_LUKS" + flags}},
		"btrfs":     {"gpt", []part{{kind: linux, raw: btrfs}}, 0, []string{"boot loader found", seen + "btrfs" + flags}},
		"LVM on the disk": {"", []part{{raw: lvm}}, 0, []string{
			"LVM2_member covers the whole disk", "boot loader found",
			"the disk holds LVM2_member" + flags,
		}},
		"nothing at all": {
			"",
			[]part{{raw: make([]byte, 512)}},
			0,
			[]string{"no partition table and no file system", "boot loader found", "no partition holds the root*--root"},
		},
		"an empty table": {"gpt", nil, 0, []string{"boot loader found", "no partition holds the root*--root", "no partition"}},
		"two systems": {
			"gpt",
			[]part{ext4(system(t)), {fs: "ext4", uuid: otherUUID, kind: linux, tree: other}},
			1,
			[]string{"boot loader found", "2 partitions hold a system of their own, and partition 1 is taken; it may be partition 2*--root"},
		},
		"the second boots": {
			"gpt",
			[]part{ext4(etc), {fs: "ext4", uuid: otherUUID, kind: linux, tree: other.with(modules(t, ""))}},
			2,
			[]string{"boot loader found"},
		},
		"no init": {
			"gpt",
			[]part{ext4(system(t).with(files{"sbin/init": "-> /nowhere"}))},
			1,
			[]string{"boot loader found", "no /sbin/init"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := lookAt(t, makeDisk(t, tt.label, tt.parts...), Given{})
			wantNotes(t, found, tt.notes...)
			switch {
			case tt.boots == 0 && found.Boot != nil:
				t.Errorf("Look().Boot = %+v; want nil", found.Boot)
			case tt.boots != 0 && (found.Boot == nil || found.Boot.Root.Partition != tt.boots):
				t.Errorf("Look().Boot = %+v; want the root on partition %d", found.Boot, tt.boots)
			case name == "no init" && found.Boot.Init != "":
				t.Errorf("Look().Boot.Init = %q; want none", found.Boot.Init)
			}
		})
	}
}

func TestGivenTakesTheLead(t *testing.T) {
	t.Parallel()
	tree := system(t).with(files{"boot/early": "e", "boot/late": "l", "bin/sh": "sh"})
	disk := makeDisk(t, "gpt", ext4(tree), part{fs: "ext4", uuid: otherUUID, kind: linux, tree: etc})
	const mine = "6.6.6-mine"
	host := fstest.MapFS{}
	for name, text := range modules(t, "") {
		host[strings.Replace(name, release, mine, 1)] = &fstest.MapFile{Data: []byte(text)}
	}
	t.Run("command line", func(t *testing.T) {
		b := lookAt(t, disk, Given{Cmdline: "root=/dev/sda1 init=/bin/sh"}).Boot
		if b.Cmdline != "root=/dev/sda1 init=/bin/sh" || b.CmdlineFrom != "--cmdline" || b.Init != "/bin/sh" {
			t.Errorf("Boot = %+v", b)
		}
	})
	t.Run("initrds", func(t *testing.T) {
		b := lookAt(t, disk, Given{Initrds: []string{"boot/early", "/boot/late"}}).Boot
		if diff := cmp.Diff([]string{"/boot/early", "/boot/late"}, b.Initrds); diff != "" {
			t.Errorf("Initrds (-want +got):\n%s", diff)
		}
	})
	t.Run("kernel and modules", func(t *testing.T) {
		found := lookAt(t, disk, Given{Kernel: []byte(kernel(mine)), Modules: host})
		b := found.Boot
		if b.KernelRelease != mine || b.Kernel != "" || b.Cmdline != cmdline || found.Modules == nil || found.Modules.Release != mine {
			t.Errorf("Boot = %+v, Modules = %+v", b, found.Modules)
		}
	})
	t.Run("kernel alone", func(t *testing.T) {
		found := lookAt(t, disk, Given{Kernel: []byte(kernel(mine))})
		wantNotes(t, found, "boot loader found", "no modules for kernel "+mine+"*--modules")
	})
	t.Run("root", func(t *testing.T) {
		found := lookAt(t, disk, Given{Root: 2, Kernel: []byte(kernel(mine)), Modules: host})
		if b := found.Boot; b == nil || b.Root.Partition != 2 || b.Cmdline != "root=UUID="+otherUUID+" ro" {
			t.Errorf("Boot = %+v, notes %v", b, found.Notes)
		}
	})
	for name, given := range map[string]Given{
		"--root":    {Root: 7},
		"--kernel":  {Kernel: []byte("no kernel at all")},
		"--modules": {Modules: fstest.MapFS{}},
		"--initrd":  {Initrds: []string{"/boot/none"}},
	} {
		t.Run(name+" of no use", func(t *testing.T) {
			info, err := disk.Stat()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Look(disk, info.Size(), given); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
				t.Errorf("Look = %v; want an error that begins with %s", err, name)
			}
		})
	}
}

// A root that gild cannot read can still be entered when all is given.
func TestUnreadableRootWithEverythingGiven(t *testing.T) {
	t.Parallel()
	btrfs := make([]byte, 128<<10)
	copy(btrfs[64<<10+64:], "_BHRfS_M")
	copy(btrfs[64<<10+32:], "0123456789abcdef")
	host := fstest.MapFS{}
	for name, text := range modules(t, "") {
		host[name] = &fstest.MapFile{Data: []byte(text)}
	}
	found := lookAt(t, makeDisk(t, "gpt", part{kind: linux, raw: btrfs}),
		Given{
			Root: 1, Kernel: []byte(kernel(release)), Modules: host, Cmdline: "root=/dev/sda1 rootflags=subvol=@",
			Initrds: []string{"/boot/initrd"},
		})
	b := found.Boot
	if b == nil || b.Root.FileSystem != "btrfs" || b.Init != "/sbin/init" || found.Modules == nil {
		t.Errorf("Boot = %+v", b)
	}
	wantNotes(t, found, "boot loader found")
}

// A damaged table is one note, not a claim that there is none.
func TestDamagedTables(t *testing.T) {
	t.Parallel()
	disk := makeDisk(t, "gpt", ext4(system(t)))
	info, err := disk.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := disk.WriteAt(make([]byte, 16), 512); err != nil {
		t.Fatal(err)
	}
	found := lookAt(t, disk, Given{})
	if found.Boot == nil || len(found.Notes) < 2 {
		t.Errorf("with the backup GPT alone: %+v; want the system and a note", found)
	}
	if _, err := disk.WriteAt(make([]byte, 16), info.Size()-512); err != nil {
		t.Fatal(err)
	}
	found = lookAt(t, disk, Given{})
	if found.Boot != nil {
		t.Errorf("with no GPT: Boot = %+v; want nil", found.Boot)
	}
	for _, n := range found.Notes {
		if strings.Contains(n.What, "there is no partition table") {
			t.Errorf("with a damaged table: note %q", n)
		}
	}
	t.Log(found.Notes)
}

// What the kernel can unpack is known from its configuration, wherever that is
// kept, then from its release; of a kernel from a file nothing is known.
func TestInitramfsIsPackedForTheKernel(t *testing.T) {
	with := func(release string, more files) files {
		return etc.with(files{
			"boot/vmlinuz-" + release: kernel(release),
			"boot/grub/grub.cfg":      "menuentry 'a' {\n\tlinux /boot/vmlinuz-" + release + " root=UUID=" + rootUUID + "\n}\n",
		}).with(more)
	}
	const old, young = "4.18.0-553.el8_10.x86_64", "6.1.0-18-amd64"
	const gzip, zstd = "# CONFIG_RD_ZSTD is not set\nCONFIG_RD_GZIP=y\n", "CONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n"
	packed := []byte(kernel(young))
	copy(packed[0x24c:], "\x20")
	copy(packed[5*512:], "\x89LZO\x00\r\n\x1a\n")
	lzo := string(packed)
	modules := fstest.MapFS{
		"lib/modules/" + young + "/modules.dep":     {Data: []byte("kernel/drivers/ata/a.ko:\n")},
		"lib/modules/" + young + "/modules.builtin": {Data: []byte("kernel/drivers/block/virtio_blk.ko\n")},
	}
	for name, tt := range map[string]struct {
		tree  files
		given Given
		want  string
	}{
		"no configuration, old":         {with(old, nil), Given{}, "gzip"},
		"no configuration, young":       {with(young, nil), Given{}, "zstd"},
		"/boot":                         {with(young, files{"boot/config-" + young: gzip}), Given{}, "gzip"},
		"beside the modules":            {with(young, files{"usr/lib/modules/" + young + "/config": gzip}), Given{}, "gzip"},
		"beside the modules, for more":  {with(old, files{"lib/modules/" + old + "/config": zstd}), Given{}, "zstd"},
		"the build tree":                {with(young, files{"usr/src/linux-headers-" + young + "/.config": gzip}), Given{}, "gzip"},
		"in a packing that is not read": {with(young, files{"boot/vmlinuz-" + young: lzo}), Given{}, "gzip"},
		"in such a packing, and /boot": {
			with(young, files{"boot/vmlinuz-" + young: lzo, "boot/config-" + young: zstd}),
			Given{},
			"zstd",
		},
		"nothing that is packed": {
			with(young, files{"boot/config-" + young: "# CONFIG_RD_GZIP is not set\nCONFIG_RD_LZ4=y\n"}),
			Given{},
			"none",
		},
		"a kernel from a file": {
			with(young, files{"boot/config-" + young: zstd}),
			Given{Kernel: []byte(kernel(young))},
			"gzip",
		},
		"a kernel from a file, with its modules": {with(young, nil), Given{Kernel: []byte(kernel(young)), Modules: modules}, "gzip"},
		"a kernel from a file, with its settings": {
			with(old, nil),
			Given{Kernel: []byte(kernel(young)), Modules: join(modules, fstest.MapFS{"boot/config-" + young: {Data: []byte(zstd)}})},
			"zstd",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := lookAt(t, makeDisk(t, "gpt", ext4(tt.tree)), tt.given)
			if found.Boot == nil || found.Boot.Initramfs != tt.want {
				t.Errorf("Boot = %+v; want an initramfs packed with %s; notes %v", found.Boot, tt.want, found.Notes)
			}
		})
	}
}

func join(a, b fstest.MapFS) fstest.MapFS {
	all := fstest.MapFS{}
	for _, m := range []fstest.MapFS{a, b} {
		for name, f := range m {
			all[name] = f
		}
	}
	return all
}

// What will keep every server from booting a machine with the image is said
// while it is stored.
func TestLookSaysWhatNoServerCanServe(t *testing.T) {
	old := []byte(kernel(release))
	binary.LittleEndian.PutUint16(old[0x206:], 0x20a) // before 64 bit could be told
	for name, tt := range map[string]struct {
		given Given
		want  string
	}{
		"a dollar":      {Given{Cmdline: "root=/dev/sda1 memmap=16M$0x10000000"}, "boot script*--cmdline"},
		"a long line":   {Given{Cmdline: strings.Repeat("word ", 500)}, "2499 bytes*--cmdline"},
		"an old kernel": {Given{Kernel: old}, "no agent for that*--kernel"},
		"no initramfs": {Given{Kernel: []byte(kernel(release)), Modules: fstest.MapFS{
			"lib/modules/" + release + "/modules.dep":     {},
			"lib/modules/" + release + "/modules.builtin": {Data: []byte("kernel/drivers/ata/ahci.ko\nkernel/drivers/block/virtio_blk.ko\n")},
			"boot/config-" + release:                      {Data: []byte("# CONFIG_BLK_DEV_INITRD is not set\n")},
		}}, "takes no initramfs*--kernel"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := lookAt(t, makeDisk(t, "gpt", ext4(system(t))), tt.given)
			what, flag, _ := strings.Cut(tt.want, "*")
			if !slices.ContainsFunc(found.Doubts, func(d golden.Doubt) bool { return strings.Contains(d.Why, what) && d.Settle == flag }) {
				t.Errorf("doubts are %v; want one with %q that %s settles", found.Doubts, what, flag)
			}
		})
	}
}

// rootflags of the command line count at the first mount only, and that is
// ours.
func TestRootOptions(t *testing.T) {
	tree := fstest.MapFS{"etc/fstab": {Data: []byte("/dev/sda1 / xfs defaults,noatime 0 1\n")}}
	for cmdline, want := range map[string]string{
		"root=/dev/sda1 ro":                              "defaults,noatime",
		"root=/dev/sda1 rootflags=prjquota":              "noatime,prjquota",
		"rootflags=a rootflags=prjquota,noatime ro":      "noatime,prjquota",
		"rootflags=logbufs=8,logbsize=64k,noatime quiet": "noatime,logbufs=8,logbsize=64k",
	} {
		if got := rootOptions(tree, cmdline); got != want {
			t.Errorf("rootOptions(%q) = %q; want %q", cmdline, got, want)
		}
	}
}
