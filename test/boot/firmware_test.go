package boot

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

// A machine with old hardware is to run its system before its disk is complete.
// The first chunks do not come, for the server is away: the disk is written
// first, as without --handoff instant, by the agent that was about to leave it
// to another, and what it tells is heard.
func TestBIOSGPTXFSSATAInstantGivesUp(t *testing.T) {
	t.Parallel()
	spec := images.XFSBIOS().Lean()
	room := lab.RoomFor(t, spec)
	host.Need(t, "sgdisk", "sfdisk", "xfs_repair")
	room.Serve("--dhcp", "server")
	arm(room, "--handoff", "instant")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Bus: vm.SATA, Serial: "GOLD-1"}
	machine := netBoot(room, disk)
	machine.NICs[0].Model = "e1000"

	g := room.PowerOn(machine)
	g.Expect("] plan: image")
	pace(t, room, machine, "128kbit") // so slow that the server goes in time
	g.Expect("] flash: writing the image")
	if err := room.Server.Kill(); err != nil {
		t.Fatal(err)
	}
	g.Expect("no instant handoff")
	mustNotBoot(t, disk.Path)
	pace(t, room, machine, fullPace)
	if err := room.Server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	receipt := handedOff(t, room)
	if len(receipt.Reasons) != 1 || !strings.HasPrefix(receipt.Reasons[0], "instant: ") {
		t.Errorf("reasons %q; want why not instant", receipt.Reasons)
	}
	g.LogIn()
	g.EnteredWithoutRestart()
	flashedSystem{root: "/dev/sda2", fsType: "xfs"}.judge(t, g, spec)
	mustSay(t, g, map[string]string{
		"ls /sys/block | grep -c ^dm-": "0",
		"cat /sys/block/nbd0/size":     "0",
	})
	g.PowerOff()
	judgeDisk(t, disk.Path, spec, 2)
	if receipt.Disk.Serial != disk.Serial || receipt.ReadBack != "full" {
		t.Errorf("receipt names disk %q, read back %q; want %q, full", receipt.Disk.Serial, receipt.ReadBack, disk.Serial)
	}

	// The network card stays first in the boot order for ever in most racks: the
	// server sends the machine to its disk, whose own loader starts the system as
	// it does without a network (the tests below).
	machine.BootOrder = []string{"nic0", "disk0"}
	g = room.PowerOn(machine)
	g.Expect("Linux version ")
	m := room.Machine(mac)
	if m.State != api.MachineHandingOff {
		t.Errorf("after a second network boot the machine is %q; want %q", m.State, api.MachineHandingOff)
	}
	if diff := cmp.Diff(receipt, m.Receipt); diff != "" {
		t.Errorf("a second network boot changed the receipt (-before +after):\n%s", diff)
	}
}

func TestUEFIGPTExt4(t *testing.T) {
	t.Parallel()
	spec := images.Ext4UEFI().Lean()
	room := lab.RoomFor(t, spec)
	host.Need(t, "sgdisk", "sfdisk", "e2fsck")
	room.Serve("--dhcp", "server")
	arm(room, "--read-back", "sample")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-3"}
	machine := netBoot(room, disk)
	machine.Firmware = vm.UEFI
	machine.NICs[0].BootROM = false // the firmware's own PXE stack, over TFTP

	g := room.PowerOn(machine)
	handedOff(t, room)
	g.LogIn()
	g.EnteredWithoutRestart()
	flashedSystem{root: "/dev/vda2", fsType: "ext4"}.judge(t, g, spec)
	g.PowerOff()
	judgeDisk(t, disk.Path, spec, 2)
	bootsAlone(room, vm.UEFI, disk)
}
