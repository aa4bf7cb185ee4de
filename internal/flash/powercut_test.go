package flash

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/test/reliability"
)

var (
	cuts = flag.Int64("cuts", 100_000, "simulated power cuts")
	seed = flag.Uint64("seed", 1, "the first case of every random test; a case that fails names its own")
)

// scene is an image and the size of disk that it goes to.
type scene struct {
	image *testImage
	disk  int
	// Of a flash that nothing interrupts, about.
	steps, writes int
	mu            sync.Mutex
	used          map[string]*usedDisk
}

// usedDisk is a disk before and after.
type usedDisk struct{ old, want []byte }

// scenes makes the images that the cases draw from, the same for every seed:
// with and without a GPT,
// with both sector sizes and hashes, smaller and larger than what is held
// back for the seal, with and without chunks of zeros.
func scenes(t *testing.T) []*scene {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 0))
	var all []*scene
	for i := range 24 {
		s := &scene{used: map[string]*usedDisk{}}
		sectorSize := []int{512, 512, 4096}[i%3]
		size := (1<<20 + rnd.IntN(5<<19)) / sectorSize * sectorSize
		raw := randomDisk(byte(rnd.Uint32()), size)
		scheme := "none"
		if i%2 == 0 {
			scheme = "gpt"
			putGPT(raw, sectorSize)
		}
		hash := []golden.Algorithm{golden.SHA256, golden.BLAKE3}[i/2%2]
		s.image = newSectorImage(t, raw, scheme, sectorSize, golden.MinChunkSize, hash)
		s.disk = size + []int{0, sectorSize, 32 * sectorSize, rnd.IntN(1<<20) / sectorSize * sectorSize}[rnd.IntN(4)]
		undisturbed := powerCase{scene: s, kind: "MBR", rnd: rnd}
		used := s.usedAs(t, undisturbed.kind)
		if _, err := undisturbed.flash(t, used.old, used.want, true); err != nil {
			t.Fatal(err)
		}
		s.steps, s.writes = int(undisturbed.tally.steps), undisturbed.writes
		all = append(all, s)
	}
	return all
}

// usedAs returns the scene's disk with old content of the kind.
func (s *scene) usedAs(t testing.TB, kind string) *usedDisk {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.used[kind]; u != nil {
		return u
	}
	old := oldDisk(kind, 77, s.disk, s.image.Config.Disk.SectorSize)
	u := &usedDisk{old, flashed(t, old, s.image)}
	s.used[kind] = u
	return u
}

// No cut of the power, no failing call and no trouble with the source, at any
// step of any of several flashes one after another, leaves an LBA 0 with
// anything behind it but the old disk or the image; and the last flash, which
// nobody disturbs, ends well.
func TestRandomPowerCuts(t *testing.T) {
	start := time.Now()
	all := scenes(t)
	var total tally
	var mu sync.Mutex
	const shards = 8 // whatever the machine: the cases depend on it
	t.Run("shards", func(t *testing.T) {
		for k := range uint64(shards) {
			t.Run(fmt.Sprint(k), func(t *testing.T) {
				t.Parallel()
				var sum tally
				for n := *seed + k; sum.cuts() < (*cuts+shards-1)/shards; n += shards {
					c := powerCase{scene: all[n%uint64(len(all))], kind: oldKinds[n%uint64(len(oldKinds))], rnd: rand.New(rand.NewPCG(n, 1))}
					if err := c.run(t); err != nil {
						t.Fatalf("over %s: %v (repeat with -seed %d -cuts 1)", c.kind, err, n)
					}
					sum.add(c.tally)
				}
				mu.Lock()
				defer mu.Unlock()
				total.add(sum)
			})
		}
	})
	t.Logf("seed %d: %+v, %d cuts in %v", *seed, total, total.cuts(), time.Since(start).Round(time.Second))
	for what, n := range map[string]int64{
		"untouched": total.untouched, "gated": total.gated, "sealed": total.sealed,
		"torn": 20 * total.torn,
	} {
		if n < total.cuts()/20 && *cuts >= 10_000 {
			t.Errorf("%d of %d cuts left the disk %s: too few to show anything", n, total.cuts(), what)
		}
	}
	reliability.Record(t, reliability.Row{
		Group: reliability.PowerCuts,
		What: "power cut at a random step, any part of the unflushed sectors on the medium, some torn; five kinds of old content, " +
			"several cuts, failing calls and a bad source in one case",
		Count: total.cuts(), Unit: "cuts", Seed: *seed, Took: time.Since(start),
		Result: fmt.Sprintf("none left half an image: %d disks untouched, %d closed, %d whole; each of %d cases then ended with the image",
			total.untouched, total.gated, total.sealed, total.cases),
		Command: fmt.Sprintf("go test ./internal/flash -run '^TestRandomPowerCuts$' -timeout 0 -cuts %d -seed %d", *cuts, *seed),
	})
}

