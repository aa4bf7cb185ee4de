package boot

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/images"
)

// greeting is what the boot sector of handMade says on the serial line.
const greeting = "no Linux in here"

// handMade is a disk without Linux: a boot sector of its own, an MBR with one
// partition, and in that what gild has no reader for.
func handMade(size int) []byte {
	disk := make([]byte, size)
	random := rand.New(rand.NewPCG(1, 2))
	for i := 1 << 20; i < size; i++ {
		disk[i] = byte(random.Uint32())
	}
	copy(disk, []byte{
		0xfc,       // cld
		0x31, 0xc0, // xor ax, ax
		0x8e, 0xd8, // mov ds, ax
		0xbe, 0x16, 0x7c, // mov si, the greeting
		0xac,       // lodsb
		0x84, 0xc0, // test al, al
		0x74, 0x06, // jz to the hlt
		0xba, 0xf8, 0x03, // mov dx, the first serial port
		0xee,       // out dx, al
		0xeb, 0xf5, // jmp to the lodsb
		0xf4,       // hlt
		0xeb, 0xfd, // jmp to the hlt
	})
	copy(disk[0x16:], greeting+"\r\n\x00")
	sectors := size/512 - 2048
	copy(disk[446:], []byte{
		0x80, 0, 0, 0, 0x06, 0, 0, 0, 0, 8, 0, 0, // active, FAT16, from sector 2048
		byte(sectors), byte(sectors >> 8), byte(sectors >> 16), byte(sectors >> 24),
	})
	copy(disk[510:], []byte{0x55, 0xaa})
	return disk
}

// A disk without Linux is written over the network as any other: on the
// server's boot kernel, byte for byte, and then the firmware starts it.
func TestDiskWithoutLinux(t *testing.T) {
	t.Parallel()
	room := lab.NewRoom(t)
	room.AddTiny(images.TinySpec{Name: "MEANT", Lead: 1 << 20, Fill: 24 << 20, Seed: 1})
	room.Gild("kernel", "add", "boot", lab.Image, "--cmdline", "console=ttyS0,115200 "+vm.Steady)
	want := handMade(64 << 20)
	source := filepath.Join(room.Dir, "foreign.raw")
	if err := os.WriteFile(source, want, 0o600); err != nil {
		t.Fatal(err)
	}
	room.Gild("image", "add", "foreign", source)
	room.Serve("--dhcp", "server")
	room.Gild("flash", mac, "--image", "foreign", "--unseen", "--yes", "--no-grow")
	if b := room.Machine(mac).Armed.Boots; b == nil || b.Kernel != "boot" || b.Handoff != "reboot" {
		t.Errorf("armed to boot %+v; want the boot kernel, and a reboot", b)
	}
	disk := vm.Disk{Path: room.Disk("disk", 96<<20), Serial: "GOLD-F"}
	machine := netBoot(room, disk)
	machine.BootOrder = []string{"nic0", "disk0"}
	g := room.PowerOn(machine)
	if r := handedOffBy(t, room, "reboot"); r.ReadBack != "full" || r.Disk.Serial != disk.Serial {
		t.Errorf("the receipt says read back %q, disk %q; want full, %q", r.ReadBack, r.Disk.Serial, disk.Serial)
	}
	got, err := os.ReadFile(disk.Path)
	if err != nil || !bytes.Equal(got[:len(want)], want) {
		t.Errorf("the machine's disk is not the image: %v", err)
	}
	g.Expect(greeting) // the disk's own boot sector says it
}
