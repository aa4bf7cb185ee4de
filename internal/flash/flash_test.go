package flash

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/disk/blockdev"
)

var cuts = flag.Int("cuts", 20_000, "simulated power cuts")

const mib = 1 << 20

// flashed is what the disk must hold when it is sealed: the image, and of the
// rest of the disk what the wipe of old signatures left.
func flashed(old, image []byte, d *modelDisk) []byte {
	want := bytes.Clone(old)
	for _, r := range blockdev.SignatureRanges(int64(len(old))) {
		clear(want[r.Offset : r.Offset+r.Length])
	}
	copy(want, image)
	return want
}

func TestFlashWritesTheImage(t *testing.T) {
	old := randomDisk(1, 9*mib)
	im := newTestImage(t, randomDisk(2, 6*mib+sector), "none")
	for _, verify := range []Verify{VerifyFull, VerifySample, VerifyOff} {
		d := newModelDisk(old)
		result, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: d, Verify: verify})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(d.now, flashed(old, im.raw, d)) {
			t.Errorf("read-back %v: the disk does not hold the image", verify)
		}
		if result.Written == 0 || result.Zeroed == 0 || result.Kept != 0 || result.Wire == 0 || len(result.Phases) != 5 {
			t.Errorf("result = %+v", result)
		}
	}
}

func TestFlashRefusesWhatDoesNotFit(t *testing.T) {
	im := newTestImage(t, randomDisk(1, 4*mib), "none")
	for name, d := range map[string]Disk{
		"one sector short": newModelDisk(make([]byte, 4*mib-sector)),
		"4K sectors":       bigSectors{newModelDisk(make([]byte, 8*mib))},
	} {
		_, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: d})
		if !errors.Is(err, ErrUnfit) {
			t.Errorf("%s: Run = %v; want ErrUnfit", name, err)
		}
		if m, ok := d.(*modelDisk); ok && len(m.ops) > 0 {
			t.Errorf("%s: the disk was written to", name)
		}
	}
}

type bigSectors struct{ *modelDisk }

func (bigSectors) SectorSize() int { return 4096 }

// A power cut anywhere leaves the old disk untouched, or a disk with a zero
// LBA 0, or the whole image. Nothing else, whatever a disk does with writes
// that were not flushed.
func TestPowerCutNeverLeavesHalfAnImage(t *testing.T) {
	old := randomDisk(1, 4*mib)
	im := newTestImage(t, randomDisk(2, 3*mib), "none")
	d := newModelDisk(old)
	if _, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: d, Workers: 3}); err != nil {
		t.Fatal(err)
	}
	want := flashed(old, im.raw, d)
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	var untouched, gated, sealed int
	for range *cuts {
		n := rnd.IntN(len(d.ops) + 1)
		// The gate alone decides most cuts, and every sector falls by itself.
		gate := d.gateAfterCut(old, n, rnd)
		if allZero(gate) {
			gated++
			continue
		}
		medium := d.afterCut(old, n, rnd)
		copy(medium, gate)
		switch {
		case bytes.Equal(medium, want):
			sealed++
		case bytes.Equal(medium, old):
			untouched++
		default:
			t.Fatalf("seed %d: cut after %d of %d operations: LBA 0 is there, the image is not", seed, n, len(d.ops))
		}
	}
	if untouched == 0 || gated == 0 || sealed == 0 {
		t.Errorf("%d cuts left the disk untouched, %d gated, %d sealed; want some of each", untouched, gated, sealed)
	}
}

// After any cut, running the job again ends well and fetches little again.
func TestFlashResumesAfterPowerCut(t *testing.T) {
	old := randomDisk(1, 24*mib)
	im := newTestImage(t, randomDisk(2, 24*mib), "none")
	whole := newModelDisk(old)
	full, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: whole, Workers: 2})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for range 10 {
		n := rnd.IntN(len(whole.ops) + 1)
		medium := whole.afterCut(old, n, rnd)
		again := newModelDisk(medium)
		result, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: again})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.now, im.raw) {
			t.Fatalf("cut after %d operations: the second run left another disk", n)
		}
		if result.Kept+result.Written+result.Zeroed < int64(len(im.raw))-heldBytes*2 {
			t.Errorf("cut after %d: kept %d, wrote %d, zeroed %d of %d bytes", n, result.Kept, result.Written, result.Zeroed, len(im.raw))
		}
		if n == len(whole.ops) && result.Wire > full.Wire/4 {
			t.Errorf("a finished disk was fetched again: %d of %d bytes", result.Wire, full.Wire)
		}
	}
}

