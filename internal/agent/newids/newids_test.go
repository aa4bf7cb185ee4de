package newids

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/mounttest"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/tier"
)

const (
	mib  = 1 << 20
	plan = "PLAN7"
)

func tool(t *testing.T, name string) string {
	t.Helper()
	for _, p := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func run(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is a disk in a file, as a flash leaves it.
type bench struct {
	t        *testing.T
	path     string
	device   string // that the file is attached to; empty: the file stands for it
	dir      string
	esp      string // what stands for the content of FAT where the kernel does not mount it
	image    golden.Config
	notes    []string
	failOpen int // of the opens to come, the one that fails; from 1
	mounts   int
}

// newBench makes a disk by an sfdisk script and its file systems by number:
// kind and the command that makes it, to which the file is added.
func newBench(t *testing.T, script string, made map[int][]string) *bench {
	t.Helper()
	tier.Root(t, "loop devices and mounts need root")
	mounttest.Private(t)
	b := &bench{t: t, path: filepath.Join(t.TempDir(), "disk.img"), dir: filepath.Join(t.TempDir(), "mnt"), esp: t.TempDir()}
	must(t, os.Mkdir(b.dir, 0o755))
	must(t, os.WriteFile(b.path, nil, 0o600))
	must(t, os.Truncate(b.path, 1200*mib))
	t.Cleanup(func() { _ = unix.Unmount(b.dir, 0) })
	run(t, script, "sfdisk", "-q", b.path)
	table := b.table()
	b.image.Disk = golden.Disk{Size: 1200 * mib, SectorSize: 512, Scheme: string(table.Scheme), ID: table.DiskID}
	for _, p := range table.Partitions {
		q := golden.Partition{Number: p.Number, Start: p.Start, Size: p.Size, PartUUID: p.GUID}
		if m := made[p.Number]; m != nil {
			file := filepath.Join(t.TempDir(), "fs.img")
			must(t, os.WriteFile(file, nil, 0o600))
			must(t, os.Truncate(file, p.Size))
			run(t, "", m[1], append(m[2:], file)...)
			b.dd(file, b.path, "conv=notrunc,sparse", fmt.Sprintf("seek=%d", p.Start/mib))
			q.FileSystem = m[0]
		}
		b.image.Disk.Partitions = append(b.image.Disk.Partitions, q)
	}
	return b
}

// attach makes the disk a block device.
func (b *bench) attach() {
	b.t.Helper()
	b.device = run(b.t, "", "losetup", "--find", "--show", b.path)
	b.t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", b.device).CombinedOutput(); err != nil {
			b.t.Errorf("losetup -d %s: %v: %s", b.device, err, out)
		}
	})
}

func (b *bench) dd(from, to string, args ...string) {
	run(b.t, "", "dd", append([]string{"if=" + from, "of=" + to, "bs=1M", "status=none"}, args...)...)
}

func (b *bench) table() *partition.Table {
	b.t.Helper()
	f, err := os.Open(b.path)
	must(b.t, err)
	defer f.Close()
	table, err := partition.Read(f, 1200*mib, 512)
	must(b.t, err)
	return table
}

func (b *bench) partition(number int) golden.Partition {
	i := slices.IndexFunc(b.image.Disk.Partitions, func(p golden.Partition) bool { return p.Number == number })
	return b.image.Disk.Partitions[i]
}

// part copies a partition out, for tools that take no offset.
func (b *bench) part(number int) string {
	b.t.Helper()
	p, to := b.partition(number), filepath.Join(b.t.TempDir(), "part.img")
	b.dd(b.path, to, "conv=sparse", fmt.Sprintf("skip=%d", p.Start/mib), fmt.Sprintf("count=%d", p.Size/mib))
	return to
}

func (b *bench) uuid(number int) string {
	b.t.Helper()
	p := b.partition(number)
	return run(b.t, "", "blkid", "-p", "-O", fmt.Sprint(p.Start), "-S", fmt.Sprint(p.Size), "-s", "UUID", "-o", "value", b.path)
}

func (b *bench) open() (*blockdev.Device, error) {
	if b.failOpen--; b.failOpen == 0 {
		return nil, errors.New("the disk is gone")
	}
	return blockdev.Open(cmp.Or(b.device, b.path), blockdev.Options{AllowFile: true})
}

