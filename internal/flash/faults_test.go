package flash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/test/reliability"
)

// faultAt makes the nth call of a run fail.
type faultAt struct {
	nth  int
	err  error // nil: it hangs
	seen int
	hit  opKind
	// late is how many writes came after Run had given up.
	late int
}

// run flashes with the fault and tells how long it took by the disk's clock.
func (f *faultAt) run(t *testing.T, im *testImage, used *usedDisk, patience time.Duration) (took time.Duration, j *judge, err error) {
	rnd := rand.New(rand.NewPCG(*seed, uint64(f.nth)))
	d := newModelDisk(used.old)
	d.rnd = rnd
	j = newJudge(d, used.old, used.want, rnd)
	d.schedule = newScheduler(rnd)
	if f.err == nil {
		d.schedule.hang = func(o *op) bool { return o.kind != opSource && f.next(o.kind) }
	} else {
		d.fault = func(kind opKind, _ int64, _ []byte) error {
			if f.next(kind) {
				return f.err
			}
			return nil
		}
	}
	synctest.Test(t, func(t *testing.T) {
		d.schedule.wake = make(chan struct{}, 1)
		start, done := time.Now(), make(chan struct{})
		go func() {
			defer close(done)
			_, err = Run(t.Context(), Job{
				Image: im.Image, Source: im.by(scheduledSource{im, d.schedule}), Disk: d, Workers: 2,
				DiskPatience: patience,
			})
			took = time.Since(start)
			f.late = -d.begun()
		}()
		d.schedule.run(done)
		f.late += d.begun()
	})
	return took, j, err
}

func (f *faultAt) next(kind opKind) bool {
	if f.seen++; f.seen == f.nth {
		f.hit = kind
		return true
	}
	return false
}

// Every call to the disk is made to fail in turn, in every way: never a
// success, never a disk that boots half an image, at any step, and never a
// wait past the deadline.
func TestEveryCallFailsInTurn(t *testing.T) {
	start := time.Now()
	const patience = 7 * time.Minute
	im := newTestImage(t, randomDisk(2, 5*mib/2), "none")
	old := oldDisk("GPT", 3, 3*mib, sector)
	used := &usedDisk{old, flashed(t, old, im)}
	whole := faultAt{err: syscall.EIO}
	if _, _, err := whole.run(t, im, used, patience); err != nil {
		t.Fatal(err)
	}
	kinds := map[opKind]int{}
	var injected int64
	for name, fault := range map[string]error{"EIO": syscall.EIO, "ENOSPC": syscall.ENOSPC, "a short write": io.ErrShortWrite, "a hang": nil} {
		for n := 1; n <= whole.seen; n++ {
			f := faultAt{nth: n, err: fault}
			took, j, err := f.run(t, im, used, patience)
			if f.seen < n {
				continue
			}
			injected++
			kinds[f.hit]++
			var stuck *StuckError
			switch {
			case err == nil:
				t.Errorf("call %d: %s: Run = nil; want an error", n, name)
			case fault != nil && !errors.Is(err, fault):
				t.Errorf("call %d: %s: Run = %v; want %v", n, name, err, fault)
			case fault == nil && (!errors.As(err, &stuck) || took > patience*11/10+time.Second):
				t.Errorf("call %d: %s: Run = %v after %v; want a StuckError within %v", n, name, err, took, patience)
			case f.late > 0:
				t.Errorf("call %d: %s: %d writes began after Run had ended", n, name, f.late)
			case j.broke != nil:
				t.Errorf("call %d: %s: %v", n, name, j.broke)
			case fault != nil && !allZero(j.disk.now[:sector]) && !bytes.Equal(j.disk.now, used.old):
				t.Errorf("call %d: %s: the disk boots although Run = %v", n, name, err)
			}
		}
	}
	for _, kind := range []opKind{opWrite, opZero, opFlush, opRead, opOpen} {
		if kinds[kind] == 0 {
			t.Errorf("no call of kind %d failed: %v", kind, kinds)
		}
	}
	reliability.Record(t, reliability.Row{
		Group: reliability.Faults,
		What:  "each call to the disk in turn made to end with EIO, with ENOSPC, with a short count, or never",
		Count: injected, Unit: "flashes", Seed: *seed, Took: time.Since(start),
		Result:  fmt.Sprintf("no success, no half image at any step, no wait longer than the disk's patience (%d calls)", whole.seen),
		Command: fmt.Sprintf("go test ./internal/flash -run '^TestEveryCallFailsInTurn$' -timeout 0 -seed %d", *seed),
	})
}
