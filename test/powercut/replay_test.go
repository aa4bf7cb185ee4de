package powercut

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/images"
	"github.com/gild-dev/gild/test/powercut/writelog"
	"github.com/gild-dev/gild/test/reliability"
)

// TestReplay: whenever the power is cut during a flash, what is left is the old
// system as it was, a disk that nothing boots, or the new system as it is in
// the image.
func TestReplay(t *testing.T) {
	t.Parallel() // beside one that waits
	for _, tt := range []struct {
		name string
		old  images.TinySpec
	}{
		{"full", oldSystem()},
		{"delta", earlierSystem()},
	} {
		t.Run(tt.name, func(t *testing.T) { replay(t, tt.name, tt.old) })
	}
}

// replay records one flash and cuts it.
func replay(t *testing.T, name string, old images.TinySpec) {
	began := time.Now()
	r := newRig(t)
	path := r.oldDisk(t, old)
	before := read(t, path)
	log := filepath.Join(r.Dir, "writes.log")
	r.arm()
	g := r.PowerOn(r.direct(vm.Disk{Path: path, Serial: "CUT-1", WriteLog: log}))
	receipt := r.handedOff(t)
	ended(t, g)
	after := read(t, path)
	r.isImage(t, path)

	m := openLog(t, log, before)
	r.premise(t, m, after)
	proveEye(t, m, before, after)
	cuts := choose(m, rand.New(rand.NewPCG(*seed, 1)))
	f := &firmwareJudge{rig: r, old: old, seen: map[string]bool{}, said: map[string]int{}}
	counts := map[verdict]int{}
	for _, c := range cuts {
		m.advance(c.at)
		undo := c.leave(m)
		v := judge(m.base, before, after)
		counts[v]++
		if v == half {
			t.Errorf("cut after entry %d of %d (%v): LBA 0 is open over neither the old content nor the image", c.at, len(m.entries), c)
			keep(t, r, m.base, log, c)
		}
		if c.boot {
			f.boot(t, m.base, v, c)
		}
		undo()
		if t.Failed() {
			break
		}
	}
	t.Logf("%d writes and flushes, %d bytes kept, %d written; %d cuts: %s; %d booted in %v: %s",
		len(m.entries), receipt.Kept, receipt.Written, len(cuts), tally(counts), f.count, f.took.Round(time.Second), tally(f.said))
	reliability.Record(t, reliability.Row{
		Group: reliability.Guest,
		What:  fmt.Sprintf("write log of a %s flash in a virtual machine, replayed up to a cut, unflushed writes lost or torn", name),
		Count: int64(len(cuts)), Unit: "cut points", Seed: *seed,
		Result: fmt.Sprintf("%d half images; %d closed, %d sealed, %d untouched; %d booted with SeaBIOS and OVMF said: %s",
			counts[half], counts[closed], counts[sealed], counts[untouched], f.count, tally(f.said)),
		Took: time.Since(began),
		Command: fmt.Sprintf("go test ./test/powercut -timeout 0 -run '^TestReplay$/^%s$' -points %d -boots %d -seed %d", name, *points, *boots,
			*seed),
	})
}

// premise checks the log itself: replayed as a whole it makes the disk, and its
// last write is of LBA 0.
func (r *rig) premise(t *testing.T, m *medium, after []byte) {
	t.Helper()
	whole := &medium{base: bytes.Clone(m.base), entries: m.entries, data: m.data}
	whole.advance(len(m.entries))
	if whole.carried < len(m.entries)-1 {
		t.Errorf("%d entries after the last flush; want none: the seal is flushed", len(m.entries)-1-whole.carried)
	}
	if !bytes.Equal(whole.base, after) {
		t.Fatal("the log does not make the disk: it does not hold every write")
	}
	gates := gates(m)
	if len(gates) < 2 {
		t.Fatalf("%d writes of LBA 0; want one that closes the gate and one that opens it", len(gates))
	}
	t.Logf("writes of LBA 0: entries %v of %d", gates, len(m.entries))
}

// proveEye checks that the judge would see a missing flush: without the one
// that follows the gate's closing, or the one before its opening, some cut must
// leave half an image.
func proveEye(t *testing.T, m *medium, before, after []byte) {
	t.Helper()
	gates := gates(m)
	flushes := func(from, to int) (found []int) {
		for i := from; i < to; i++ {
			if m.entries[i].Flags&writelog.Flush != 0 {
				found = append(found, i)
			}
		}
		return found
	}
	last := gates[len(gates)-1]
	between := flushes(gates[0], last)
	if len(between) == 0 {
		t.Fatal("no flush between the gate's closing and its opening")
	}
	for what, missing := range map[string]int{"after the closing": between[0], "before the opening": between[len(between)-1]} {
		blind := &medium{
			base: bytes.Clone(before), entries: slices.Delete(slices.Clone(m.entries), missing, missing+1),
			data: slices.Delete(slices.Clone(m.data), missing, missing+1),
		}
		// Up to the next flush all that the missing one carried is still in the cache.
		at := missing
		for at < len(blind.entries) && blind.entries[at].Flags&writelog.Flush == 0 {
			at++
		}
		blind.advance(at)
		seen := false
		rng := rand.New(rand.NewPCG(*seed, 3))
		for range 200 {
			undo := blind.cut(rng)
			seen = seen || judge(blind.base, before, after) == half
			undo()
		}
		if !seen {
			t.Errorf("without the flush %s (entry %d) no cut of 200 leaves half an image: the judge is blind", what, missing)
		}
	}
}