// Every operation of a flash is made to fail in turn: never a success, never
// a disk that boots.
func TestEveryFailingOperationIsAnError(t *testing.T) {
	old := randomDisk(1, 3*mib)
	im := newTestImage(t, randomDisk(2, 3*mib), "none")
	count := func(fault func(int, opKind) error) (*modelDisk, int, error) {
		d := newModelDisk(old)
		var calls atomic.Int64
		d.fault = func(kind opKind, _ int64, _ []byte) error { return fault(int(calls.Add(1)), kind) }
		_, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: d, Workers: 1})
		return d, int(calls.Load()), err
	}
	_, total, err := count(func(int, opKind) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= total; n++ {
		d, _, err := count(func(call int, _ opKind) error {
			if call == n {
				return syscall.EIO
			}
			return nil
		})
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("operation %d of %d failed: Run = %v; want EIO", n, total, err)
		}
		if !allZero(d.now[:sector]) && !bytes.Equal(d.now, old) {
			t.Errorf("operation %d of %d failed: the disk boots", n, total)
		}
	}
}

// A disk that loses, misplaces or changes a write is found before the seal.
func TestLyingDiskIsFound(t *testing.T) {
	old := randomDisk(1, 6*mib)
	im := newTestImage(t, randomDisk(2, 6*mib), "none")
	for name, lie := range map[string]func(p []byte){
		"flipped bit": func(p []byte) { p[len(p)/2] ^= 4 },
		"lost write":  func(p []byte) { clear(p) },
	} {
		for _, lies := range []int{1, 2} {
			// A write at this place goes wrong, the first time or always.
			for _, at := range []int64{2 * mib, 3*mib + 5*64<<10, 0, sector} {
				d := newModelDisk(old)
				var told atomic.Int64
				d.fault = func(kind opKind, off int64, p []byte) error {
					if kind == opWrite && off <= at && at < off+int64(len(p)) && !allZero(p) && told.Add(1) <= int64(lies) {
						lie(p)
					}
					return nil
				}
				result, err := Run(t.Context(), Job{Image: im.Image, Source: im, Disk: d})
				switch {
				case told.Load() == 0:
					continue // a zero chunk lies there
				case lies == 1 && (err != nil || result.Repaired == 0 || !bytes.Equal(d.now, im.raw)):
					t.Errorf("%s once at %d: %+v, %v; want it repaired", name, at, result, err)
				case lies == 2 && (err == nil || !strings.Contains(err.Error(), "twice")):
					t.Errorf("%s twice at %d: Run = %v; want an error", name, at, err)
				case lies == 2 && !allZero(d.now[:sector]):
					t.Errorf("%s twice at %d: the disk boots", name, at)
				}
			}
		}
	}
}

// sourceFunc is a source made of a function.
type sourceFunc func(ctx context.Context, off, length int64) (io.ReadCloser, error)

func (f sourceFunc) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	return f(ctx, off, length)
}

// A source that breaks off all the time costs waits, and no byte twice.
func TestBrokenConnectionsFetchNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		im := newTestImage(t, randomDisk(2, 12*mib), "none")
		var asked atomic.Int64
		broken := sourceFunc(func(ctx context.Context, off, length int64) (io.ReadCloser, error) {
			if asked.Add(1)%3 == 0 {
				return nil, errors.New("connection refused")
			}
			body, _ := im.ReadRange(ctx, off, length)
			return io.NopCloser(io.LimitReader(body, 100_000)), nil
		})
		d := newModelDisk(make([]byte, 12*mib))
		result, err := Run(t.Context(), Job{Image: im.Image, Source: broken, Disk: d})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(d.now, im.raw) {
			t.Error("the disk does not hold the image")
		}
		if result.Wire > int64(len(im.blob)) {
			t.Errorf("fetched %d bytes of a blob of %d", result.Wire, len(im.blob))
		}
	})
}