// powerCase is one disk that is flashed, cut off, and flashed again, until a
// flash ends well.
type powerCase struct {
	*scene
	kind  string
	rnd   *rand.Rand
	tally tally
	// writes of the last flash.
	writes int
	trace  uint64 // of every step: the same for the same seed
}

func (c *powerCase) run(t *testing.T) error {
	used := c.usedAs(t, c.kind)
	medium := used.old
	c.tally.cases++
	disturbed := 1 + c.rnd.IntN(3)
	for n := 0; ; n++ {
		last := n == disturbed
		left, err := c.flash(t, medium, used.want, last)
		if err != nil {
			return fmt.Errorf("flash %d of %d: %w", n+1, disturbed+1, err)
		}
		if last {
			return nil
		}
		medium = left
	}
}

// flash runs the engine once and returns what is on the medium afterwards.
// Unless it is the last, anything may happen to it.
func (c *powerCase) flash(t *testing.T, medium, want []byte, last bool) ([]byte, error) {
	d := newModelDisk(medium)
	d.sector = int64(c.image.Config.Disk.SectorSize)
	d.rnd = c.rnd
	j := newJudge(d, medium, want, c.rnd)
	s := newScheduler(c.rnd)
	d.schedule = s
	trouble := &sourceTrouble{rnd: c.rnd, often: c.rnd.IntN(3)}
	s.ending = trouble.strike
	if !last {
		trouble.lies = c.rnd.IntN(2)
		switch c.rnd.IntN(4) {
		case 0:
			d.fault = failing(opKind(c.rnd.IntN(int(opOpen)+1)), 1+c.rnd.IntN(40), syscall.EIO)
		case 1: // around the seal
			j.cutAt = max(1, c.steps-c.rnd.IntN(40))
		default:
			j.cutAt = 1 + c.rnd.IntN(c.steps)
		}
	}
	result, err := runScheduled(t, s, Job{
		Image: c.image.Image, Source: c.image.by(scheduledSource{c.image, s}), Disk: d,
		Workers: 1 + c.rnd.IntN(4), Retry: supply.Retry{First: 1, Longest: 1},
	})
	c.tally.runs++
	c.writes = d.writes
	c.tally.add(j.tally)
	c.trace = c.trace*31 + d.trace()
	if j.broke != nil {
		return nil, j.broke
	}
	if j.left != nil {
		return j.left, nil
	}
	left := d.cutPower(c.rnd)
	if err == nil && !bytes.Equal(left, want) {
		return nil, errors.New("Run reported success, the medium does not hold the image")
	}
	if err != nil && (last || d.fault == nil && trouble.lies == 0) {
		return nil, fmt.Errorf("Run = %+v, %w; want success", result, err)
	}
	return left, nil
}

// trace sums up what happened to the disk and what became of it.
func (d *modelDisk) trace() uint64 {
	return uint64(crc32.ChecksumIEEE(d.now))<<32 | uint64(d.step)
}

// sourceTrouble refuses connections, ends them early and spoils what they
// carry, as the schedule's random numbers have it.
type sourceTrouble struct {
	rnd   *rand.Rand
	often int // 0: never, else one request in 8/often
	lies  int
}

var errRefused = errors.New("connection refused")

func (s *sourceTrouble) strike(o *op) {
	if o.kind != opSource || s.rnd.IntN(8) >= s.often {
		return
	}
	switch s.rnd.IntN(2 + s.lies) {
	case 0:
		o.err = errRefused
	case 1:
		o.cutBody = 1 + s.rnd.Int64N(100_000)
	case 2:
		o.spoilBody = true
	}
}

// body is what a request gets that trouble may have struck.
func (o *op) body(ctx context.Context, s supply.Ranges, off, length int64) (io.ReadCloser, error) {
	if o.err != nil {
		return nil, o.err
	}
	body, err := s.ReadRange(ctx, off, length)
	switch {
	case err != nil:
		return nil, err
	case o.cutBody > 0:
		return io.NopCloser(io.LimitReader(body, o.cutBody)), nil
	case o.spoilBody:
		p, err := io.ReadAll(body)
		p[len(p)/2] ^= 1
		return io.NopCloser(bytes.NewReader(p)), err
	}
	return body, nil
}

// The same seed gives the same run, step by step and byte by byte.
func TestSeedRepeatsARun(t *testing.T) {
	all := scenes(t)
	for n := range uint64(15) {
		var traces [2]powerCase
		for k := range traces {
			traces[k] = powerCase{scene: all[n%uint64(len(all))], kind: oldKinds[n%uint64(len(oldKinds))], rnd: rand.New(rand.NewPCG(n, 1))}
			if err := traces[k].run(t); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := traces[0], traces[1]; a.trace != b.trace || a.tally != b.tally {
			t.Errorf("seed %d: %x %+v, then %x %+v", n, a.trace, a.tally, b.trace, b.tally)
		}
	}
}
