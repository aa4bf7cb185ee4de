package boot

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

// fleetFile is the one machine of a room as its operator keeps it. Its system
// has an address of its own, which no DHCP server gives.
const fleetFile = `machines:
  - name: web-1
    macs: ` + mac + `
    labels: {rack: b7}
    values: {address: 10.77.0.201/24}
groups:
  - {name: web, selector: rack=b7, flash: {image: golden, identity: node}}
identities:
  node:
    hostname: "{{ .Name }}"
    newIDs: true
    network: [{addresses: ["{{ .Values.address }}"], gateway: 10.77.0.1}]
    files:
      - {path: /etc/app/key, content: !file key, mode: 0600}
`

// A machine that nobody knows is booted, tells what it is and waits. It is
// given a name and an identity, and its disk, which somebody used for LVM, is
// erased only when that was said. The system that comes up is its own, and
// says that it runs.
func TestRoom(t *testing.T) {
	t.Parallel()
	room := lab.RoomFor(t, images.XFSBIOS().Lean())
	host.Need(t, "pvcreate", "sgdisk", "sfdisk")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-9"}
	usedForLVM(t, disk.Path)
	room.Serve("--dhcp", "server", "--discover", lab.Image)
	g := room.PowerOn(netBoot(room, disk))
	g.Hostname = "web-1"
	room.WaitFor(mac, "inventory", flashing, func(m lab.Machine) bool { return m.Waiting && m.Inventory != nil })

	fleet := filepath.Join(t.TempDir(), "fleet.yaml")
	for name, text := range map[string]string{fleet: fleetFile, filepath.Join(filepath.Dir(fleet), "key"): "s3cret\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out := room.Gild("apply", "-f", fleet); !strings.Contains(out, "+ machine web-1") {
		t.Errorf("gild apply: %s", out)
	}
	if _, err := room.Server.Gild(t.Context(), "flash", "-l", "rack=b7", "--yes"); err == nil || !strings.Contains(err.Error(), "LVM") {
		t.Errorf("gild flash of a disk with LVM = %v; want it refused", err)
	}
	armed := time.Now()
	room.Gild("flash", "-l", "rack=b7", "--wipe", "--yes")
	m := room.WaitFor(mac, "flash", time.Minute, func(m lab.Machine) bool { return m.State == api.MachineFlashing })
	t.Logf("the waiting agent had its plan %s after the arm", m.Since.Sub(armed).Round(time.Millisecond))

	g.LogIn()
	g.EnteredWithoutRestart()
	mustSay(t, g, map[string]string{
		"hostname": "web-1",
		"cat /etc/app/key; stat -c '%a %U' /etc/app/key": "s3cret\n600 root",
		"systemctl is-system-running --wait":             "running",
	})
	if got := addresses(g); !strings.Contains(got, " 10.77.0.201/") {
		t.Errorf("addresses of the golden system: %q; want its identity's, 10.77.0.201", got)
	}
	m = room.WaitFor(mac, "beacon", 5*time.Minute, isState(api.MachineRunning))
	if m.Receipt == nil || m.Receipt.Identity == "" {
		t.Errorf("receipt = %+v; want one with the identity", m.Receipt)
	}
	if got := g.Run("find /etc/systemd -name '*beacon*'"); got != "" {
		t.Errorf("the beacon is still there after it was heard: %q", got)
	}
	id := g.Run("cat /etc/machine-id")
	g.PowerOff()
	if out := tool(t, "sgdisk", "-v", disk.Path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	if id := tool(t, "sfdisk", "--disk-id", disk.Path); strings.EqualFold(strings.TrimSpace(id), image(t, room).Config.Disk.ID) ||
		!strings.EqualFold(strings.TrimSpace(id), m.Receipt.Disk.TableID) {
		t.Errorf("disk GUID %s; want one of its own, as the receipt has it: %s", id, m.Receipt.Disk.TableID)
	}
	states(t, m, api.MachineDiscovered, api.MachineRegistered, api.MachineArmed, api.MachineFlashing, api.MachineHandingOff,
		api.MachineRunning)
	if log := room.ServerLog(); strings.Contains(log, "s3cret") {
		t.Error("a secret of the identity is in the server's log")
	}

	// It boots alone, still itself.
	g = room.PowerOn(vm.Config{Disks: []vm.Disk{disk}})
	g.Hostname = "web-1"
	g.LogIn()
	if got := g.Run("cat /etc/machine-id"); got != id || len(id) != 32 {
		t.Errorf("machine-id = %q, then %q; want one of its own that stays", id, got)
	}
	g.PowerOff()
}

// states checks that a machine went through states in this order, each told
// with who and why.
func states(t *testing.T, m lab.Machine, want ...string) {
	t.Helper()
	var got []string
	for _, e := range m.Events {
		if e.To == "" {
			continue
		}
		got = append(got, e.To)
		if e.Actor == "" || e.Message == "" || e.Time.IsZero() {
			t.Errorf("the event to %q does not say when, who and why: %+v", e.To, e)
		}
	}
	for _, s := range got {
		if len(want) > 0 && s == want[0] {
			want = want[1:]
		}
	}
	if len(want) > 0 {
		t.Errorf("states were %s; want %q among them, in order", strings.Join(got, ", "), want)
	}
}

// usedForLVM makes the whole disk a physical volume, by LVM's own tool.
func usedForLVM(t *testing.T, path string) {
	t.Helper()
	loop, err := images.AttachLoop(path, 0, diskSize)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	tool(t, "pvcreate", "--config", `devices{filter=["a|`+loop.Path+`|","r|.*|"] use_devicesfile=0}`, "-y", loop.Path)
	if err := loop.Sync(); err != nil {
		t.Fatal(err)
	}
}

// A partition that is to be kept outlives a flash, and the image does not grow
// into it.
func TestKept(t *testing.T) {
	t.Parallel()
	spec := images.Ext4UEFI().Lean()
	room := lab.RoomFor(t, spec)
	host.Need(t, "sgdisk", "sfdisk", "mkfs.ext4", "debugfs")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-10"}
	tool(t, "sgdisk", "--new=7:2600M:+256M", "--change-name=7:data", disk.Path)
	start, size := partition(t, disk.Path, "data")
	loop, err := images.AttachLoop(disk.Path, start, size)
	if err != nil {
		t.Fatal(err)
	}
	content := filepath.Join(t.TempDir(), "content")
	if err := os.Mkdir(content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(content, "precious"), []byte("still here\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.ext4", "-q", "-d", content, loop.Path)
	if err := loop.Sync(); err != nil {
		t.Fatal(err)
	}
	loop.Close()
	before := bytesOf(t, disk.Path, start, size)

	room.Serve("--dhcp", "server")
	arm(room, "--keep", "data", "--read-back", "sample")
	g := room.PowerOn(directBoot(t, room, disk))
	receipt := handedOff(t, room)
	g.LogIn()
	g.EnteredWithoutRestart()
	if got := g.Run("mount -o ro /dev/disk/by-partlabel/data /mnt && cat /mnt/precious; umount /mnt"); got != "still here" {
		t.Errorf("the kept partition in the new system says %q", got)
	}
	g.PowerOff()
	if len(receipt.Preserved) != 1 {
		t.Errorf("receipt names %q as preserved; want the one partition", receipt.Preserved)
	}
	if out := tool(t, "sgdisk", "-v", disk.Path); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk -v: %s", out)
	}
	at, n := partition(t, disk.Path, "data")
	if at != start || n != size || !slices.Equal(bytesOf(t, disk.Path, at, n), before) {
		t.Errorf("the kept partition is at %d with %d bytes; want it at %d with %d, byte for byte", at, n, start, size)
	}
}

// partition is where the partition of a GPT name lies, bytes, as sfdisk says.
func partition(t *testing.T, path, name string) (offset, size int64) {
	t.Helper()
	var dump struct {
		Table struct {
			Partitions []struct {
				Start, Size int64
				Name        string
			} `json:"partitions"`
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal([]byte(tool(t, "sfdisk", "--json", path)), &dump); err != nil {
		t.Fatal(err)
	}
	for _, p := range dump.Table.Partitions {
		if p.Name == name {
			return p.Start * 512, p.Size * 512
		}
	}
	t.Fatalf("%s has no partition %q: %+v", path, name, dump)
	return 0, 0
}

func bytesOf(t *testing.T, path string, offset, size int64) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	p := make([]byte, size)
	if _, err := f.ReadAt(p, offset); err != nil {
		t.Fatal(err)
	}
	return p
}
