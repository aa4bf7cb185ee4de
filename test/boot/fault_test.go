package boot

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/images"
)

// outage is longer than any one attempt of the agent lasts by itself.
const outage = 20 * time.Second

// slowPace makes a flash last half a minute, so that faults fall into it on a
// quick host, too.
const slowPace = "32mbit"

func TestServerKilledThenLinkCut(t *testing.T) {
	t.Parallel()
	room := lab.RoomFor(t, images.XFSBIOS().Lean())
	table := image(t, room).Table
	needed := dataFrames(table)
	room.Serve("--dhcp", "server")
	arm(room, "--read-back", "off")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-5"}
	machine := directBoot(t, room, disk)
	pace(t, room, machine, slowPace)
	g := room.PowerOn(machine)

	room.WaitFor(mac, "flash", flashing, fetched(needed/10))
	if err := room.Server.Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(outage)
	mustNotBoot(t, disk.Path)
	if err := room.Server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	room.WaitFor(mac, "flash after the server's return", flashing, fetched(needed/3))
	link := func(up bool) {
		if err := g.Monitor.SetLink(t.Context(), "nic0", up); err != nil {
			t.Fatal(err)
		}
	}
	link(false)
	time.Sleep(outage)
	mustNotBoot(t, disk.Path)
	link(true)
	pace(t, room, machine, fullPace)

	receipt := handedOff(t, room)
	g.EnteredWithoutRestart()
	// A broken transfer continues at the byte it got to: two chunks for each break
	// is already generous.
	if extra, limit := receipt.Wire-needed, 2*2*table.ChunkSize; extra > limit {
		t.Errorf("%d bytes fetched for %d needed, %d too many; want at most %d", receipt.Wire, needed, extra, limit)
	}
}

func TestPowerCut(t *testing.T) {
	t.Parallel()
	room := lab.RoomFor(t, images.XFSBIOS().Lean())
	needed := dataFrames(image(t, room).Table)
	room.Serve("--dhcp", "server")
	arm(room, "--read-back", "off")
	plan := room.Machine(mac).Armed.Plan.ID
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-6"}
	machine := netBoot(room, disk) // its firmware tells the server that it starts anew
	pace(t, room, machine, slowPace)

	g := room.PowerOn(machine)
	room.WaitFor(mac, "flash", flashing, fetched(needed/2))
	g.Kill()
	mustNotBoot(t, disk.Path)

	pace(t, room, machine, fullPace)
	g = room.PowerOn(machine)
	receipt := handedOff(t, room)
	if receipt.Plan != plan {
		t.Errorf("plan %s was carried out; want the one of before the power cut, %s", receipt.Plan, plan)
	}
	if receipt.Kept == 0 || receipt.Wire >= needed {
		t.Errorf("%d bytes kept, %d fetched: the second flash did not go on where the first was cut", receipt.Kept, receipt.Wire)
	}
	g.EnteredWithoutRestart()
}

// What is damaged in the store, or on its way, never becomes a success, and
// heals as soon as the right bytes come.
func TestCorruptedChunk(t *testing.T) {
	t.Parallel()
	room := lab.RoomFor(t, images.XFSBIOS().Lean())
	im := image(t, room)
	blob := filepath.Join(room.Server.Data, "images", "blobs", "sha256", im.Disk.Digest.Hex())
	at := lastData(im.Table)
	flipByte(t, blob, at)
	room.Serve("--dhcp", "server")
	arm(room, "--read-back", "off")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-7"}
	g := room.PowerOn(directBoot(t, room, disk))

	m := room.WaitFor(mac, "failure", flashing, failedWith(api.CauseDigestMismatch))
	t.Logf("the machine says: %s", failure(m, api.CauseDigestMismatch).Message)
	if m.State == api.MachineHandingOff || m.Receipt != nil {
		t.Errorf("a corrupted image left the machine %q, receipt %v", m.State, m.Receipt)
	}
	mustNotBoot(t, disk.Path)

	flipByte(t, blob, at)
	if receipt := handedOff(t, room); receipt.Kept == 0 {
		t.Error("nothing kept: the second try began anew")
	}
	g.EnteredWithoutRestart()
}

// image reads the stored image of a room's server.
func image(t *testing.T, room *lab.Room) *golden.Image {
	t.Helper()
	s, err := store.Open(filepath.Join(room.Server.Data, "images"))
	if err != nil {
		t.Fatal(err)
	}
	im, err := s.Image(lab.Image)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// dataFrames is how many bytes a flash of an empty disk needs.
func dataFrames(table *golden.Table) (size int64) {
	for _, c := range table.All() {
		if !c.Zero {
			size += c.Length
		}
	}
	return size
}

// lastData is an offset inside the last frame that holds data and is not kept
// back for the seal, which the last MiB of the disk is.
func lastData(table *golden.Table) (offset int64) {
	for i, c := range table.All() {
		if !c.Zero && i < table.Len()-2 {
			offset = c.Offset + c.Length/2
		}
	}
	return offset
}

func flipByte(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	if _, err := f.ReadAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xff
	if _, err := f.WriteAt(b[:], offset); err != nil {
		t.Fatal(err)
	}
}
