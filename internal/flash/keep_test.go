package flash

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
)

var keepCases = flag.Int("keepcases", 24, "disks with kept partitions that are flashed and cut off")

// keepScene is a disk with partitions that a flash is to leave alone.
type keepScene struct {
	image *testImage
	old   []byte
	keep  []gptEntry // as on the old disk
	want  []byte     // after the flash
}

// newKeepScene makes an image and a larger disk, the same for the same seed:
// kept partitions near the image or at the disk's last usable sector, numbered
// as the image's own or not; a backup GPT that is sound, or gone, or none but
// the backup being sound.
func newKeepScene(t testing.TB, rnd *rand.Rand) *keepScene {
	t.Helper()
	s := &keepScene{}
	sector := []int{512, 4096}[rnd.IntN(2)]
	size := (1<<20 + rnd.IntN(1<<20)) / 4096 * 4096
	raw := randomDisk(byte(rnd.Uint32()), size)
	putGPT(raw, sector)
	s.image = newSectorImage(t, raw, "gpt", sector, golden.MinChunkSize, golden.BLAKE3)
	n := size + 2<<20 + rnd.IntN(1<<20)/4096*4096
	s.old = randomDisk(byte(rnd.Uint32()), n)
	usable := n - sector - (128*128+sector-1)/sector*sector
	middle := size + (usable-size)/2/4096*4096
	s.keep = []gptEntry{{1 + rnd.IntN(6), "the one that's 1", size, middle}, {7 + rnd.IntN(2), "the one that's 2", middle, usable}}
	if rnd.IntN(2) == 0 {
		s.keep = s.keep[rnd.IntN(2):][:1]
	}
	// Remains of a file system, LVM and RAID in what is kept are its own.
	for _, k := range s.keep {
		copy(s.old[k.from+512:], "LABELONE")
		copy(s.old[k.to-8<<10:], "\xfc\x4e\x2b\xa9\x01\x00\x00\x00")
	}
	others := gptEntry{128, "a partition that", 64 << 10, size / 2 / 4096 * 4096}
	putEntries(s.old, sector, append(slices.Clone(s.keep), others)...)
	switch rnd.IntN(3) {
	case 0:
		s.old[n-sector+rnd.IntN(92)] ^= 1
	case 1:
		s.old[sector+rnd.IntN(92)] ^= 1
	}
	s.want = s.expected(t, sector)
	return s
}

func (s *keepScene) expected(t testing.TB, sector int) []byte {
	entries := keptOn(t, s.old, sector, s.keep)
	start := int64(len(s.old) - sector - (128*128+sector-1)/sector*sector)
	safe := []blockdev.Range{{Offset: start, Length: int64(len(s.old)) - start}}
	for _, e := range entries {
		safe = append(safe, blockdev.Range{Offset: e.Start, Length: e.Size})
	}
	want := bytes.Clone(s.old)
	for _, r := range without(blockdev.SignatureRanges(int64(len(want))), safe) {
		clear(want[r.Offset : r.Offset+r.Length])
	}
	copy(want, s.image.raw)
	plan, err := partition.MoveBackup(bytes.NewReader(s.image.raw), int64(len(s.image.raw)), int64(len(want)), sector, entries...)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range plan.Edits {
		copy(want[e.Offset:], e.Data)
	}
	return want
}

