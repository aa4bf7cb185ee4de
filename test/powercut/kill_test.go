package powercut

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/powercut/writelog"
	"github.com/gild-dev/gild/test/reliability"
)

const (
	// flashBegins is what the agent says right before it writes.
	flashBegins = "writing the image"
	// linger is how long a kill waits at most in the part of the flash that it is
	// meant for.
	linger = 3 * time.Second
	// inFlight is what a kill may cost of bytes on their way to the disk: two
	// chunks for each of 8 connections.
	inFlight = 8 * 2 * megabyte
)

// parts are what the agent's console begins a line with in the parts of a
// flash, and last when it leaves.
var parts = [...]string{"scan ", "write ", "read back ", "sealed in", "leaving by"}

// TestKill: a machine that is armed once and killed at any time during its
// flash continues at the next power-on and ends well by itself, however often
// that happens. When a flash ends before its kill, the disk is judged and the
// machine armed for the next.
//
// Most of the time goes by in waiting: the server takes the restarted machine
// for a second one with the same address until the first has been silent for a
// while.
func TestKill(t *testing.T) {
	t.Parallel() // waits for the server to give up a silent machine
	began := time.Now()
	r := newRig(t)
	k := &killer{rig: r, rng: rand.New(rand.NewPCG(*seed, 2)), log: filepath.Join(r.Dir, "writes.log"), left: map[verdict]int{}}
	k.newRound(t)
	for k.kills < *cycles && !t.Failed() {
		k.cycle(t, true)
	}
	for k.round.begun && !t.Failed() {
		k.cycle(t, false)
	}
	if !t.Failed() {
		k.bootsAlone(t)
	}
	t.Logf("%d kills in %d flashes, %d power-ons; disks after a kill or a loss: %s; %d thrown back, %d bytes of chunks lost by that; "+
		"%d bytes fetched again",
		k.kills, k.rounds, k.powerOns, tally(k.left), k.thrown, k.lost, k.again)
	reliability.Record(t, reliability.Row{
		Group: reliability.Guest,
		What:  "virtual machine killed at random times of its flash and powered on again, every second time with unflushed writes lost",
		Count: int64(k.kills), Unit: "kills", Seed: *seed,
		Result: fmt.Sprintf("%d flashes, all ended well by themselves; disks after a kill or a loss: %s; %d kB fetched again for each kill",
			k.rounds, tally(k.left), k.again/1000/int64(max(k.kills, 1))),
		Took:    time.Since(began),
		Command: fmt.Sprintf("go test ./test/powercut -timeout 0 -run '^TestKill$' -cycles %d -pxe %d -seed %d", *cycles, *pxe, *seed),
	})
}

// killer is the loop's state.
type killer struct {
	*rig
	rng   *rand.Rand
	log   string
	round round

	kills, rounds, powerOns, thrown int
	lost, again                     int64 // bytes
	left                            map[verdict]int
}

// round is one flash, from its arming to its end.
type round struct {
	begun         bool
	disk          string
	old           []byte
	kills         int
	netBoots      int
	lost, fetched int64 // bytes; fetched is the tap's count at the beginning
}

func (k *killer) newRound(t *testing.T) {
	t.Helper()
	path := k.oldDisk(t, oldSystem())
	k.round = round{begun: true, disk: path, old: read(t, path), fetched: k.sent(t)}
	k.arm()
	k.rounds++
}

