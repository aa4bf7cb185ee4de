package flash

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/test/reliability"
)

var lies = flag.Int("lies", 400, "simulated lies of disks")

// The lies that a disk tells of a write or, the last one, of a read.
const (
	dropped     = iota // it is lost
	misdirected        // it goes elsewhere
	flipped            // a bit of it is another one
	stale              // a part of it keeps what was there before
	staleRead          // a read gives what was there before, a part of it
	lieKinds
)

// liar makes a disk lie about the nth write, or the nth read, and about the
// next ones at the same place.
type liar struct {
	rnd   *rand.Rand
	kind  int
	late  bool // told by the flush: until then the cache holds the truth
	nth   int
	times int

	at    int64 // where the first lie was told
	seen  int
	told  int
	start []byte // of the disk
}

func (l *liar) write(o *op) {
	if l.seen++; l.kind == staleRead || l.told == l.times || l.told == 0 && l.seen < l.nth {
		return
	}
	if l.told > 0 && (l.at < o.off || l.at >= o.off+int64(len(o.data))) {
		return
	}
	d := o.disk
	if l.told == 0 {
		l.at = o.off
	}
	l.told++
	o.lied, o.late, o.lieOff, o.lieData = true, l.late, o.off, bytes.Clone(o.data)
	switch l.kind {
	case dropped:
		o.lieData = nil
	case misdirected:
		o.lieOff = l.rnd.Int64N((d.size-int64(len(o.data)))/d.sector+1) * d.sector
	case flipped:
		o.lieData[l.rnd.IntN(len(o.data))] ^= 1 << l.rnd.IntN(8)
	case stale:
		n := (l.rnd.Int64N(int64(len(o.data))/d.sector) + 1) * d.sector
		copy(o.lieData[:n], d.medium[o.off:])
	}
}

func (l *liar) read(kind opKind, off int64, p []byte) {
	if kind != opRead || l.kind != staleRead {
		return
	}
	if l.seen++; l.seen >= l.nth && l.told < l.times {
		l.told++
		copy(p[:l.rnd.IntN(len(p))+1], l.start[off:])
	}
}

// A disk that lies is found out before it is sealed, or what it lied about is
// written again: no lie is left on a disk that Run calls good.
func TestLyingDiskIsFoundOrRepaired(t *testing.T) {
	start := time.Now()
	all := scenes(t)
	var told, repaired, failed, harmless int64
	for n := *seed; told < int64(*lies); n++ {
		rnd := rand.New(rand.NewPCG(n, 2))
		s := all[n%uint64(len(all))]
		used := s.usedAs(t, oldKinds[rnd.IntN(len(oldKinds))])
		l := &liar{
			rnd: rnd, kind: rnd.IntN(lieKinds), late: rnd.IntN(2) == 0, nth: s.someWrite(rnd), times: 1 + rnd.IntN(2),
			start: s.partlyFlashed(rnd, used),
		}
		d, result, err := l.flash(t, s)
		if l.told == 0 {
			continue
		}
		told++
		left := d.cutPower(rnd)
		switch right := l.rightOn(left, used.want, s.image); {
		case err == nil && !right:
			t.Errorf("lie %+v: Run = %+v; the disk does not hold the image (repeat with -seed %d -lies 1)", l.kind, result, n)
		case err == nil && result.Repaired > 0:
			repaired++
		case err == nil:
			harmless++
		case !right && left[510] == 0x55 && left[511] == 0xaa:
			t.Errorf("lie %+v: Run = %v; the disk boots (repeat with -seed %d -lies 1)", l.kind, err, n)
		default:
			failed++
		}
	}
	t.Logf("seed %d: %d lies: %d repaired, %d refused, %d about what was there anyway", *seed, told, repaired, failed, harmless)
	if *lies >= 100 && (repaired == 0 || failed == 0 || 2*harmless > told) {
		t.Error("the lies are too harmless to show anything")
	}
	reliability.Record(t, reliability.Row{
		Group: reliability.LyingDisk,
		What:  "a write dropped, misdirected, flipped or in part stale, at once or only when flushed, once or twice; a stale read",
		Count: told, Unit: "disks", Seed: *seed, Took: time.Since(start),
		Result:  fmt.Sprintf("none sealed with a lie on it: %d repaired, %d refused, %d lies that changed nothing", repaired, failed, harmless),
		Command: fmt.Sprintf("go test ./internal/flash -run '^TestLyingDiskIsFoundOrRepaired$' -timeout 0 -lies %d -seed %d", *lies, *seed),
	})
}

// rightOn reports whether the medium holds the image with its GPT. What a
// stray write did to the rest of a larger disk is not the image's.
func (l *liar) rightOn(medium, want []byte, im *testImage) bool {
	end := len(medium)
	if l.kind == misdirected {
		end = len(im.raw)
		if im.Config.Disk.Scheme == "gpt" {
			backup := len(medium) - im.Config.Disk.SectorSize - 128*128
			return bytes.Equal(medium[:end], want[:end]) && bytes.Equal(medium[backup:], want[backup:])
		}
	}
	return bytes.Equal(medium[:end], want[:end])
}

