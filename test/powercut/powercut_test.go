// Package powercut cuts the power of a real guest while it flashes: the whole
// agent, on a real kernel, over a real network, onto a disk whose every write
// and flush QEMU logs.
//
// One test replays such a log up to many points, losing any of what no flush
// had carried yet, and lets real firmware try what is left. The other kills the
// machine again and again in the middle of one flash. Killing QEMU alone is no
// power cut, as the host's page cache survives it: every second time the disk
// is therefore thrown back to a random part of the writes that no flush had
// carried.
package powercut

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

// The defaults take a few minutes on an emulated machine.
var (
	points = flag.Int("points", 300, "random cut points for each recorded flash, beside every boundary of two writes")
	boots  = flag.Int("boots", 2, "how many of them are booted with each firmware, half of them near a write of LBA 0")
	cycles = flag.Int("cycles", 2, "how often the machine is killed")
	pxe    = flag.Int("pxe", 0, "every which power-on goes through firmware and network boot loader; 0 means none")
	seed   = flag.Uint64("seed", 1, "of everything random")
)

const (
	mac      = "52:54:00:67:69:6d"
	diskSize = 96 << 20 // more than the image: the backup table has to move
	flashing = 10 * time.Minute
	megabyte = 1 << 20
)

// The systems on the disk before and after. A flash over old content of another
// layout shares no chunk with it; one over an earlier version keeps what lies
// before the noise.
func oldSystem() images.TinySpec {
	return images.TinySpec{Name: "OLD", Lead: 3*megabyte + 512*7, Fill: 20 * megabyte, Seed: 2}
}

func goldenSystem() images.TinySpec {
	return images.TinySpec{Name: "GOLDEN", Lead: megabyte, Fill: 24 * megabyte, Seed: 1}
}

func earlierSystem() images.TinySpec {
	return images.TinySpec{Name: "EARLY", Lead: megabyte, Fill: 24 * megabyte, Seed: 3}
}

// rig is a room whose server has the golden image, and a machine that starts
// the agent.
type rig struct {
	*lab.Room
	golden images.Tiny
	tap    string
	initrd string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{Room: lab.NewRoom(t)}
	host.Need(t, "sgdisk", "sfdisk")
	r.golden = tiny(t, goldenSystem())
	r.initrd = filepath.Join(r.Dir, "initrd")
	r.Gild("image", "add", "--root", "2", "--kernel", r.golden.Kernel, "--modules", r.golden.Modules,
		"--cmdline", "console=ttyS0,115200 quiet "+vm.Steady, lab.Image, r.golden.Disk)
	r.tap = r.Tap("machine")
	r.Serve("--dhcp", "server") // it has the CA that the agent is to trust
	r.Gild("initramfs", lab.Image, "--output", r.initrd)
	return r
}

