package boot

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/images"
)

// flashedSystem is what a golden system must look like from inside after it was
// entered.
type flashedSystem struct {
	root   string // device of "/"
	fsType string
}

// addresses returns those of the golden system, once it has any: its login does
// not wait for its network.
func addresses(g *lab.Guest) string {
	return g.Run("for i in $(seq 100); do ip -4 -brief address show scope global | grep . && break; sleep 0.5; done")
}

// judge asks the running system. The commands are those of the system itself,
// not of gild.
func (f flashedSystem) judge(t *testing.T, g *lab.Guest, spec images.Spec) {
	t.Helper()
	cmdline := g.Run("cat /proc/cmdline")
	for _, want := range []string{"root=UUID=" + spec.RootUUID, "ro", "console=tty0", "console=ttyS0,115200"} {
		if !strings.Contains(" "+cmdline+" ", " "+want+" ") {
			t.Errorf("/proc/cmdline = %q; want %q in it", cmdline, want)
		}
	}
	if got, want := g.Run("findmnt -no SOURCE,FSTYPE /"), f.root+" "+f.fsType; strings.Join(strings.Fields(got), " ") != want {
		t.Errorf("root file system is %q; want %q", got, want)
	}
	if got := g.Run("findmnt -no OPTIONS /"); !strings.HasPrefix(got, "rw,") {
		t.Errorf("root is mounted %q; want rw", got)
	}
	if size, err := strconv.ParseInt(g.Run("findmnt -bno SIZE /"), 10, 64); err != nil || size < diskSize*9/10 {
		t.Errorf("root file system has %d bytes (%v); want most of the disk's %d", size, err, int64(diskSize))
	}
	if got := g.Run("cat /proc/1/comm; tr '\\0' ' ' </proc/1/cmdline"); !strings.HasPrefix(got, "systemd") {
		t.Errorf("PID 1 is %q; want systemd", got)
	} else if words := strings.Fields(got); len(words) != 2 || words[1] != "/sbin/init" {
		t.Errorf("PID 1 was started as %q; want /sbin/init without arguments, as from the disk", words[1:])
	}
	if got := g.Run("grep THP_enabled /proc/1/status"); !strings.HasSuffix(got, "1") {
		t.Errorf("the system has %q: the agent's own setting was left behind", got)
	}
	if got := g.Run("systemctl is-system-running --wait"); got != "running" {
		t.Errorf("the system is %q; failed units:\n%s", got, g.Run("systemctl --failed --no-legend --no-pager"))
	}
	// An automount point and what systemd mounts on it share their place by design.
	if got := g.Run("findmnt -rno TARGET,FSTYPE | grep -v ' autofs$' | cut -d' ' -f1 | sort | uniq -d"); got != "" {
		t.Errorf("mounted twice, so left behind by the initramfs: %q", got)
	}
	if got := g.Run("ls -d /newroot /grow /newboot 2>/dev/null"); got != "" {
		t.Errorf("directories of the initramfs in the golden system: %q", got)
	}
	if got := addresses(g); !strings.Contains(got, "10.77.0.") {
		t.Errorf("addresses of the golden system: %q; want its own lease", got)
	}
}

// mustSay runs commands in a system, each with what it must print.
func mustSay(t *testing.T, g *lab.Guest, wanted map[string]string) {
	t.Helper()
	for command, want := range wanted {
		if got := g.Run(command); got != want {
			t.Errorf("%s in the new system: %q; want %q", command, got, want)
		}
	}
}

// judgeDisk lets the tools of the field judge a disk that is at rest.
func judgeDisk(t *testing.T, path string, spec images.Spec, partition int) {
	t.Helper()
	if spec.Scheme == images.GPT {
		if out := tool(t, "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk -v: %s", out)
		}
	}
	tool(t, "sfdisk", "--verify", path)
	offset, size := extent(t, path, partition)
	if end := offset + size; end < diskSize-2<<20 {
		t.Errorf("partition %d ends at byte %d; want the end of the disk, %d", partition, end, int64(diskSize))
	}
	loop, err := images.AttachLoop(path, offset, size)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	if spec.RootFS == images.XFS {
		tool(t, "xfs_repair", "-n", loop.Path)
	} else {
		tool(t, "e2fsck", "-f", "-n", loop.Path)
	}
}

// extent is where a partition lies, bytes, as sfdisk says.
func extent(t *testing.T, path string, partition int) (offset, size int64) {
	t.Helper()
	var dump struct {
		Table struct {
			Partitions []struct{ Start, Size int64 } `json:"partitions"`
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal([]byte(tool(t, "sfdisk", "--json", path)), &dump); err != nil || len(dump.Table.Partitions) < partition {
		t.Fatalf("sfdisk --json: %v, %d partitions; want %d", err, len(dump.Table.Partitions), partition)
	}
	p := dump.Table.Partitions[partition-1]
	return p.Start * 512, p.Size * 512
}

// tool runs a program that must succeed. One that is not there skips nothing:
// the verdict is the test.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// bootsAlone powers a machine on that has the disk and nothing else.
func bootsAlone(room *lab.Room, firmware vm.Firmware, disk vm.Disk) *lab.Guest {
	g := room.PowerOn(vm.Config{Firmware: firmware, Disks: []vm.Disk{disk}})
	g.ExpectLogin()
	return g
}

// mustNotBoot fails the test unless the disk's first sector, without which no
// firmware starts anything, is zero.
func mustNotBoot(t *testing.T, path string) {
	t.Helper()
	if !isZero(t, path, 512) {
		t.Errorf("LBA 0 of %s is not zero in the middle of a flash", path)
	}
}

// isZero reports whether the first size bytes of a file are zero. Holes, most
// of an empty disk, are not read.
func isZero(t *testing.T, path string, size int64) bool {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zeros, buf := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < size; {
		// ENXIO: no data from here to the end (lseek(2)).
		off, err = f.Seek(off, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && off >= size {
			return true
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := f.Read(buf[:min(int64(len(buf)), size-off)])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf[:n], zeros[:n]) {
			return false
		}
		off += int64(n)
	}
	return true
}
