package pack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/golden"
)

// step is one answer of a scripted disk.
type step struct {
	n    int
	zero bool
	err  error
}

// cut is a cutter of a usual image.
func cut(ctx context.Context, d Disk, w io.Writer, progress func(raw, stored int64)) (*golden.Table, error) {
	return cutter{DefaultHash, Default, maxChunks, progress}.cut(ctx, d, w)
}

// script is a disk that answers as told, then with io.EOF.
type script []step

func (s *script) ReadChunk(p []byte) (int, bool, error) {
	if len(*s) == 0 {
		return 0, false, io.EOF
	}
	next := (*s)[0]
	*s = (*s)[1:]
	for i := range min(max(next.n, 0), len(p)) {
		p[i] = 0xab
	}
	return next.n, next.zero, next.err
}

// memory is a disk that lies in memory.
type memory struct{ r io.Reader }

func (m memory) ReadChunk(p []byte) (int, bool, error) {
	n, err := io.ReadFull(m.r, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, false, err
}

// sample has chunks of noise, of text and of zeros, and a short last one.
func sample(chunks int) []byte {
	rng := rand.New(rand.NewPCG(3, 4))
	p := make([]byte, chunks*golden.DefaultChunkSize+5*512)
	for i := range chunks + 1 {
		part := p[i*golden.DefaultChunkSize : min((i+1)*golden.DefaultChunkSize, len(p))]
		switch i % 3 {
		case 0:
			for j := range part {
				part[j] = byte(rng.Uint32())
			}
		case 1:
			copy(part, bytes.Repeat([]byte("golden image "), len(part)/13))
		}
	}
	return p
}

// A table of a disk whose chunks do not lie where it says would be found out
// only by the machine that reads it.
func TestCutRefusesWhatBreaksTheTable(t *testing.T) {
	const full = golden.DefaultChunkSize
	broken := errors.New("cut")
	for name, tt := range map[string]struct {
		disk script
		want string
	}{
		"source fails in the middle":          {script{{n: full}, {err: broken}}, "cut"},
		"source fails beside its data":        {script{{n: full}, {n: full, err: broken}}, "cut"},
		"an end that is wrapped is no end":    {script{{n: full}, {err: fmt.Errorf("peer left: %w", io.EOF)}}, "peer left"},
		"an unexpected end":                   {script{{n: full}, {err: io.ErrUnexpectedEOF}}, "unexpected EOF"},
		"a short chunk before the last":       {script{{n: 512}, {n: full}}, "after a short"},
		"a zero chunk after a short one":      {script{{n: 512, zero: true}, {n: 512}}, "after a short"},
		"nothing, without an error, for ever": {make(script, 200), io.ErrNoProgress.Error()},
		"more than was asked for":             {script{{n: full + 512}}, "bytes, want"},
		"less than nothing":                   {script{{n: -1}}, "bytes, want"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := within(t, func() (*golden.Table, error) {
				return cut(t.Context(), &tt.disk, io.Discard, nil)
			})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("cut = %v; want an error with %q", err, tt.want)
			}
		})
	}
}

// within fails the test when f hangs.
func within[T any](t *testing.T, f func() (T, error)) (T, error) {
	t.Helper()
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := f()
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-time.After(2 * time.Minute):
		t.Fatal("hangs")
	}
	panic("not reached")
}

// The bytes must not depend on which core finishes first.
func TestFramesDoNotDependOnTheCores(t *testing.T) {
	raw := sample(30)
	pack := func(procs int) ([]byte, []byte) {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
		var blob bytes.Buffer
		table, err := cut(t.Context(), memory{bytes.NewReader(raw)}, &blob, nil)
		if err != nil {
			t.Fatal(err)
		}
		var p bytes.Buffer
		if _, err := table.WriteTo(&p); err != nil {
			t.Fatal(err)
		}
		return blob.Bytes(), p.Bytes()
	}
	blob, table := pack(1)
	for _, procs := range []int{4, 4, 13} {
		b, tab := pack(procs)
		if !bytes.Equal(b, blob) || !bytes.Equal(tab, table) {
			t.Errorf("GOMAXPROCS=%d gives other bytes than 1", procs)
		}
	}
	raw[0] ^= 1 // the comparison can fail
	if b, _ := pack(1); bytes.Equal(b, blob) {
		t.Error("another disk gives the same blob")
	}
}

