package flash

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/test/reliability"
)

var breaks = flag.Int("breaks", 40, "interrupted flashes that are resumed")

// twice is how many chunks one break may cost.
const twice = 2

// rightChunks counts what a restart need not fetch: the compressed bytes of
// the data chunks that the medium holds and that do not wait for the seal in
// any case.
func rightChunks(im *testImage, medium []byte) (chunks int, wire int64) {
	held := newHeldChunks(im.Table, im.Config.Disk.SectorSize)
	for i, c := range im.Table.All() {
		off, length := im.Table.Extent(i)
		if !c.Zero && !held.holds(i) && bytes.Equal(medium[off:off+length], im.raw[off:off+length]) {
			chunks, wire = chunks+1, wire+c.Length
		}
	}
	return chunks, wire
}

// After a cut of the power, at any step, everything that is right on the disk
// is kept: of it at most two chunks are fetched again.
func TestResumeAfterPowerCutKeepsWhatIsRight(t *testing.T) {
	start := time.Now()
	im := newTestImage(t, randomDisk(2, 12*mib), "none")
	largest := im.Table.Chunk(0).Length
	for _, c := range im.Table.All() {
		largest = max(largest, c.Length)
	}
	var kept, again int
	for k := range uint64(*breaks) {
		rnd := rand.New(rand.NewPCG(*seed+k, 6))
		d := newModelDisk(oldDisk("MBR", 3, 12*mib, sector))
		d.schedule = newScheduler(rnd)
		cutAt, left := 20+rnd.IntN(700), []byte(nil)
		d.watch = func() {
			if d.step == cutAt {
				left = d.cutPower(rnd)
			}
		}
		_, err := runScheduled(t, d.schedule, Job{
			Image: im.Image, Source: im.by(scheduledSource{im, d.schedule}), Disk: d,
			Workers: 1 + rnd.IntN(8),
		})
		if left == nil {
			if err != nil {
				t.Fatal(err)
			}
			left = d.medium
		}
		right, wire := rightChunks(im, left)
		after := newModelDisk(left)
		after.schedule = newScheduler(rnd)
		result, err := runScheduled(t, after.schedule, Job{Image: im.Image, Source: im.by(scheduledSource{im, after.schedule}), Disk: after})
		if err != nil || !bytes.Equal(after.medium, im.raw) {
			t.Fatalf("seed %d: cut at step %d: Run = %v; want the image", *seed+k, cutAt, err)
		}
		if most := int64(len(im.blob)) - wire + twice*largest; result.Wire > most {
			t.Errorf("seed %d: cut at step %d: fetched %d bytes where %d chunks were right; want %d at most (two chunks twice)",
				*seed+k, cutAt, result.Wire, right, most)
			again++
		}
		kept += right
	}
	if kept < 10**breaks {
		t.Errorf("%d chunks were right after %d cuts; too few to show anything", kept, *breaks)
	}
	reliability.Record(t, reliability.Row{
		Group: reliability.Resume, What: "power cut at a random step of a flash, then a restart",
		Count: int64(*breaks), Unit: "restarts", Seed: *seed, Took: time.Since(start),
		Result: fmt.Sprintf("%d chunks were right on the disks; %d restarts fetched more than two of them again", kept, again),
		Command: fmt.Sprintf("go test ./internal/flash -run '^TestResumeAfterPowerCutKeepsWhatIsRight$' -timeout 0 -breaks %d -seed %d", *breaks,
			*seed),
	})
}

// A connection that breaks costs no byte twice, wherever it does; and where a
// source gives garbage before it breaks, that chunk alone.
func TestResumeAfterBrokenConnections(t *testing.T) {
	start := time.Now()
	im := newTestImage(t, randomDisk(2, 6*mib), "none")
	var broken int64
	for k := range uint64(*breaks) {
		rnd := rand.New(rand.NewPCG(*seed+k, 7))
		d := newModelDisk(make([]byte, 6*mib))
		s := newScheduler(rnd)
		d.schedule = s
		s.ending = func(o *op) {
			if o.kind == opSource {
				switch rnd.IntN(3) {
				case 0:
					o.err = errRefused
				case 1:
					o.cutBody = 1 + rnd.Int64N(200_000)
				}
				broken++
			}
		}
		result, err := runScheduled(t, s, Job{
			Image: im.Image, Source: im.by(scheduledSource{im, s}), Disk: d, Workers: 1 + rnd.IntN(4), Retry: supply.Retry{First: 1, Longest: 1},
		})
		if err != nil || !bytes.Equal(d.medium, im.raw) || result.Wire > int64(len(im.blob)) {
			t.Errorf("seed %d: Run = %v, fetched %d bytes of a blob of %d", *seed+k, err, result.Wire, len(im.blob))
		}
	}
	reliability.Record(t, reliability.Row{
		Group: reliability.Resume, What: "connections refused or broken off at random bytes",
		Count: broken, Unit: "connections", Seed: *seed, Took: time.Since(start), Result: "no byte fetched twice",
		Command: fmt.Sprintf("go test ./internal/flash -run '^TestResumeAfterBrokenConnections$' -timeout 0 -breaks %d -seed %d", *breaks, *seed),
	})
}

// A flash that is ended by its caller leaves what it wrote to the next one.
func TestResumeAfterCancel(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 12*mib), "none")
	for _, bytes := range []int64{mib, 4 * mib, 8 * mib} {
		ctx, cancel := context.WithCancel(t.Context())
		d := newModelDisk(oldDisk("MBR", 3, 12*mib, sector))
		var served int64
		stopping := sourceFunc(func(_ context.Context, off, length int64) (io.ReadCloser, error) {
			if served += length; served > bytes {
				cancel()
				return nil, errors.New("the server is gone")
			}
			return im.ReadRange(ctx, off, min(length, bytes))
		})
		if _, err := Run(ctx, Job{Image: im.Image, Source: im.by(stopping), Disk: d, Workers: 1}); !errors.Is(err, context.Canceled) {
			t.Fatalf("Run = %v; want %v", err, context.Canceled)
		}
		_, wire := rightChunks(im, d.now)
		result, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(im), Disk: d})
		if err != nil || result.Wire > int64(len(im.blob))-wire+twice*im.Table.ChunkSize {
			t.Errorf("Run = %v, fetched %d bytes; %d of %d were right", err, result.Wire, wire, len(im.blob))
		}
	}
}