func tiny(t *testing.T, spec images.TinySpec) images.Tiny {
	t.Helper()
	cache, err := host.Cache()
	if err != nil {
		t.Fatal(err)
	}
	built, err := (&images.Builder{Cache: cache}).Tiny(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// arm gives the permission for one flash. The way out is a reboot, which ends
// the machine.
func (r *rig) arm() {
	r.Gild("flash", mac, "--image", lab.Image, "--unseen", "--wipe", "--yes", "--handoff", "reboot", "--no-grow")
}

// direct is a machine that starts the agent without firmware and boot loader,
// which are half a minute.
func (r *rig) direct(disk vm.Disk) vm.Config {
	return vm.Config{
		Kernel: r.golden.Kernel, Initrd: r.initrd,
		Cmdline:  fmt.Sprintf("gild.server=http://%s:8080 console=ttyS0,115200 quiet "+vm.Steady, r.Net.Addr.Addr()),
		NoReboot: true,
		Disks:    []vm.Disk{disk},
		NICs:     []vm.NIC{{MAC: mac, Tap: r.tap}},
	}
}

// netBoot is the same machine as its firmware starts it.
func (r *rig) netBoot(disk vm.Disk) vm.Config {
	return vm.Config{
		NoReboot:  true,
		Disks:     []vm.Disk{disk},
		NICs:      []vm.NIC{{MAC: mac, Tap: r.tap, BootROM: true}},
		BootOrder: []string{"nic0"},
	}
}

// handedOff waits for the receipt of a flash.
func (r *rig) handedOff(t *testing.T) *api.Receipt {
	t.Helper()
	m := r.WaitFor(mac, "flash", flashing, func(m lab.Machine) bool { return m.State == api.MachineHandingOff })
	if m.Receipt == nil || m.Receipt.Handoff != "reboot" || m.Receipt.ReadBack != "full" {
		t.Fatalf("receipt %+v; want a reboot after a full read-back", m.Receipt)
	}
	return m.Receipt
}

// oldDisk makes the machine's disk with a system on it that boots.
func (r *rig) oldDisk(t *testing.T, spec images.TinySpec) string {
	t.Helper()
	path := r.Disk("disk-"+spec.Name, diskSize)
	image, err := os.ReadFile(tiny(t, spec).Disk)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := writeSparse(f, image); err != nil {
		t.Fatal(err)
	}
	tool(t, "sgdisk", "--move-second-header", path) // as an installer leaves it
	return path
}

// isImage judges a sealed disk by what is not gild's: byte for byte against the
// golden image, where no table lies, and the tables by sgdisk and sfdisk.
func (r *rig) isImage(t *testing.T, path string) {
	t.Helper()
	want, err := os.ReadFile(r.golden.Disk)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const table = 34 * 512 // of a GPT with 128 entries, protective MBR included
	same := func(from, to int) bool { return string(got[from:to]) == string(want[from:to]) }
	if !same(0, 440) { // boot code
		t.Errorf("%s: LBA 0 is not the image's", filepath.Base(path))
	}
	for off := table; off < len(want)-table; off += megabyte {
		if !same(off, min(off+megabyte, len(want)-table)) {
			t.Errorf("%s: the MiB at byte %d is not the image's", filepath.Base(path), off)
		}
	}
	if diff := cmp.Diff(partitions(t, r.golden.Disk), partitions(t, path)); diff != "" {
		t.Errorf("%s: partitions (-image +disk):\n%s", filepath.Base(path), diff)
	}
	tool(t, "sgdisk", "--verify", path)
}

// partition is one as sfdisk sees it: sectors, and GUIDs.
type partition struct {
	Start, Size      int64
	Type, UUID, Name string
}

func partitions(t *testing.T, path string) []partition {
	t.Helper()
	var dump struct {
		Table struct {
			ID         string      `json:"id"`
			Partitions []partition `json:"partitions"`
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal([]byte(tool(t, "sfdisk", "--json", path)), &dump); err != nil {
		t.Fatal(err)
	}
	return append(dump.Table.Partitions, partition{Name: dump.Table.ID})
}

// tally is counts in words: "3 closed, 1 sealed".
func tally[K ~string](counts map[K]int) string {
	var words []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d %s", counts[k], k))
	}
	return strings.Join(words, ", ")
}

// tool runs a program that must succeed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// writeSparse writes data without its zeros to a file that has none of its own
// where data has.
func writeSparse(f *os.File, data []byte) error {
	const block = 64 << 10
	zeros := make([]byte, block)
	for off := 0; off < len(data); off += block {
		part := data[off:min(off+block, len(data))]
		if string(part) == string(zeros[:len(part)]) {
			continue
		}
		if _, err := f.WriteAt(part, int64(off)); err != nil {
			return err
		}
	}
	return nil
}

// overwrite makes the file at path hold just data.
func overwrite(t *testing.T, path string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Ftruncate(int(f.Fd()), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if err := writeSparse(f, data); err != nil {
		t.Fatal(err)
	}
}