// cycle is one power-on, which ends by a kill, or by itself.
func (k *killer) cycle(t *testing.T, kill bool) {
	t.Helper()
	if !k.round.begun {
		k.newRound(t)
	}
	before := read(t, k.round.disk)
	disk := vm.Disk{Path: k.round.disk, Serial: "CUT-2", WriteLog: k.log}
	cfg := k.direct(disk)
	k.powerOns++
	if *pxe > 0 && k.powerOns%*pxe == 0 {
		cfg = k.netBoot(disk)
		k.round.netBoots++
	}
	g := k.PowerOn(cfg)
	defer g.Close()
	g.Expect(flashBegins)
	limit := bootWait
	if kill {
		k.reach(t, g)
		limit = time.Duration(k.rng.Int64N(int64(linger)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := g.Wait(ctx); err == nil {
		k.ended(t)
		return
	} else if !kill {
		t.Fatalf("the flash does not end: %v", err)
	}
	g.Kill()
	k.kills++
	k.round.kills++
	k.judge(t, before)
	// The receipt may have gone out right before: then this flash is over.
	if m := k.Machine(mac); m.State == api.MachineHandingOff {
		k.ended(t)
		return
	}
	if k.kills%2 == 0 {
		k.throwBack(t, before)
	}
}

// reach waits for a random part of the flash, or a later one where that has
// nothing to do.
func (k *killer) reach(t *testing.T, g *lab.Guest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), flashing)
	defer cancel()
	first := k.rng.IntN(len(parts))
	if _, _, err := g.Console.Expect(ctx, parts[first:]...); err != nil {
		t.Fatal(err)
	}
}

// judge looks at the disk that a kill leaves.
func (k *killer) judge(t *testing.T, before []byte) {
	t.Helper()
	v := judge(read(t, k.round.disk), k.round.old, nil)
	if v == half {
		k.isImage(t, k.round.disk)
		v = sealed
	}
	k.left[v]++
	if v == untouched && !bytes.Equal(before, k.round.old) {
		t.Error("the old content is back")
	}
}

// throwBack makes of a kill a power cut: of the sectors that differ between
// what the last flush carried and what the disk holds, some are lost.
func (k *killer) throwBack(t *testing.T, before []byte) {
	t.Helper()
	f, err := os.Open(k.log)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() == 0 {
		return // killed before the first write
	}
	// A killed QEMU may leave an entry without a header. Then nothing is known of
	// this cut, and it stays a kill.
	log, err := writelog.Read(f, info.Size())
	if err != nil {
		t.Logf("not thrown back: %v", err)
		return
	}
	m := &medium{base: bytes.Clone(before), entries: log.Entries}
	for _, e := range log.Entries {
		data, err := log.Data(e)
		if err != nil {
			t.Fatal(err)
		}
		m.data = append(m.data, data)
	}
	m.advance(len(m.entries))
	disk := read(t, k.round.disk)
	favour := k.rng.Float64()
	var lost int64
	for chunk := 0; chunk < len(disk); chunk += megabyte {
		whole := true
		for off := chunk; off < chunk+megabyte; off += sectorSize {
			now, carried := disk[off:off+sectorSize], m.base[off:off+sectorSize]
			if !bytes.Equal(now, carried) && k.rng.Float64() > favour {
				copy(now, carried)
				whole = false
			}
		}
		if !whole {
			lost += megabyte // a chunk that lost one sector is fetched anew
		}
	}
	overwrite(t, k.round.disk, disk)
	k.thrown++
	k.lost += lost
	k.round.lost += lost
	k.judge(t, before)
}

// ended judges a flash that is over, and what it fetched.
func (k *killer) ended(t *testing.T) {
	t.Helper()
	receipt := k.handedOff(t)
	k.isImage(t, k.round.disk)
	needed := k.needed(t)
	// With all headers and answers, some 90 kB of a flash that nothing disturbs.
	fetched := k.sent(t) - k.round.fetched
	again := max(0, fetched-needed)
	t.Logf("flash %d: %d kills, %d bytes fetched of %d needed; the last part kept %d, fetched %d",
		k.rounds, k.round.kills, fetched, needed, receipt.Kept, receipt.Wire)
	if limit := int64(k.round.kills+1)*inFlight + k.round.lost; k.round.netBoots == 0 && again > limit {
		t.Errorf("%d bytes fetched again after %d kills; want at most %d", again, k.round.kills, limit)
	}
	if k.round.netBoots == 0 {
		k.again += again
	}
	k.round.begun = false
}

// bootsAlone powers the last disk on with nothing else.
func (k *killer) bootsAlone(t *testing.T) {
	t.Helper()
	f := &firmwareJudge{rig: k.rig, old: oldSystem(), seen: map[string]bool{}, said: map[string]int{}}
	f.boot(t, read(t, k.round.disk), sealed, cutPoint{})
}

// sent is how many bytes the network has sent to the machine.
func (k *killer) sent(t *testing.T) int64 {
	t.Helper()
	out, err := k.Net.Command(t.Context(), "cat", "/sys/class/net/"+k.tap+"/statistics/tx_bytes").Output()
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// needed is how many bytes a flash of an empty disk fetches.
func (k *killer) needed(t *testing.T) (size int64) {
	t.Helper()
	s, err := store.Open(filepath.Join(k.Server.Data, "images"))
	if err != nil {
		t.Fatal(err)
	}
	im, err := s.Image(lab.Image)
	if err != nil {
		t.Fatal(err)
	}
	for i := range im.Table.Len() {
		if c := im.Table.Chunk(i); !c.Zero {
			size += c.Length
		}
	}
	return size
}