func (b *bench) mount(_ context.Context, p golden.Partition, writable bool) error {
	b.mounts++
	known, _ := os.ReadFile("/proc/filesystems")
	if p.FileSystem == "vfat" && !strings.Contains(string(known), "\tvfat\n") {
		return unix.Mount(b.esp, b.dir, "", unix.MS_BIND, "")
	}
	mode := "ro"
	if writable {
		mode = "rw"
	}
	out, err := exec.Command("mount", "-t", p.FileSystem, "-o", fmt.Sprintf("loop,%s,offset=%d,sizelimit=%d", mode, p.Start, p.Size),
		cmp.Or(b.device, b.path), b.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// inside mounts a partition for do, as the system itself would.
func (b *bench) inside(number int, do func(dir string)) {
	b.t.Helper()
	must(b.t, b.mount(b.t.Context(), b.partition(number), true))
	do(b.dir)
	mounttest.Unmount(b.t, b.dir)
}

func (b *bench) fill(number int, files map[string]string) {
	b.t.Helper()
	b.inside(number, func(dir string) {
		for name, text := range files {
			path := filepath.Join(dir, name)
			must(b.t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(b.t, os.WriteFile(path, []byte(text), 0o644))
		}
	})
}

func (b *bench) change(preserved ...string) *Change {
	return New(Job{
		Plan: plan, Image: &b.image, Preserved: preserved, Dir: b.dir, Open: b.open, Mount: b.mount,
		Note: func(format string, args ...any) { b.notes = append(b.notes, fmt.Sprintf(format, args...)) },
	})
}

// own is the rest of an identity.
func (b *bench) own() error {
	return os.WriteFile(filepath.Join(b.dir, "own"), []byte("written\n"), 0o644)
}

const gptScript = `label: gpt
label-id: 0A1F6C52-7D07-4C0E-9D9A-5B1C2A7E1000
start=1MiB, size=64MiB, type=U, uuid=0A1F6C52-7D07-4C0E-9D9A-5B1C2A7E1001
size=200MiB, type=L, uuid=0A1F6C52-7D07-4C0E-9D9A-5B1C2A7E1002
size=400MiB, type=L, uuid=0A1F6C52-7D07-4C0E-9D9A-5B1C2A7E1003
size=64MiB, type=S, uuid=0A1F6C52-7D07-4C0E-9D9A-5B1C2A7E1004
size=100MiB, type=L, uuid=0A1F6C52-7D07-4C0E-9D9A-5B1C2A7E1005
`

// uefi is a disk as a distribution lays it out: ESP, /boot, root, swap, and one
// partition with data that is not the image's.
func uefi(t *testing.T) (b *bench, old map[int]string) {
	t.Helper()
	b = newBench(t, gptScript, map[int][]string{
		1: {"vfat", "mkfs.fat", "-F", "32"},
		2: {"ext4", "mke2fs", "-q", "-t", "ext4", "-O", "metadata_csum_seed"},
		3: {"xfs", "mkfs.xfs", "-q"},
		4: {"swap", "mkswap"},
		5: {"ext4", "mke2fs", "-q", "-t", "ext4"},
	})
	old = map[int]string{}
	for n := range 5 {
		old[n+1] = b.uuid(n + 1)
	}
	b.image.Disk.Partitions = b.image.Disk.Partitions[:4]
	b.image.Boot = &golden.Boot{Root: golden.Root{Partition: 3, FileSystem: "xfs"}}
	b.fill(1, map[string]string{"EFI/debian/grub.cfg": "search.fs_uuid " + old[2] + " root\nset prefix=($root)'/grub'\n"})
	b.fill(2, map[string]string{
		"grub/grub.cfg": "search --no-floppy --fs-uuid --set=root " + old[2] + "\nlinux /vmlinuz root=UUID=" + old[3] + " ro\n",
		"vmlinuz":       "kernel " + old[3], // no text
	})
	b.fill(3, map[string]string{
		"etc/fstab": fmt.Sprintf("UUID=%s / xfs defaults 0 0\nUUID=%s /boot ext4 defaults 0 2\nUUID=%s /boot/efi vfat umask=0077 0 "+
			"1\nUUID=%s none swap sw 0 0\nPARTUUID=0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e1005 /data ext4 defaults 0 2\n",
			old[3], old[2], old[1], old[4]),
		"etc/default/grub": "GRUB_CMDLINE_LINUX=\"resume=PARTUUID=0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e1004\"\n",
	})
	return b, old
}

const kept = "0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e1005"

// check lets foreign tools judge the disk after the change.
func (b *bench) check(old map[int]string) {
	t := b.t
	t.Helper()
	if out := run(t, "", "sgdisk", "-v", b.path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	run(t, "", "fsck.fat", "-n", b.part(1))
	run(t, "", "e2fsck", "-fn", b.part(2))
	run(t, "", "xfs_repair", "-n", "-f", b.part(3))
	table := b.table()
	for _, p := range append([]partition.Partition{{GUID: table.DiskID}}, table.Partitions...) {
		if was := strings.HasPrefix(p.GUID, "0a1f6c52-7d07"); was != (p.GUID == kept) {
			t.Errorf("partition %d has the GUID %s", p.Number, p.GUID)
		}
	}
	now := map[string]bool{}
	for n := range 4 {
		id := b.uuid(n + 1)
		if id == old[n+1] {
			t.Errorf("partition %d has the UUID of the image, %s", n+1, id)
		}
		now[id] = true
	}
	b.inside(3, func(dir string) {
		fstab, err := os.ReadFile(filepath.Join(dir, "etc/fstab"))
		must(t, err)
		for line := range strings.Lines(string(fstab)) {
			f := strings.Fields(line)
			if id, ok := strings.CutPrefix(f[0], "UUID="); ok && !now[id] {
				t.Errorf("fstab names %s for %s, which is on no partition", id, f[1])
			}
		}
		if !strings.Contains(string(fstab), kept) {
			t.Errorf("fstab does not name the kept partition any more: %s", fstab)
		}
		if _, err := os.Stat(filepath.Join(dir, "own")); err != nil {
			t.Error(err)
		}
	})
	for n, but := range map[int]string{1: "", 2: "vmlinuz", 3: ""} {
		b.inside(n, func(dir string) {
			must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() || d.Name() == but {
					return err
				}
				text, err := os.ReadFile(path)
				for _, id := range old {
					if strings.Contains(strings.ToLower(string(text)), strings.ToLower(id)) {
						t.Errorf("%s still names %s", path, id)
					}
				}
				return err
			}))
		})
	}
}

func TestRun(t *testing.T) {
	b, old := uefi(t)
	b.attach()
	c := b.change(kept)
	must(t, c.Run(t.Context(), b.own))
	b.check(old)
	if c.Shut() || !slices.ContainsFunc(b.notes, func(n string) bool {
		return n == "own IDs: the partition table, vfat on partition 1, ext4 on partition 2, xfs on partition 3, swap on partition 4"
	}) {
		t.Errorf("Shut() = %v, notes %q", c.Shut(), b.notes)
	}
	table := b.table()
	if got, want := c.Replace("root=UUID="+old[3]+" ro"), "root=UUID="+b.uuid(3)+" ro"; got != want {
		t.Errorf("Replace() = %q; want %q", got, want)
	}
	// What an agent that was cut off recognises as its own.
	ours := Left(table.DiskID, plan, b.image.Disk)
	for _, id := range []string{table.DiskID, table.Partitions[0].GUID, table.Partitions[3].GUID} {
		if !slices.Contains(ours, id) {
			t.Errorf("Left() = %q without %s", ours, id)
		}
	}
	if got := Left(table.DiskID, "another", b.image.Disk); got != nil {
		t.Errorf("Left() under another plan = %q; want none", got)
	}
	mounts := b.mounts
	if err := c.Run(t.Context(), b.own); err != nil || b.mounts != mounts {
		t.Errorf("Run() again = %v with %d mounts; want nothing to happen", err, b.mounts-mounts)
	}
}

// Whenever it fails once, the disk either is the image's or does not boot, and
// the next try comes to the same end.
func TestRunFailsAndGoesOn(t *testing.T) {
	b, old := uefi(t)
	flashed, before := b.path, b.table()
	for fail := 1; fail <= 4; fail++ {
		b.path = filepath.Join(t.TempDir(), "disk.img")
		run(t, "", "cp", "--sparse=always", flashed, b.path)
		b.failOpen = fail
		c := b.change(kept)
		if err := c.Run(t.Context(), b.own); err == nil {
			t.Fatalf("Run() with open %d failing = nil; want an error", fail)
		}
		after := b.table()
		switch {
		case c.Shut() && after.Scheme != partition.None:
			t.Errorf("open %d fails: the disk has a table while it cannot boot", fail)
		case !c.Shut():
			if diff := gocmp.Diff(before, after); diff != "" {
				t.Errorf("open %d fails: the disk changed (-was +is):\n%s", fail, diff)
			}
		}
		must(t, c.Run(t.Context(), b.own))
		b.check(old)
	}
}

// The golden image of a BIOS machine as grub-install makes it on a loop device:
// the UUID of /boot is in GRUB's core image.
func TestWhatStays(t *testing.T) {
	b := newBench(t,
		"label: dos\nlabel-id: 0x61d00001\nstart=1MiB, size=400MiB, type=83, bootable\nsize=64MiB, type=82\nsize=200MiB, "+
			"type=83\nsize=200MiB, type=83\n", map[int][]string{
			1: {"xfs", "mkfs.xfs", "-q"},
			2: {"swap", "mkswap"},
			3: {"ext4", "mke2fs", "-q", "-t", "ext4", "-O", "metadata_csum,^metadata_csum_seed"},
			4: {"btrfs", "mkfs.btrfs", "-q"},
		})
	var old []string
	for n := range 4 {
		old = append(old, b.uuid(n+1))
	}
	b.image.Boot = &golden.Boot{Initrds: []string{"/initrd.img"}, Root: golden.Root{Partition: 1, FileSystem: "xfs"}}
	b.fill(1, map[string]string{
		"etc/fstab":                   "UUID=" + old[0] + " / xfs\nPARTUUID=61d00001-03 /srv ext4\n",
		"boot/grub/i386-pc/load.cfg":  "search.fs_uuid " + old[0] + " root\n",
		"boot/grub/i386-pc/core.img":  "compressed",
		"boot/extlinux/extlinux.conf": "append root=PARTUUID=61D00001-01\n",
	})
	must(t, b.change().Run(t.Context(), b.own))
	for n, want := range old {
		if got := b.uuid(n + 1); got != want {
			t.Errorf("partition %d has the UUID %s; want that of the image, %s", n+1, got, want)
		}
	}
	id := b.table().DiskID
	if id == "61d00001" || len(id) != 8 {
		t.Errorf("disk signature %s; want a new one", id)
	}
	b.inside(1, func(dir string) {
		fstab, _ := os.ReadFile(filepath.Join(dir, "etc/fstab"))
		if want := "UUID=" + old[0] + " / xfs\nPARTUUID=" + id + "-03 /srv ext4\n"; string(fstab) != want {
			t.Errorf("fstab = %q; want %q", fstab, want)
		}
		conf, _ := os.ReadFile(filepath.Join(dir, "boot/extlinux/extlinux.conf"))
		if want := "append root=PARTUUID=" + strings.ToUpper(id) + "-01\n"; string(conf) != want {
			t.Errorf("extlinux.conf = %q; want %q", conf, want)
		}
	})
	for _, want := range []string{"load.cfg has it built in", "the initrd may look", "tune2fs -O metadata_csum_seed", "partition 4 stays"} {
		if !strings.Contains(strings.Join(b.notes, "\n"), want) {
			t.Errorf("notes %q; want one with %q", b.notes, want)
		}
	}
}

// A partition that cannot be looked into, or that is no partition at all, keeps
// everything as it is; the identity is written all the same.
func TestRunWithoutAChange(t *testing.T) {
	b, _ := uefi(t)
	before := b.table()
	c := b.change(kept)
	c.Mount = func(ctx context.Context, p golden.Partition, writable bool) error {
		if p.Number == 1 {
			return errors.New("unknown file system")
		}
		return b.mount(ctx, p, writable)
	}
	must(t, c.Run(t.Context(), b.own))
	if diff := gocmp.Diff(before, b.table()); diff != "" || len(b.notes) != 1 || !strings.HasPrefix(b.notes[0], "no UUID is changed") {
		t.Errorf("notes %q, table (-was +is):\n%s", b.notes, diff)
	}
	b.inside(3, func(dir string) {
		if _, err := os.Stat(filepath.Join(dir, "own")); err != nil {
			t.Error(err)
		}
	})
}