// keptOn finds the entries on a disk by their GUIDs, as one does who begins
// again.
func keptOn(t testing.TB, disk []byte, sector int, keep []gptEntry) []partition.Entry {
	t.Helper()
	entries, err := findKept(disk, sector, keep)
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func findKept(disk []byte, sector int, keep []gptEntry) ([]partition.Entry, error) {
	r, size := bytes.NewReader(disk), int64(len(disk))
	table, err := partition.ReadBehind(r, size, sector)
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, p := range table.Partitions {
		for _, k := range keep {
			if p.Start == int64(k.from) && p.End() == int64(k.to) {
				numbers = append(numbers, p.Number)
			}
		}
	}
	if len(numbers) != len(keep) {
		return nil, fmt.Errorf("%d of %d kept partitions are in the table", len(numbers), len(keep))
	}
	return partition.Entries(r, size, sector, numbers...)
}

// After a cut at any step of any of several flashes, kept partitions have
// every byte and an entry in a sound GPT; no write is ever aimed at them; and
// what the order of writes promises of LBA 0 holds as without them.
func TestKeptThroughPowerCuts(t *testing.T) {
	var total tally
	for n := range uint64(*keepCases) {
		rnd := rand.New(rand.NewPCG(*seed+n, 13))
		s := newKeepScene(t, rnd)
		medium := s.old
		disturbed := 1 + rnd.IntN(3)
		for k := range disturbed + 1 {
			left, err := s.flash(t, medium, rnd, k == disturbed, &total)
			if err != nil {
				t.Fatalf("flash %d of %d: %v (repeat with -seed %d -keepcases 1)", k+1, disturbed+1, err, *seed+n)
			}
			medium = left
		}
		if !bytes.Equal(medium, s.want) {
			t.Fatalf("seed %d: the disk is not as it should be", *seed+n)
		}
	}
	t.Logf("%+v, %d cuts judged", total, total.cuts())
}

func (s *keepScene) flash(t *testing.T, medium []byte, rnd *rand.Rand, last bool, total *tally) ([]byte, error) {
	sector := s.image.Config.Disk.SectorSize
	keep, err := findKept(medium, sector, s.keep)
	if err != nil {
		return nil, err
	}
	d := newModelDisk(medium)
	d.sector, d.rnd = int64(sector), rnd
	j := newJudge(d, medium, s.want, rnd)
	s.watch(d, j)
	sched := newScheduler(rnd)
	d.schedule = sched
	trouble := &sourceTrouble{rnd: rnd, often: rnd.IntN(3)}
	sched.ending = trouble.strike
	if !last {
		switch rnd.IntN(4) {
		case 0:
			d.fault = failing(opKind(rnd.IntN(int(opOpen)+1)), 1+rnd.IntN(40), syscall.EIO)
		default:
			j.cutAt = 1 + rnd.IntN(400)
		}
	}
	_, err = runScheduled(t, sched, Job{
		Image: s.image.Image, Source: s.image.by(scheduledSource{s.image, sched}), Disk: d, Keep: keep,
		Workers: 1 + rnd.IntN(4), Retry: supply.Retry{First: 1, Longest: 1},
	})
	total.add(j.tally)
	if j.broke != nil {
		return nil, j.broke
	}
	if j.left != nil {
		return j.left, nil
	}
	left := d.cutPower(rnd)
	if err != nil && (last || d.fault == nil) {
		return nil, fmt.Errorf("Run: %w", err)
	}
	if err == nil && !bytes.Equal(left, s.want) {
		return nil, errors.New("Run reported success, the medium does not hold what it should")
	}
	return left, nil
}

// watch holds the disk to what was promised of kept partitions, at every step.
func (s *keepScene) watch(d *modelDisk, j *judge) {
	certain, step := d.certain, d.watch
	inside := func(off int64) bool {
		return slices.ContainsFunc(s.keep, func(k gptEntry) bool { return off >= int64(k.from) && off < int64(k.to) })
	}
	d.certain = func(off int64, to []byte) {
		if inside(off) {
			j.breach(fmt.Sprintf("byte %d of a kept partition was written", off))
		}
		certain(off, to)
	}
	d.watch = func() {
		tables := false
		d.uncertain(func(off int64, _ []byte) {
			if inside(off) {
				j.breach(fmt.Sprintf("byte %d of a kept partition is about to be written", off))
			}
			tables = tables || off < 64<<10 || off >= d.size-64<<10
		})
		for range 3 {
			if !tables {
				break
			}
			if _, err := findKept(s.cut(d), int(d.sector), s.keep); err != nil {
				j.breach(fmt.Sprintf("a cut loses the entries of kept partitions: %v", err))
			}
		}
		step()
	}
}

// cut gives what the medium may be after a power cut now, and continues.
func (s *keepScene) cut(d *modelDisk) []byte {
	medium := bytes.Clone(d.medium)
	share := d.rnd.Float64()
	d.uncertain(func(off int64, to []byte) {
		if d.rnd.Float64() < share {
			tear(medium[off:off+d.sector], to, d.rnd)
		}
	})
	return medium
}

// Through the real disk code, into a file: gdisk and util-linux find nothing
// wrong with the tables.
func TestKeptTablesAgainstTools(t *testing.T) {
	for n := range uint64(20) {
		s := newKeepScene(t, rand.New(rand.NewPCG(n, 14)))
		if s.image.Config.Disk.SectorSize != 512 {
			continue // the tools take a file for a disk of 512
		}
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, s.old, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := blockdev.Open(path, blockdev.Options{AllowFile: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = Run(t.Context(), Job{Image: s.image.Image, Source: s.image.by(s.image), Disk: d, Keep: keptOn(t, s.old, 512, s.keep)})
		if err := errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, s.want) {
			t.Errorf("seed %d: the disk is not as it should be (%v)", n, err)
		}
		for _, tool := range [][]string{{"sgdisk", "-v", path}, {"sfdisk", "-V", path}} {
			if _, err := exec.LookPath(tool[0]); err != nil {
				t.Skipf("%s is not installed", tool[0])
			}
			out, err := exec.CommandContext(t.Context(), tool[0], tool[1:]...).CombinedOutput()
			if err != nil || !strings.Contains(string(out), "No problems found") && !strings.Contains(string(out), "No errors detected") {
				t.Errorf("seed %d: %s: %v\n%s", n, tool[0], err, out)
			}
		}
	}
}

// What cannot be kept is refused while the disk is as it was.
func TestKeepRefused(t *testing.T) {
	s := newKeepScene(t, rand.New(rand.NewPCG(1, 15)))
	sector := s.image.Config.Disk.SectorSize
	other := bytes.Clone(s.old)
	entries := keptOn(t, s.old, sector, s.keep)
	putEntries(other, sector, gptEntry{1, "something else..", 64 << 10, 128 << 10})
	same := newSectorImage(t, bytes.Clone(s.image.raw), "gpt", sector, golden.MinChunkSize, golden.BLAKE3)
	twin := bytes.Clone(s.old)
	putEntries(twin, sector, gptEntry{3, "unique partition", s.keep[0].from, s.keep[0].to}) // the image's own GUID
	inImage, err := partition.Entries(bytes.NewReader(s.old), int64(len(s.old)), sector, 128)
	if err != nil {
		t.Fatal(err)
	}
	none := newSectorImage(t, bytes.Clone(s.image.raw), "none", sector, golden.MinChunkSize, golden.BLAKE3)
	twins, err := partition.Entries(bytes.NewReader(twin), int64(len(twin)), sector, 3)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		disk  []byte
		image *testImage
		keep  []partition.Entry
		want  string
	}{
		"in the image":       {s.old, same, inImage, "not behind the image"},
		"image without GPT":  {s.old, none, entries, "no GPT"},
		"not on this disk":   {other, same, entries, "the disk has no GPT with all the partitions"},
		"GUID of the image":  {twin, same, twins, "has the GUID of another"},
		"the disk's own end": {s.old[:len(s.old)-4096], same, entries[len(entries)-1:], ""},
	} {
		d := newModelDisk(tt.disk)
		d.sector = int64(sector)
		_, err := Run(t.Context(), Job{Image: tt.image.Image, Source: tt.image.by(tt.image), Disk: d, Keep: tt.keep})
		if !errors.Is(err, ErrUnfit) || !strings.Contains(fmt.Sprint(err), tt.want) {
			t.Errorf("%s: Run() = %v; want %q", name, err, tt.want)
		}
		if d.writes > 0 {
			t.Errorf("%s: %d writes", name, d.writes)
		}
	}
}

// The wipe must not come near what is kept.
func TestWithout(t *testing.T) {
	got := without([]blockdev.Range{{Offset: 0, Length: 100}, {Offset: 200, Length: 50}, {Offset: 300, Length: 10}},
		[]blockdev.Range{{Offset: 10, Length: 20}, {Offset: 90, Length: 120}, {Offset: 300, Length: 10}, {Offset: 400, Length: 5}})
	want := []blockdev.Range{{Offset: 0, Length: 10}, {Offset: 30, Length: 60}, {Offset: 210, Length: 40}}
	if !slices.Equal(got, want) {
		t.Errorf("without() = %v; want %v", got, want)
	}
}