// A chunk that is known to be zero and one that turns out to be are the same
// thing: how sparse a file is must not show in the digest.
func TestHolesAndZerosAreTheSame(t *testing.T) {
	const full = golden.DefaultChunkSize
	pack := func(d Disk) (string, *golden.Table) {
		var blob bytes.Buffer
		table, err := cut(t.Context(), d, &blob, nil)
		if err != nil {
			t.Fatal(err)
		}
		return blob.String(), table
	}
	holes, table := pack(&script{{n: full, zero: true}, {n: full, zero: true}, {n: 512, zero: true}})
	zeros, _ := pack(memory{bytes.NewReader(make([]byte, 2*full+512))})
	if holes != zeros {
		t.Error("holes and zeros give different blobs")
	}
	for i, c := range table.All() {
		if !c.Zero {
			t.Errorf("chunk %d of a hole is not marked zero", i)
		}
	}
}

// endless counts how far a disk of zeros was read ahead of the writer.
type endless struct {
	size, at int64
	reads    atomic.Int64
}

func (e *endless) ReadChunk(p []byte) (int, bool, error) {
	n := min(int64(len(p)), e.size-e.at)
	if n <= 0 {
		return 0, false, io.EOF
	}
	e.reads.Add(1)
	e.at += n
	// Data once in a while, so that buffers are used.
	if e.reads.Load()%1000 != 1 {
		return int(n), true, nil
	}
	for i := range n {
		p[i] = byte(i * 7)
	}
	return int(n), false, nil
}

// Memory holds the slots and the table, 48 bytes a chunk, and no more.
func TestMemoryIsFlat(t *testing.T) {
	const size = 64 << 30
	var peak uint64
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var calls int64
	table, err := cut(t.Context(), &endless{size: size}, io.Discard, func(raw, _ int64) {
		if calls++; calls%4096 == 0 {
			runtime.GC()
			var now runtime.MemStats
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc-min(now.HeapAlloc, before.HeapAlloc))
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if table.DiskSize != size || calls != size/golden.DefaultChunkSize {
		t.Errorf("%d bytes in %d calls of progress; want %d in %d", table.DiskSize, calls, int64(size), size/golden.DefaultChunkSize)
	}
	if limit := uint64(64+24*runtime.GOMAXPROCS(0)) << 20; peak > limit {
		t.Errorf("%d MiB of heap for a 64 GiB disk; want at most %d", peak>>20, limit>>20)
	}
}

// A stream of zeros without an end, which a few kilobytes of gzip are, must
// not fill the memory with a table.
func TestDiskSizeIsCapped(t *testing.T) {
	d := &endless{size: 1 << 62}
	_, err := cutter{hash: golden.SHA256, limit: 1000}.cut(t.Context(), d, io.Discard)
	if !errors.Is(err, errTooLarge) {
		t.Errorf("cut of a disk without an end = %v; want %v", err, errTooLarge)
	}
	if n := d.reads.Load(); n > 1100 {
		t.Errorf("%d chunks were read; want about 1000", n)
	}
}

func TestProgressHearsOfEveryChunk(t *testing.T) {
	raw := sample(5)
	var lastRaw, lastStored int64
	var calls int
	var blob bytes.Buffer
	_, err := cut(t.Context(), memory{bytes.NewReader(raw)}, &blob, func(raw, stored int64) {
		if raw <= lastRaw || stored <= lastStored {
			t.Errorf("progress went from %d, %d to %d, %d", lastRaw, lastStored, raw, stored)
		}
		lastRaw, lastStored = raw, stored
		calls++
	})
	if err != nil {
		t.Fatal(err)
	}
	if calls != 6 || lastRaw != int64(len(raw)) || lastStored != int64(blob.Len()) {
		t.Errorf("%d calls, the last with %d, %d; want 6, %d, %d", calls, lastRaw, lastStored, len(raw), blob.Len())
	}
}

// failing is a store that takes some bytes.
type failing struct{ left int }

var errFull = errors.New("full")

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestFailedWriteStopsTheReading(t *testing.T) {
	d := &endless{size: 1 << 40}
	_, err := within(t, func() (*golden.Table, error) {
		return cut(t.Context(), d, &failing{left: 4096}, nil)
	})
	if !errors.Is(err, errFull) {
		t.Errorf("cut into a full store = %v; want %v", err, errFull)
	}
	if n := d.reads.Load(); n > 1000 {
		t.Errorf("%d chunks were read into a full store", n)
	}
}

func TestCancelEndsTheReading(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("operator left")
	_, err := within(t, func() (*golden.Table, error) {
		return cut(ctx, &endless{size: 1 << 40}, io.Discard, func(raw, _ int64) {
			if raw > 50<<20 {
				cancel(why)
			}
		})
	})
	if !errors.Is(err, why) {
		t.Errorf("cut, cancelled = %v; want %v", err, why)
	}
}

func BenchmarkChunks(b *testing.B) {
	raw := sample(32)
	for _, level := range []Level{Fast, Default, Best} {
		b.Run(level.String(), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				k := cutter{hash: DefaultHash, level: level, limit: maxChunks}
				if _, err := k.cut(b.Context(), memory{bytes.NewReader(raw)}, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
