package boot

import (
	"slices"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/images"
)

// board is a machine without a network card: what its firmware says of it, and
// its disk.
type board struct {
	uuid, serial string
	disk         vm.Disk
}

// with is the board with the cards and the boot of a machine. It ends where it
// would restart.
func (b board) with(machine vm.Config) vm.Config {
	machine.NoReboot = true
	machine.Disks = []vm.Disk{b.disk}
	machine.Extra = []string{"-uuid", b.uuid, "-smbios", "type=1,serial=" + b.serial}
	return machine
}

// boards are two that nothing tells apart but their numbers.
func boards(room *lab.Room) (one, two board) {
	return board{"0a1f6c52-7d07-4c0e-9d9a-00000000000a", "F4K3A", vm.Disk{Path: room.Disk("one", diskSize), Serial: "GOLD-11"}},
		board{"0a1f6c52-7d07-4c0e-9d9a-00000000000b", "F4K3B", vm.Disk{Path: room.Disk("two", diskSize), Serial: "GOLD-12"}}
}

// tinyRoom is a room with an image that is flashed in seconds, and says whether
// it is whole.
func tinyRoom(t *testing.T) (*lab.Room, images.TinySpec) {
	t.Helper()
	room := lab.NewRoom(t)
	spec := images.TinySpec{Name: "MEANT", Lead: 1 << 20, Fill: 24 << 20, Seed: 1}
	room.AddTiny(spec)
	return room, spec
}

// armTiny arms a machine that is known by one of its labels for a tiny image,
// whose way in is a restart.
func armTiny(room *lab.Room, label string, more ...string) {
	room.Gild(append([]string{"flash", label, "--image", lab.Image, "--handoff", "reboot", "--no-grow", "--yes"}, more...)...)
}

// flashed waits for the receipt of a board's flash, and for the end of the
// machine that it is in.
func (b board) flashed(t *testing.T, room *lab.Room, g *lab.Guest) lab.Machine {
	t.Helper()
	m := room.WaitFor(b.uuid, "flash", flashing, func(m lab.Machine) bool { return m.Receipt != nil })
	if m.Receipt.Disk.Serial != b.disk.Serial {
		t.Errorf("the receipt names the disk %q; want %q", m.Receipt.Disk.Serial, b.disk.Serial)
	}
	g.End()
	return m
}

// isWhole lets the disk say itself that it is the image.
func (b board) isWhole(room *lab.Room, spec images.TinySpec) {
	room.PowerOn(vm.Config{Disks: []vm.Disk{b.disk}}).Expect(spec.Whole())
}

// One adapter is moved between two machines, of which one is armed. The other
// one boots by it, is known as itself, and is not written to; the armed one's
// page says what came in its place. Nor is the armed one written to while it
// has another disk than the operator was shown. Then all is as it was agreed
// to.
func TestAdapterMoves(t *testing.T) {
	t.Parallel()
	room, spec := tinyRoom(t)
	meant, other := boards(room)
	room.Serve("--dhcp", "server", "--discover", lab.Image)
	plugged := directBoot(t, room)
	throughFirmware := vm.Config{NICs: []vm.NIC{{MAC: mac, Tap: plugged.NICs[0].Tap, BootROM: true}}, BootOrder: []string{"nic0"}}

	g := room.PowerOn(meant.with(plugged))
	room.WaitFor(mac, "inventory", flashing, func(m lab.Machine) bool { return m.Waiting })
	g.Kill()
	armTiny(room, mac)

	g = room.PowerOn(other.with(throughFirmware))
	room.WaitFor(other.uuid, "the other machine", flashing, func(m lab.Machine) bool { return m.Waiting && m.Armed == nil })
	g.Kill()
	if m := room.Machine(meant.uuid); m.Armed == nil || failure(m, api.CauseOtherMachine) == nil {
		t.Errorf("the armed machine is %q and armed for %+v; want it still armed, and told what came", m.State, m.Armed)
	}
	page := room.Gild("machine", "show", meant.uuid)
	for _, want := range []string{"not booted", other.uuid, other.serial, meant.serial, mac} {
		if !strings.Contains(page, want) {
			t.Errorf("the armed machine's page has no %q:\n%s", want, page)
		}
	}

	swapped := meant
	swapped.disk = other.disk
	g = room.PowerOn(swapped.with(plugged))
	m := room.WaitFor(meant.uuid, "the other disk", flashing, failedWith(api.CauseOtherDisk))
	g.Kill()
	message := failure(m, api.CauseOtherDisk).Message
	for _, want := range []string{meant.disk.Serial, other.disk.Serial} {
		if !strings.Contains(message, want) {
			t.Errorf("the refusal says %q; want %q in it", message, want)
		}
	}

	m = meant.flashed(t, room, room.PowerOn(meant.with(plugged)))
	if m.NotBooted != "" {
		t.Errorf("the page of the machine that was flashed still says: %s", m.NotBooted)
	}
	if !isZero(t, other.disk.Path, diskSize) {
		t.Error("a disk that nobody meant was written to")
	}
	meant.isWhole(room, spec)
}

