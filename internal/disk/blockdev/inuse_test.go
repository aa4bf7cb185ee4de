package blockdev

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/mounttest"
)

// tree writes files below root; a content that starts with "->" makes a
// symbolic link.
func tree(t testing.TB, root string, files map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(files[name], "->"); ok {
			err = os.Symlink(filepath.Join(root, target), path)
		} else {
			err = os.WriteFile(path, []byte(files[name]), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// fakeHost has sda with two partitions, dm-0 on sda2 and dm-1 on dm-0, and an
// unused sdb.
func fakeHost(t testing.TB, mountinfo, swaps string) host {
	t.Helper()
	root := t.TempDir()
	const sda, sdb, dm0, dm1 = "devices/pci/block/sda", "devices/pci/block/sdb", "devices/virtual/block/dm-0", "devices/virtual/block/dm-1"
	tree(t, root, map[string]string{
		sda + "/dev": "8:0\n", sda + "/ro": "0\n",
		sda + "/sda1/dev": "8:1\n", sda + "/sda1/partition": "1\n",
		sda + "/sda2/dev": "8:2\n", sda + "/sda2/partition": "2\n",
		sda + "/sda2/holders/dm-0": "->" + dm0,
		sda + "/holders/none":      "", // replaced below: an empty directory
		sdb + "/dev":               "8:16\n", sdb + "/ro": "1\n",
		dm0 + "/dev": "253:0\n", dm0 + "/dm/name": "vg-base\n", dm0 + "/slaves/sda2": "->" + sda + "/sda2",
		dm1 + "/dev": "253:1\n", dm1 + "/dm/name": "crypt\n", dm1 + "/slaves/dm-0": "->" + dm0,
		"dev/block/8:0": "->" + sda, "dev/block/8:1": "->" + sda + "/sda1", "dev/block/8:2": "->" + sda + "/sda2",
		"dev/block/8:16": "->" + sdb, "dev/block/253:0": "->" + dm0, "dev/block/253:1": "->" + dm1,
		"proc/self/mountinfo": mountinfo,
		"proc/swaps":          swaps,
	})
	if err := os.Remove(filepath.Join(root, sda, "holders/none")); err != nil {
		t.Fatal(err)
	}
	return host{sys: root, proc: filepath.Join(root, "proc")}
}

func TestReasons(t *testing.T) {
	const held = "sda2 is held by dm-0 (vg-base)"
	for _, tc := range []struct {
		name, mountinfo string
		want            []string
	}{
		{"held only", "22 1 0:5 / /proc rw - proc proc rw\n", []string{held}},
		{
			"mounted", `30 1 8:1 / /mnt/a\040b\134c rw,relatime shared:1 - ext4 /dev/sda1 rw` + "\n",
			[]string{`sda1 is mounted on /mnt/a b\c`, held},
		},
		{
			"whole disk mounted twice", "30 1 8:0 / /a rw - xfs x rw\n31 1 8:0 /sub /b rw - xfs x rw\n",
			[]string{"sda is mounted on /a", "sda is mounted on /b", held},
		},
		{"root on a partition", "30 1 8:1 / / rw - ext4 /dev/sda1 rw\n", []string{"sda1 is mounted on /: the running system's root", held}},
		{"root through two layers", "30 1 253:1 / / rw - ext4 /dev/mapper/crypt rw\n", []string{held, "the running system's root is on it"}},
		{"root elsewhere", "30 1 8:16 / / rw - ext4 /dev/sdb rw\n", []string{held}},
		{"broken lines", "\nx\n30 1 8:1\n30 1 8:1 / /x\n", []string{"sda1 is mounted on /x", held}},
	} {
		h := fakeHost(t, tc.mountinfo, "Filename Type Size Used Priority\n")
		dir, err := h.dir("8:0")
		if err != nil {
			t.Fatal(err)
		}
		got, err := h.reasons(dir)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

// TestReasonsBySource finds what is only named by a device node: swap, and
// btrfs with its anonymous device numbers.
func TestReasonsBySource(t *testing.T) {
	node := filepath.Join(t.TempDir(), "node with blank")
	if err := unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(8, 1))); err != nil {
		t.Skipf("making a block device node: %v", err)
	}
	escaped := strings.ReplaceAll(node, " ", `\040`)
	h := fakeHost(t,
		"30 1 0:40 / /data rw - btrfs "+escaped+" rw\n",
		"Filename Type Size Used Priority\n"+escaped+" partition 1024 0 -2\n")
	dir, err := h.dir("8:0")
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.reasons(dir)
	want := []string{"sda1 is mounted on /data", "sda1 is swap space in use", "sda2 is held by dm-0 (vg-base)"}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestCheckUnused(t *testing.T) {
	h := fakeHost(t, "22 1 0:5 / /proc rw - proc proc rw\n", "")
	opts := Options{Sys: h.sys, Proc: h.proc}
	for _, tc := range []struct {
		minor uint32
		want  string
	}{
		{0, "held by dm-0"},
		{1, "a partition of sda: whole disks only"},
		{16, "read-only"},
		{99, "looking it up in sysfs"},
	} {
		_, err := checkUnused(unix.Mkdev(8, tc.minor), "x", opts)
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("checkUnused(8:%d) = %v; want an error with %q", tc.minor, err, tc.want)
		}
	}
	if err := os.Remove(filepath.Join(h.proc, "self/mountinfo")); err != nil {
		t.Fatal(err)
	}
	if _, err := checkUnused(unix.Mkdev(8, 0), "x", opts); err == nil || isBusy(err, "") {
		t.Errorf("without mountinfo: %v; want a plain error, not silence", err)
	}
}

// TestRunningRoot asks about the disk that this test runs from, without opening
// it.
func TestRunningRoot(t *testing.T) {
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		t.Fatal(err)
	}
	h := host{"/sys", "/proc"}
	dir, err := h.dir(devNumber(st.Dev))
	if err != nil {
		t.Skipf("the root of this system is not on a block device: %v", err)
	}
	if isPartition(dir) {
		dir = filepath.Dir(dir)
	}
	reasons, err := h.reasons(dir)
	if err != nil || !strings.Contains(strings.Join(reasons, ";"), "running system's root") {
		t.Errorf("reasons(%s) = %q, %v; want the running system's root", dir, reasons, err)
	}
}

// A child that was started while the disk was open has copies of its
// descriptors until its exec has ended.
func TestOpenSoonAfterClose(t *testing.T) {
	dev := loop(t, diskFile(t, make([]byte, 16*mib)))
	d := mustOpen(t, dev, Options{})
	child := exec.Command("cat")
	child.ExtraFiles = []*os.File{d.file}
	input, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	tries := 0
	again, err := Open(dev, Options{ops: ops{open: func(path string, flags int) (*os.File, error) {
		if tries++; tries == 2 {
			input.Close()
			if err := child.Wait(); err != nil {
				t.Error(err)
			}
		}
		return os.OpenFile(path, flags, 0)
	}}})
	if err != nil {
		t.Fatalf("Open() = %v after %d tries; want success once the child has gone on", err, tries)
	}
	again.Close()
}

func TestOpenMounted(t *testing.T) {
	file := diskFile(t, make([]byte, 16*mib))
	run(t, "", "mkfs.ext4", "-q", file)
	dev := loop(t, file)
	dir := filepath.Join(t.TempDir(), "a b")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(dev, dir, "ext4", 0, ""); err != nil {
		t.Skipf("mounting: %v", err)
	}
	t.Cleanup(func() { mounttest.Unmount(t, dir) })
	if _, err := Open(dev, Options{}); !isBusy(err, "is mounted on "+dir) {
		t.Errorf("Open() = %v; want a BusyError that names %s", err, dir)
	}
	// What sysfs and proc miss, for example a mount in another namespace, O_EXCL
	// still refuses.
	h := fakeHost(t, "", "")
	var st unix.Stat_t
	if err := unix.Stat(dev, &st); err != nil {
		t.Fatal(err)
	}
	tree(t, h.sys, map[string]string{
		"devices/loop/dev": "7:0", "devices/loop/ro": "0", "dev/block/" + devNumber(st.Rdev): "->devices/loop",
	})
	if _, err := Open(dev, Options{Sys: h.sys, Proc: h.proc}); !isBusy(err, "exclusively") {
		t.Errorf("Open() with a blind host = %v; want a BusyError", err)
	}
	if _, err := Open(dev, Options{Sys: t.TempDir()}); err == nil || errors.Is(err, unix.EBUSY) {
		t.Errorf("Open() without sysfs = %v; want an error that says so", err)
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "/a": "/a", `/a\040b`: "/a b", `\134\011`: "\\\t", `\`: `\`, `\04`: `\04`, `\089`: `\089`, `x\1234`: "xS4",
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q; want %q", in, got, want)
		}
	}
}

// TestHolderName names what an operator has to stop.
func TestHolderName(t *testing.T) {
	for _, tc := range []struct {
		dir   string
		attrs map[string]string
		want  string
	}{
		{"dm-0", map[string]string{"dm/name": "my--vg-a--root", "dm/uuid": "LVM-abc"}, "dm-0 (my--vg-a--root), of the LVM volume group my-vg"},
		{"dm-1", map[string]string{"dm/name": "home", "dm/uuid": "CRYPT-LUKS2-abc-home"}, "dm-1 (home), an open encrypted volume"},
		{"dm-2", map[string]string{"dm/name": "linear"}, "dm-2 (linear)"},
		{"md127", map[string]string{"md/level": "raid1"}, "md127, a RAID array (raid1)"},
		{"bcache0", nil, "bcache0, a bcache device"},
	} {
		dir := filepath.Join(t.TempDir(), tc.dir)
		for name, value := range tc.attrs {
			path := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := holderName(dir); got != tc.want {
			t.Errorf("holderName(%s) = %q; want %q", tc.dir, got, tc.want)
		}
	}
}
