package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/flash/supply"
)

func TestFlashWritesTheImage(t *testing.T) {
	old := randomDisk(1, 9*mib)
	im := newTestImage(t, randomDisk(2, 6*mib+sector), "none")
	for _, verify := range []Verify{VerifyFull, VerifySample, VerifyOff} {
		d := newModelDisk(old)
		result, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(im), Disk: d, Verify: verify})
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(d.now, flashed(t, old, im)) {
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
		_, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(im), Disk: d})
		if !errors.Is(err, ErrUnfit) {
			t.Errorf("%s: Run = %v; want ErrUnfit", name, err)
		}
		if m, ok := d.(*modelDisk); ok && m.step > 0 {
			t.Errorf("%s: the disk was written to", name)
		}
	}
}

type bigSectors struct{ *modelDisk }

func (bigSectors) SectorSize() int { return 4096 }

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
		result, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(broken), Disk: d})
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
		_, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(silent), Disk: d, Retry: supply.Retry{Patience: 10 * time.Minute}})
		if took := time.Since(start); err == nil || !errors.Is(err, supply.ErrStalled) || took < 10*time.Minute || took > 13*time.Minute {
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
	_, err := Run(ctx, Job{Image: im.Image, Source: im.by(stuck), Disk: newModelDisk(make([]byte, 3*mib))})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v; want context.Canceled", err)
	}
}

func TestMissingBlobIsNotWaitedFor(t *testing.T) {
	im := newTestImage(t, randomDisk(2, 3*mib), "none")
	gone := sourceFunc(func(context.Context, int64, int64) (io.ReadCloser, error) {
		return nil, notThere("404 Not Found")
	})
	_, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(gone), Disk: newModelDisk(make([]byte, 3*mib))})
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
			Image: im.Image, Source: im.by(slow), Disk: newModelDisk(make([]byte, 8*mib)),
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
			if last := i+1 == len(seen) || seen[i+1].Phase != p.Phase; last && p.Done != p.Total {
				t.Errorf("the last word about a phase is %+v; want all of it", p)
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
				if _, err := Run(b.Context(), Job{Image: im.Image, Source: im.by(im), Disk: d, Workers: workers}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