// partlyFlashed is the used disk, or one time in three what an interrupted
// flash may have left of it.
func (s *scene) partlyFlashed(rnd *rand.Rand, used *usedDisk) []byte {
	disk := bytes.Clone(used.old)
	if rnd.IntN(3) > 0 {
		return disk
	}
	clear(disk[:s.image.Config.Disk.SectorSize])
	share := rnd.Float64()
	for i := range s.image.Table.Len() {
		if off, length := s.image.Table.Extent(i); rnd.Float64() < share {
			copy(disk[off:off+length], s.image.raw[off:])
		}
	}
	return disk
}

// someWrite picks one of a flash, often one of the last.
func (s *scene) someWrite(rnd *rand.Rand) int {
	if rnd.IntN(3) == 0 {
		return max(1, s.writes-rnd.IntN(8))
	}
	return 1 + rnd.IntN(s.writes)
}

// A place that never holds what is written to it is the end of the flash.
func TestPlaceThatAlwaysLiesIsRefused(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 6*mib), "none")
	refused := 0
	for _, at := range []int64{0, sector, 2 * mib, 3*mib + 5<<16, 4 * mib, 6*mib - 1<<20, 6*mib - sector} {
		d := newModelDisk(oldDisk("MBR", 1, 6*mib, sector))
		told := 0
		d.lie = func(o *op) {
			if o.off <= at && at < o.off+int64(len(o.data)) && !allZero(o.data) {
				if told++; told > 50 {
					d.off = true
				}
				o.lied, o.lieOff, o.lieData = true, o.off, bytes.Clone(o.data)
				o.lieData[at-o.off] ^= 1
			}
		}
		_, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(im), Disk: d})
		if told == 0 {
			continue // zeros, which the disk makes itself
		}
		refused++
		if err == nil || !strings.Contains(err.Error(), "twice") || !allZero(d.now[:sector]) {
			t.Errorf("lie at %d: Run = %v; want an error and a disk that does not boot", at, err)
		}
	}
	if refused < 4 {
		t.Errorf("%d places lied; want four at least", refused)
	}
}

func (l *liar) flash(t *testing.T, s *scene) (*modelDisk, Result, error) {
	d := newModelDisk(l.start)
	d.sector = int64(s.image.Config.Disk.SectorSize)
	d.lie, d.reading = l.write, l.read
	d.schedule = newScheduler(l.rnd)
	result, err := runScheduled(t, d.schedule, Job{
		Image: s.image.Image, Source: s.image.by(scheduledSource{s.image, d.schedule}), Disk: d, Workers: 1 + l.rnd.IntN(4),
	})
	return d, result, err
}

// While the source is slow, the engine reads back what is there already. A lie
// about a chunk that comes later may hit one that was proved before.
func TestLiesWhileReadBackFollows(t *testing.T) {
	const size, chunk = 104 * mib, 1 * mib
	raw := bytes.Repeat(randomDisk(2, 3*mib-1), size/(3*mib)+1)[:size]
	im := newSectorImage(t, raw, "none", sector, chunk, golden.BLAKE3)
	slow := sourceFunc(func(ctx context.Context, off, length int64) (io.ReadCloser, error) {
		body, err := im.ReadRange(ctx, off, length)
		return slowBody{body}, err
	})
	for _, c := range []struct {
		name string
		late bool
		at   int64
		lie  func(o *op)
	}{
		{"dropped", true, 3 * mib, func(o *op) { o.lieData = nil }},
		{"flipped", true, 40 * mib, func(o *op) { o.lieData[9] ^= 1 }},
		{"misdirected", false, size - 2*mib, func(o *op) { o.lieOff = 5 * mib }},
		{"misdirected", true, 3 * mib, func(o *op) { o.lieOff = 50 * mib }},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newModelDisk(make([]byte, size))
			flushes, told := 0, false
			d.fault = func(kind opKind, _ int64, _ []byte) error {
				if kind == opFlush {
					flushes++
				}
				return nil
			}
			d.lie = func(o *op) {
				if o.off == c.at && o.kind == opWrite && !told {
					told = true
					o.lied, o.late, o.lieOff, o.lieData = true, c.late, o.off, bytes.Clone(o.data)
					c.lie(o)
				}
			}
			result, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(slow), Disk: d})
			if err != nil || result.Repaired == 0 || !bytes.Equal(d.medium, raw) {
				t.Errorf("%s (late: %v) at %d: Run = %+v, %v; want it repaired", c.name, c.late, c.at, result, err)
			}
			if flushes < 6 {
				t.Errorf("%d flushes: the read-back did not follow", flushes)
			}
		})
	}
}

// slowBody gives 64 KiB in a tenth of a second.
type slowBody struct{ io.ReadCloser }

func (b slowBody) Read(p []byte) (int, error) {
	time.Sleep(100 * time.Millisecond)
	return b.ReadCloser.Read(p[:min(len(p), 64<<10)])
}