// Firmware passes a laptop's own address through its dock, and the kernel does
// not: the agent speaks by an address that nobody knows. It belongs to the
// machine whose boot script it came by.
func TestDockPassesAddressThrough(t *testing.T) {
	t.Parallel()
	room, spec := tinyRoom(t)
	laptop, _ := boards(room)
	room.Serve("--dhcp", "server")
	room.Gild("machine", "add", "laptop", "--mac", mac)
	script(t, room, laptop) // it is not armed: it boots its disk, and its UUID and serial are known
	armTiny(room, "laptop", "--unseen")

	machine := directBoot(t, room)
	machine.NICs[0].MAC = "52:54:00:67:69:d0"
	g := room.PowerOn(laptop.with(machine)) // by its address alone it could be a copy of the laptop
	room.WaitFor("laptop", "doubt", flashing, failedWith(api.CauseOtherMachine))
	g.Kill()
	if !isZero(t, laptop.disk.Path, diskSize) {
		t.Error("a machine in doubt was written to")
	}

	for word := range strings.FieldsSeq(script(t, room, laptop)) {
		if strings.HasPrefix(word, "gild.ticket=") {
			machine.Cmdline += " " + word
		}
	}
	m := laptop.flashed(t, room, room.PowerOn(laptop.with(machine)))
	if m.Spec.Name != "laptop" || m.MAC != machine.NICs[0].MAC {
		t.Errorf("%q was flashed, and spoke by %s; want the laptop, by %s", m.Spec.Name, m.MAC, machine.NICs[0].MAC)
	}
	laptop.isWhole(room, spec)
}

// Two boards have one address, and so one lease. The second one starts while
// the first is written: it is known as itself and waits, and the first one's
// flash ends well beside it.
func TestTwoBoardsWithOneAddress(t *testing.T) {
	t.Parallel()
	room, spec := tinyRoom(t)
	first, second := boards(room)
	room.Serve("--dhcp", "server", "--discover", lab.Image)
	room.Gild("machine", "add", "first", "--uuid", first.uuid)
	armTiny(room, "first", "--unseen")
	one := directBoot(t, room)
	two := one
	two.NICs = []vm.NIC{{MAC: mac, Tap: room.Tap("second")}}

	pace(t, room, one, "256kbit") // not done before the second is there
	writing := room.PowerOn(first.with(one))
	room.WaitFor(first.uuid, "flash", flashing, fetched(0))
	waiting := room.PowerOn(second.with(two))
	m := room.WaitFor(second.uuid, "the second board", flashing, func(m lab.Machine) bool { return m.Waiting })
	if m.MAC != mac || m.Armed != nil {
		t.Errorf("the second board is known by %q, and armed for %+v; want %s, and not armed", m.MAC, m.Armed, mac)
	}
	m = room.Machine(first.uuid)
	if m.Receipt != nil {
		t.Error("the first board was complete before the second one came: nothing was tried")
	}
	if !slices.Contains(m.SharedMACs, mac) {
		t.Errorf("the first board's shared addresses are %q; want %s among them", m.SharedMACs, mac)
	}
	pace(t, room, one, fullPace)
	first.flashed(t, room, writing)
	if m := room.Machine(second.uuid); !m.Waiting || m.Receipt != nil {
		t.Errorf("the second board is %q, receipt %v; want it waiting", m.State, m.Receipt)
	}
	waiting.Kill()
	if !isZero(t, second.disk.Path, diskSize) {
		t.Error("the second board was written to")
	}
	first.isWhole(room, spec)
}

// script is what iPXE is given to boot in a board at the address of the room's
// machine.
func script(t *testing.T, room *lab.Room, b board) string {
	t.Helper()
	query := "mac=" + strings.ReplaceAll(mac, ":", "-") + "&uuid=" + b.uuid + "&serial=" + b.serial
	out, err := room.Net.Command(t.Context(), "busybox", "wget", "-qO-",
		"http://"+room.Net.Addr.Addr().String()+":8080/machine.ipxe?"+query).Output()
	if err != nil {
		t.Fatalf("the boot script: %v", err)
	}
	return string(out)
}
