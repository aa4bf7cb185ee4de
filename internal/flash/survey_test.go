package flash

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/flash/chunks"
	"github.com/gild-dev/gild/internal/golden"
)

// measured is a survey with rates in bytes a second and goroutine.
func measured(fetch, read float64) *survey {
	s := &survey{workers: readers}
	s.hope()
	second := func(r *rate, bytes float64) { r.add(int64(bytes), time.Second) }
	second(&s.fetching, fetch)
	second(&s.reading, read)
	return s
}

// A survey continues as long as the share of right chunks is worth the reading:
// what it costs over a full flash is bounded, whatever the rates.
func TestSurveyPays(t *testing.T) {
	const chunks = 10_000
	for name, tc := range map[string]struct {
		fetch, read float64
		right       func(i int) bool
		atLeast     float64 // of the right chunks, found
	}{
		"nothing right, slow disk":    {400e6, 100e6, func(int) bool { return false }, 0},
		"nothing right, slow net":     {50e6, 1e9, func(int) bool { return false }, 0},
		"all right":                   {400e6, 500e6, func(int) bool { return true }, 1},
		"front half right":            {400e6, 1e9, func(i int) bool { return i < chunks/2 }, 1},
		"back half right":             {400e6, 1e9, func(i int) bool { return i >= chunks/2 }, 0.99},
		"19 of 20":                    {400e6, 1e9, func(i int) bool { return i%20 != 7 }, 1},
		"one in 20, not worth it":     {400e6, 1e9, func(i int) bool { return i%20 == 7 }, 0},
		"one in 20, reading is cheap": {40e6, 1e9, func(i int) bool { return i%20 == 7 }, 1},
	} {
		t.Run(name, func(t *testing.T) {
			s := measured(tc.fetch, tc.read)
			var read, found, right int
			for i := range chunks {
				if tc.right(i) {
					right++
				}
				if s.skip() {
					continue
				}
				read++
				if tc.right(i) {
					found++
				}
				s.saw(tc.right(i))
			}
			if float64(found) < tc.atLeast*float64(right) {
				t.Errorf("found %d of %d right chunks; want %.0f %%", found, right, 100*tc.atLeast)
			}
			// The cost of a chunk read is 1/S, of one fetched 1/F.
			full := chunks / tc.fetch
			if took := float64(read)/tc.read + float64(chunks-found)/tc.fetch; took > 1.05*full {
				t.Errorf("read %d, found %d: takes %.2f of a full flash; want at most 1.05", read, found, took/full)
			}
		})
	}
}

// A delta fetches what differs and nothing else, beginning while it reads.
func TestDeltaFetchesWhatDiffers(t *testing.T) {
	const size = 64 * mib
	old := randomDisk(1, size)
	raw := bytes.Clone(old)
	table := newTestImage(t, old, "none").Table
	var want int64
	changed := map[int]bool{}
	for i := 40; i < table.Len()-40; i += 20 {
		if !table.Zero(i) {
			raw[i*golden.MinChunkSize+100] ^= 1
			changed[i] = true
		}
	}
	im := newTestImage(t, raw, "none")
	for i, c := range im.Table.All() {
		if changed[i] || newHeldChunks(im.Table, sector).holds(i) && !c.Zero {
			want += c.Length
		}
	}
	d := newModelDisk(old)
	result, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(im), Disk: d})
	if err != nil || !bytes.Equal(d.now, raw) {
		t.Fatalf("Run = %v; want the image", err)
	}
	if result.Wire > want+int64(len(changed))*chunks.GapBytes {
		t.Errorf("fetched %d bytes; want the %d that differ", result.Wire, want)
	}
}

// While the source is slow, what has landed is proved; the read-back at the end
// has little left.
func TestReadBackInTheShadowOfTheSource(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 200*mib), "none")
	var reads, early atomic.Int64
	slow := sourceFunc(func(ctx context.Context, off, length int64) (io.ReadCloser, error) {
		time.Sleep(100 * time.Millisecond)
		early.Store(reads.Load())
		return im.ReadRange(ctx, off, length)
	})
	d := newModelDisk(make([]byte, 200*mib))
	d.fault = func(kind opKind, _ int64, p []byte) error {
		if kind == opRead {
			reads.Add(1)
		}
		return nil
	}
	result, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(slow), Disk: d})
	if err != nil || !bytes.Equal(d.now, im.raw) {
		t.Fatalf("Run = %+v, %v; want the image", result, err)
	}
	if early.Load() < reads.Load()/2 {
		t.Errorf("%d of %d reads came before the last request; want most of them", early.Load(), reads.Load())
	}
}

// A caller that waits for a chunk has it long before its turn.
func TestDemand(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 64*mib), "none")
	far := im.Table.Len() - 40
	for im.Table.Zero(far) {
		far--
	}
	var asked atomic.Int64
	slow := sourceFunc(func(ctx context.Context, off, length int64) (io.ReadCloser, error) {
		asked.Add(1)
		time.Sleep(20 * time.Millisecond)
		return im.ReadRange(ctx, off, length)
	})
	d := newModelDisk(make([]byte, 64*mib))
	f, err := New(Job{Image: im.Image, Source: im.by(slow), Disk: d, Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	landed := make(chan int64, 1)
	go func() {
		if err := f.Demand(t.Context(), far); err != nil {
			t.Error(err)
		}
		off, length := im.Table.Extent(far)
		d.mu.Lock()
		defer d.mu.Unlock()
		if !bytes.Equal(d.now[off:off+length], im.raw[off:off+length]) {
			t.Error("the chunk that was asked for is not on the disk")
		}
		landed <- asked.Load()
	}()
	if _, err := f.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if before, all := <-landed, asked.Load(); before > all/2 {
		t.Errorf("the chunk came after %d of %d requests; want it among the first", before, all)
	}
	if err := f.Demand(t.Context(), im.Table.Len()); err == nil {
		t.Error("Demand(a chunk that does not exist) = nil; want an error")
	}
}
