package boot

import (
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
)

// completed waits for the receipt of an instant handoff.
func completed(t *testing.T, room *lab.Room) *api.Receipt {
	t.Helper()
	m := room.WaitFor(mac, "complete disk", 2*flashing, func(m lab.Machine) bool { return m.Receipt != nil })
	if m.Receipt.Handoff != "instant" {
		t.Fatalf("handoff by %s (%q); want instant", m.Receipt.Handoff, m.Receipt.Reasons)
	}
	t.Logf("phases, seconds: %v; %d MB of memory", m.Receipt.PhaseTimes, m.Receipt.Memory>>20)
	return m.Receipt
}

func TestInstantBIOSGPTXFS(t *testing.T) {
	spec := lab.XFSBIOS()
	room := lab.RoomFor(t, spec)
	lab.Need(t, "sgdisk", "sfdisk", "xfs_repair")
	room.Serve("--dhcp", "server")
	arm(room, "--handoff", "instant")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-I1"}
	g := room.PowerOn(netBoot(room, disk))
	g.LogIn()
	if m := room.Machine(mac); m.Receipt != nil {
		t.Error("the disk was complete before the login prompt")
	}
	mustNotBoot(t, disk.Path)
	t.Logf("%s", g.Run("findmnt -n /; lsblk; cat /proc/uptime; ls -l /dev/disk/by-uuid /dev/mapper; dmesg | grep -i -e nbd -e gild -e DEMAND -e KEEPER | tail -200; systemctl --failed"))
	completed(t, room)
	g.EnteredWithoutRestart()
	t.Logf("%s", g.Run("lsblk; cat /proc/uptime; ps aux | grep -c '[g]ild-keeper'; dmesg | tail -5; systemctl --failed"))
	g.PowerOff()
	bootsAlone(room, vm.BIOS, disk)
}