// gates are the indexes of the writes that change LBA 0.
func gates(m *medium) (gates []int) {
	for i, e := range m.entries {
		if e.Writes() && e.Offset == 0 {
			gates = append(gates, i)
		}
	}
	return gates
}

// cutPoint is one power cut: when, and what the cache loses.
type cutPoint struct {
	at   int // entries that have ended
	seed uint64
	boot bool
}

func (c cutPoint) String() string { return fmt.Sprintf("cut %d, seed %d", c.at, c.seed) }

// leave makes the medium what the cut leaves of it. Seed 0 loses nothing.
func (c cutPoint) leave(m *medium) (undo func()) {
	if c.seed == 0 {
		return m.whole()
	}
	return m.cut(rand.New(rand.NewPCG(*seed, c.seed)))
}

// choose returns every boundary, and the random points, half of them near a
// write of LBA 0, in order.
func choose(m *medium, rng *rand.Rand) []cutPoint {
	const near = 4
	gates := gates(m)
	var cuts []cutPoint
	for at := range len(m.entries) + 1 {
		cuts = append(cuts, cutPoint{at: at})
	}
	for i := range *points {
		at := rng.IntN(len(m.entries) + 1)
		if i%2 == 0 {
			at = gates[rng.IntN(len(gates))] + rng.IntN(2*near+1) - near + 1
		}
		cuts = append(cuts, cutPoint{at: max(0, min(at, len(m.entries))), seed: rng.Uint64() | 1})
	}
	var nearby []int
	order := rng.Perm(len(cuts))
	for _, k := range order {
		if slices.ContainsFunc(gates, func(gate int) bool { return abs(cuts[k].at-gate-1) <= near }) {
			nearby = append(nearby, k)
		}
	}
	chosen := 0
	for _, k := range slices.Concat(nearby[:min(len(nearby), *boots/2)], order) {
		if chosen < *boots && !cuts[k].boot {
			cuts[k].boot = true
			chosen++
		}
	}
	slices.SortStableFunc(cuts, func(a, b cutPoint) int { return a.at - b.at })
	return cuts
}

func abs(n int) int { return max(n, -n) }

// firmwareJudge boots disks.
type firmwareJudge struct {
	*rig
	old   images.TinySpec
	seen  map[string]bool // whole disks need be booted once with each firmware
	count int
	said  map[string]int
	took  time.Duration
}

// What firmware says when it finds nothing to boot: SeaBIOS, and OVMF, whose
// last resort is its own shell.
const (
	nothingBIOS = "No bootable device"
	nothingUEFI = "UEFI Interactive Shell"
)

// bootWait is for one step of an emulated machine on a busy host.
const bootWait = 5 * time.Minute

// boot powers machines on that have this disk and nothing else, one with each
// firmware.
func (f *firmwareJudge) boot(t *testing.T, disk []byte, v verdict, c cutPoint) {
	t.Helper()
	path := filepath.Join(f.Dir, "cut.raw")
	overwrite(t, path, disk)
	want := map[verdict]string{untouched: f.old.Whole(), sealed: goldenSystem().Whole(), closed: "nothing"}[v]
	for _, fw := range []vm.Firmware{vm.BIOS, vm.UEFI} {
		if v != closed && f.seen[string(v)+string(fw)] {
			continue // the same disk, byte for byte
		}
		f.seen[string(v)+string(fw)] = true
		began := time.Now()
		got, err := f.try(t.Context(), fw, path)
		f.took += time.Since(began)
		f.count++
		f.said[got]++
		if err != nil || got != want {
			t.Errorf("%s on a disk that is %s (%v) boots %q, %v; want %q", fw, v, c, got, err, want)
		}
	}
}

// try returns what a disk boots: the words of a system, "nothing", or what
// stands there instead.
func (f *firmwareJudge) try(ctx context.Context, fw vm.Firmware, path string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, bootWait, fmt.Errorf("not within %v", bootWait))
	defer cancel()
	m, err := vm.Start(ctx, vm.Config{
		Accel: f.Accel, Firmware: fw, Memory: 512, CPUs: 1, NoReboot: true,
		Disks: []vm.Disk{{Path: path, Snapshot: true}}, SerialLog: filepath.Join(f.Logs, fmt.Sprintf("cut-%d.log", f.count)),
	})
	if err != nil {
		return "", err
	}
	defer func() { m.Kill(); _ = m.Close() }()
	found, _, err := m.Console.Expect(ctx, nothingBIOS, nothingUEFI, "GRUB")
	if err != nil || found != "GRUB" {
		if err == nil {
			found = "nothing"
		}
		return found, err
	}
	golden := goldenSystem()
	found, _, err = m.Console.Expect(ctx, f.old.Whole(), f.old.Broken(), golden.Whole(), golden.Broken(),
		"grub>", "grub rescue>", "Kernel panic")
	return found, err
}

// keep saves what a person needs to look at a failure.
func keep(t *testing.T, r *rig, disk []byte, log string, c cutPoint) {
	t.Helper()
	overwrite(t, filepath.Join(r.Logs, fmt.Sprintf("half-%d.raw", c.at)), disk)
	if err := os.Rename(log, filepath.Join(r.Logs, "writes.log")); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	t.Logf("kept in %s (go test -artifacts keeps it for longer)", r.Logs)
}

// ended waits until a machine that leaves by a reboot is off.
func ended(t *testing.T, g *lab.Guest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootWait)
	defer cancel()
	if err := g.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(g.Console.Transcript(), "Kernel panic") {
		t.Error("the agent's kernel panicked")
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