// A source that falls silent is asked again; one that stays silent ends the
// flash when patience does, not before and not never.
func TestSilentSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		im := newTestImage(t, randomDisk(2, 3*mib), "none")
		silent := sourceFunc(func(ctx context.Context, _, _ int64) (io.ReadCloser, error) {
			return hangingBody{ctx}, nil
		})
		d := newModelDisk(make([]byte, 3*mib))
		start := time.Now()
		_, err := Run(t.Context(), Job{Image: im.Image, Source: silent, Disk: d, Retry: Retry{Patience: 10 * time.Minute}})
		if took := time.Since(start); err == nil || !errors.Is(err, errStalled) || took < 10*time.Minute || took > 13*time.Minute {
			t.Errorf("Run = %v after %v; want a stall after about 10 minutes", err, took)
		}
		if !allZero(d.now[:sector]) {
			t.Error("the disk boots")
		}
	})
}

type hangingBody struct{ ctx context.Context }

func (b hangingBody) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}
func (hangingBody) Close() error { return nil }

func TestCancelledFlashEndsAtOnce(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 3*mib), "none")
	ctx, cancel := context.WithCancel(t.Context())
	stuck := sourceFunc(func(ctx context.Context, _, _ int64) (io.ReadCloser, error) {
		cancel()
		return hangingBody{ctx}, nil
	})
	_, err := Run(ctx, Job{Image: im.Image, Source: stuck, Disk: newModelDisk(make([]byte, 3*mib))})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v; want context.Canceled", err)
	}
}

// Wrong bytes are asked for again; a source that has no others is refused.
func TestHostileSource(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 5*mib), "none")
	for name, corrupt := range map[string]func(frames []byte){
		"flipped":  func(p []byte) { p[len(p)/2] ^= 1 },
		"zeroed":   func(p []byte) { clear(p) },
		"shifted":  func(p []byte) { copy(p, p[1:]) },
		"replayed": func(p []byte) { copy(p[len(p)/2:], im.blob) },
	} {
		for _, times := range []int64{1, 1 << 40} {
			var told atomic.Int64
			hostile := sourceFunc(func(_ context.Context, off, length int64) (io.ReadCloser, error) {
				p := bytes.Clone(im.blob[off : off+length])
				if told.Add(1) <= times {
					corrupt(p)
				}
				return io.NopCloser(bytes.NewReader(p)), nil
			})
			d := newModelDisk(make([]byte, 5*mib))
			_, err := Run(t.Context(), Job{Image: im.Image, Source: hostile, Disk: d})
			switch {
			case times == 1 && (err != nil || !bytes.Equal(d.now, im.raw)):
				t.Errorf("%s once: Run = %v; want the image", name, err)
			case times > 1 && (err == nil || !allZero(d.now[:sector])):
				t.Errorf("%s always: Run = %v; want an error and a disk that does not boot", name, err)
			}
		}
	}
}

func TestMissingBlobIsNotWaitedFor(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 3*mib), "none")
	gone := sourceFunc(func(context.Context, int64, int64) (io.ReadCloser, error) {
		return nil, &PermanentError{errors.New("404 Not Found")}
	})
	_, err := Run(t.Context(), Job{Image: im.Image, Source: gone, Disk: newModelDisk(make([]byte, 3*mib))})
	if err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("Run = %v; want the 404", err)
	}
}

func TestProgressOnlyGrowsWithinAPhase(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		im := newTestImage(t, randomDisk(2, 8*mib), "none")
		slow := sourceFunc(func(ctx context.Context, off, length int64) (io.ReadCloser, error) {
			time.Sleep(time.Second)
			return im.ReadRange(ctx, off, length)
		})
		var seen []Progress
		_, err := Run(t.Context(), Job{
			Image: im.Image, Source: slow, Disk: newModelDisk(make([]byte, 8*mib)),
			Progress: func(p Progress) { seen = append(seen, p) },
		})
		if err != nil || len(seen) < 4 {
			t.Fatalf("%d reports, %v; want several", len(seen), err)
		}
		for i, p := range seen {
			if p.Done > p.Total {
				t.Errorf("%+v: more done than there is", p)
			}
			if i > 0 && p.Phase == seen[i-1].Phase && p.Phase != PhaseScan && p.Done < seen[i-1].Done {
				t.Errorf("%+v after %+v", p, seen[i-1])
			}
		}
	})
}

func BenchmarkFlash(b *testing.B) {
	im := newTestImage(b, randomDisk(2, 64*mib), "none")
	for _, workers := range []int{1, 2, 8} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			b.SetBytes(64 * mib)
			b.ReportAllocs()
			for b.Loop() {
				d := newModelDisk(make([]byte, 64*mib))
				if _, err := Run(b.Context(), Job{Image: im.Image, Source: im, Disk: d, Workers: workers}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
