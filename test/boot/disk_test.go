package boot

import (
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

// A machine with two disks and a permission that names none of them is refused;
// the operator's better rule then flashes one, and the other stays as it is.
func TestBIOSMBRExt4TwoDisks(t *testing.T) {
	t.Parallel()
	spec := images.Ext4MBR().Lean()
	room := lab.RoomFor(t, spec)
	host.Need(t, "sfdisk", "e2fsck")
	room.Serve("--dhcp", "server")
	arm(room)
	other := vm.Disk{Path: room.Disk("other", diskSize), Serial: "KEEP-ME"}
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-2"}

	g := room.PowerOn(netBoot(room, other, disk))
	m := room.WaitFor(mac, "refusal", flashing, failedWith("disk-ambiguous"))
	message := failure(m, "disk-ambiguous").Message
	for _, want := range []string{"vda", other.Serial, "vdb", disk.Serial} {
		if !strings.Contains(message, want) {
			t.Errorf("the refusal says %q; want %q in it", message, want)
		}
	}
	for _, d := range []vm.Disk{other, disk} {
		if !isZero(t, d.Path, diskSize) {
			t.Errorf("%s was written although the rule was ambiguous", d.Serial)
		}
	}

	room.Gild("cancel", mac)
	arm(room, "--disk", "serial="+disk.Serial, "--read-back", "sample")
	if r := handedOff(t, room); r.Disk.Serial != disk.Serial || r.ReadBack != "sample" {
		t.Errorf("receipt names disk %q, read back %q; want %q, sample", r.Disk.Serial, r.ReadBack, disk.Serial)
	}
	g.LogIn()
	flashedSystem{root: "/dev/vdb1", fsType: "ext4"}.judge(t, g, spec)
	g.PowerOff()
	if !isZero(t, other.Path, diskSize) {
		t.Errorf("%s was written; the rule names %s", other.Serial, disk.Serial)
	}
	judgeDisk(t, disk.Path, spec, 1)
	bootsAlone(room, vm.BIOS, disk)
}
