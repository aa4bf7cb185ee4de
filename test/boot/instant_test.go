package boot

import (
	"context"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

// longOutage is an outage that people notice.
const longOutage = time.Minute

// paces are how fast a disk keeps arriving once so much of it is there: ever
// slower, so that its system is up before it is complete, however slow the
// host.
var paces = []struct {
	arrived float64 // of the image's data, at most
	rate    string  // as tc(8) writes it
}{{0.5, "8mbit"}, {0.75, "2mbit"}, {0.9, "500kbit"}, {1, "125kbit"}}

// powerOnPaced starts a machine and limits its network as soon as it has
// entered its system.
func powerOnPaced(t *testing.T, room *lab.Room, machine vm.Config) *lab.Guest {
	t.Helper()
	pace(t, room, machine, fullPace)
	g := room.PowerOn(machine)
	for _, live := range []bool{false, true} {
		room.WaitFor(mac, "start", flashing, func(m lab.Machine) bool { return m.Live == live })
	}
	pace(t, room, machine, paces[0].rate)
	return g
}

// whileArriving waits until a system is up, and keeps its disk from being
// complete before.
func whileArriving(t *testing.T, room *lab.Room, machine vm.Config, up func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var slowing sync.WaitGroup
	slowing.Go(func() { slowDown(ctx, t, room, machine) })
	defer slowing.Wait()
	defer cancel()
	up()
}

// slowDown follows paces until ctx ends.
func slowDown(ctx context.Context, t *testing.T, room *lab.Room, machine vm.Config) {
	for _, p := range paces {
		if err := room.Net.Pace(ctx, machine.NICs[0].Tap, p.rate); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
		_, _ = room.Server.WaitFor(ctx, mac, func(m lab.Machine) bool {
			if m.Progress == nil || m.Progress.Work == nil {
				return false
			}
			w := m.Progress.Work
			return float64(w.Written+w.Kept) >= p.arrived*float64(w.Data)
		})
	}
}

// enteredEarly logs into a system whose disk is not complete, and checks that
// nobody could take it for one that is.
func enteredEarly(t *testing.T, room *lab.Room, g *lab.Guest, machine vm.Config) {
	t.Helper()
	whileArriving(t, room, machine, g.LogIn)
	m := room.Machine(mac)
	if m.Receipt != nil || !m.Live {
		t.Fatalf("at the login prompt: receipt %v, live %v; want a disk that is not complete", m.Receipt, m.Live)
	}
	if said := room.Gild("machine", "show", mac); !strings.Contains(said, "% done") {
		t.Errorf("gild machine show does not say how much is on the disk:\n%s", said)
	}
	mustNotBoot(t, machine.Disks[0].Path)
	if got := g.Run("dd if=/dev/nbd0 bs=512 count=1 2>/dev/null | od -An -tx1 -j510"); got != "55 aa" {
		t.Errorf("the system sees an LBA 0 that ends with %q; want its own, 55 aa", got)
	}
}

// completed waits for the receipt of an instant handoff.
func completed(t *testing.T, room *lab.Room) *api.Receipt {
	t.Helper()
	m := room.WaitFor(mac, "complete disk", 2*flashing, func(m lab.Machine) bool { return m.Receipt != nil })
	if m.Receipt.Handoff != "instant" {
		t.Fatalf("handoff by %s (%q); want instant", m.Receipt.Handoff, m.Receipt.Reasons)
	}
	t.Logf("phases, seconds: %v; %d MB of memory; %d chunks demanded, %.1f s waited", m.Receipt.PhaseTimes, m.Receipt.Memory>>20,
		m.Receipt.Demanded, m.Receipt.Waited)
	if limit := int64(64 << 20); m.Receipt.Memory > limit {
		t.Errorf("%d bytes of memory; want at most %d", m.Receipt.Memory, limit)
	}
	return m.Receipt
}

// ownDisk checks that a system runs from its disk, and from nothing else.
func ownDisk(t *testing.T, g *lab.Guest) {
	t.Helper()
	mustSay(t, g, map[string]string{
		"ls /sys/block/dm-*/slaves | grep -v -e : -e ^$ | sort -u": "vda",
		"cat /sys/block/nbd0/size":                                 "0",
		// Its kernel, 6.1, does not let udev rename a link that is up.
		"udevadm info -q property /sys/class/net/en* | grep -c ^ID_NET_NAME=en": "1",
		"for i in $(seq 50); do grep -qs gild-keepe[r] /proc/[0-9]*/cmdline || break; sleep 0.2; done; grep -ls gild-keepe[r] " +
			"/proc/[0-9]*/cmdline": "",
		"mount | grep -c keeper":                    "0",
		"systemctl --failed --no-legend --no-pager": "",
	})
}

// busy has fio write a file in pieces of all sizes and in no order, past the
// page cache; each holds its own sum.
const busy = "cd /root && fio --name=busy --size=64m --rw=randwrite --bsrange=512-128k --direct=1 --verify=crc32c --verify_fatal=1"

// signalled has dd write past the page cache while signals rain on it: each may
// interrupt the sending of a request to the driver.
const signalled = "{ dd if=/dev/zero bs=1M iflag=fullblock count=64 of=signalled oflag=direct 2>/dev/null & } && dd=$! && " +
	"{ { until [ -s signalled ]; do sleep 0.1; done; for i in $(seq 200); do kill -USR1 $dd; sleep 0.02; done; } & }"

// While its disk is completed underneath, a system installs packages and
// writes heavily, the server is away for a minute and the network is started
// anew. Nothing is missing, nothing is wrong, and the disk boots alone.
func TestInstantBusy(t *testing.T) {
	t.Parallel()
	spec := images.XFSBIOS().Lean()
	room := lab.NewRoom(t)
	host.Need(t, "sgdisk", "sfdisk", "xfs_repair")
	stocked, err := images.Stocked(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	room.Gild("image", "add", lab.Image, stocked)
	room.Serve("--dhcp", "server")
	arm(room, "--handoff", "instant")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-I1"}
	machine := directBoot(t, room, disk)
	g := powerOnPaced(t, room, machine)
	enteredEarly(t, room, g, machine)

	mustSay(t, g, map[string]string{"grep -c '\\[none\\]' /sys/block/nbd0/queue/scheduler": "1"})
	g.Run("({ " + signalled + " && DEBIAN_FRONTEND=noninteractive apt-get install -y " + images.Stock + "/*.deb && " + busy +
		" && cp -a /usr/share/zoneinfo copy && wait && sync && touch written; } </dev/null >/root/log 2>&1 &)")
	if err := room.Server.Kill(); err != nil {
		t.Fatal(err)
	}
	back := time.Now().Add(longOutage)
	time.Sleep(time.Until(back) / 2)
	mustNotBoot(t, disk.Path)
	g.Run("({ link=$(ls /sys/class/net | grep -v lo); ip link set $link down; sleep 3; ip addr flush dev $link; ip link set $link " +
		"up; systemctl restart systemd-networkd; } >/dev/null 2>&1 &)")
	time.Sleep(time.Until(back))
	pace(t, room, machine, fullPace)
	if err := room.Server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	completed(t, room)
	g.EnteredWithoutRestart()
	for late := time.Now().Add(flashing); g.Run("ls /root/written 2>&1") != "/root/written"; time.Sleep(time.Second) {
		if time.Now().After(late) {
			t.Fatalf("the system's work does not end:\n%s", g.Run("tail /root/log"))
		}
	}
	ownDisk(t, g)
	flashedSystem{root: "/dev/dm-1", fsType: "xfs"}.judge(t, g, spec)
	g.PowerOff()
	judgeDisk(t, disk.Path, spec, 2)
	unchanged(t, disk.Path, 2)
	g = room.PowerOn(vm.Config{Disks: []vm.Disk{disk}})
	g.LogIn()
	keptItsWork(t, g)
	if got := g.Run("findmnt -no SOURCE /"); got != "/dev/vda2" {
		t.Errorf("the root is %s after a boot from the disk; want /dev/vda2", got)
	}
}

// keptItsWork has fio and diff compare, from the disk, what a busy system
// wrote.
func keptItsWork(t *testing.T, g *lab.Guest) {
	t.Helper()
	got := g.Run("echo 3 >/proc/sys/vm/drop_caches; " + busy + " --verify_only >verified 2>&1 && diff -r /usr/share/zoneinfo copy && " +
		"head -c 64M /dev/zero | cmp - signalled && echo same")
	if got != "same" {
		t.Errorf("what the system wrote: %q\n%s", got, g.Run("cat verified"))
	}
}

// unchanged compares every file of every package on a disk at rest with the
// sums that came with it. The image itself lacks what lab left out of it.
func unchanged(t *testing.T, path string, partition int) {
	t.Helper()
	offset, size := extent(t, path, partition)
	loop, err := images.AttachLoop(path, offset, size)
	if err != nil {
		t.Fatal(err)
	}
	defer loop.Close()
	const compare = `mount -o ro "$0" "$1" && chroot "$1" bash -c ` +
		`'cd / && cat var/lib/dpkg/info/*.md5sums | md5sum --check --quiet --ignore-missing'`
	if said := tool(t, "unshare", "--mount", "sh", "-c", compare, loop.Path, t.TempDir()); said != "" {
		t.Errorf("files of packages on the disk: %s", said)
	}
}

// A power cut in the middle leaves a disk that does not boot, and the next
// start continues with what is there. What the system wrote meanwhile is lost.
// A reboot that was asked for too early waits, and loses nothing.
func TestInstantPowerCut(t *testing.T) {
	t.Parallel()
	spec := images.Ext4UEFI().Lean()
	room := lab.RoomFor(t, spec)
	host.Need(t, "sgdisk", "sfdisk", "e2fsck")
	room.Serve("--dhcp", "server")
	arm(room, "--handoff", "instant", "--hold-reboot")
	plan := room.Machine(mac).Armed.Plan.ID
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-I2"}
	machine := netBoot(room, disk)
	machine.Firmware, machine.BootOrder = vm.UEFI, []string{"nic0", "disk0"}
	g := powerOnPaced(t, room, machine)
	enteredEarly(t, room, g, machine)
	g.Run("echo lost >/root/lost; sync")
	g.Kill()
	mustNotBoot(t, disk.Path)

	machine.NoReboot = true
	g = powerOnPaced(t, room, machine)
	whileArriving(t, room, machine, g.LogIn)
	if got := g.Run("ls /root/lost 2>&1 | grep -c 'No such file'"); got != "1" {
		t.Error("what was written before the power cut is still there: the root is not the image's")
	}
	g.Run("echo stays >/root/stays; sync")
	mustNotBoot(t, disk.Path)
	g.Run("dmesg -n 8") // what its keeper and systemd say until the end is shown, should this go wrong
	if err := g.Console.Send("reboot"); err != nil {
		t.Fatal(err)
	}
	pace(t, room, machine, fullPace)
	if receipt := completed(t, room); receipt.Plan != plan || receipt.Kept == 0 {
		t.Errorf("plan %s was carried out with %d bytes kept; want %s, and some", receipt.Plan, receipt.Kept, plan)
	}
	g.End()
	machine.NoReboot, machine.BootOrder = false, []string{"disk0"}
	g = room.PowerOn(machine)
	g.LogIn()
	if got := g.Run("cat /root/stays"); got != "stays" {
		t.Errorf("what was written before the reboot is %q", got)
	}
	if got := g.Run("findmnt -no SOURCE /"); got != "/dev/vda2" {
		t.Errorf("the root is %s after a boot from the disk; want /dev/vda2", got)
	}
	g.PowerOff()
	judgeDisk(t, disk.Path, spec, 2)
	unchanged(t, disk.Path, 2)
}

// readOnly starts systemd with a root that nothing writes to, and a shell on
// the console.
const readOnly = " ro console=ttyS0,115200 " + vm.Steady +
	" systemd.mask=systemd-remount-fs.service systemd.unit=sysinit.target systemd.debug_shell=ttyS0 fsck.mode=skip"

// Under a system that writes nothing the disk becomes the image, byte for byte.
func TestInstantReadOnly(t *testing.T) {
	t.Parallel()
	spec := images.Ext4MBR().Lean()
	room := lab.RoomFor(t, spec)
	golden, err := images.Golden(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	room.Gild("image", "add", lab.Image, golden, "--cmdline", "root=UUID="+spec.RootUUID+readOnly)
	room.Serve("--dhcp", "server")
	arm(room, "--handoff", "instant", "--no-grow")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-I3"}
	machine := directBoot(t, room, disk)
	g := powerOnPaced(t, room, machine)
	whileArriving(t, room, machine, func() { g.Expect("# ") })
	mustNotBoot(t, disk.Path)
	pace(t, room, machine, fullPace)
	completed(t, room)
	g.Kill()
	image := filepath.Join(room.Dir, "image.raw")
	room.Gild("image", "export", lab.Image, image)
	tool(t, "cmp", "--bytes", strconv.FormatInt(spec.Size, 10), image, disk.Path)
}
