package flash

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/live"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/test/reliability"
)

var liveLies = flag.Int("livelies", 30, "lying disks under a system that runs from them")

// bySystem begins every sector that a system writes: its writes are nobody's
// to prove, so a disk must not lie about them.
var bySystem = []byte("system:")

// The system of these tests has its part of the disk, so that a write that goes
// astray need not hit what nobody could mend. It is the last one: the others
// are proved while it still arrives.
const (
	systemStart = 14 * mib
	systemEnd   = 23 * mib
	liesImage   = 24 * mib
)

// forgetfulDisk loses writes of the engine: at once, or with the next flush, as
// long as its cache has them, or to another place.
type forgetfulDisk struct {
	mu    sync.Mutex
	rnd   *rand.Rand
	now   []byte
	about func(off, n int64) bool // what it lies about now and then
	lost  int
	most  int          // of what it loses
	cache []lostSector // of what goes with the next flush
}

type lostSector struct {
	off        int64
	before, is []byte
}

// aboutKinds are kinds of writes, by offset and length.
var aboutKinds = []func(off, n int64) bool{
	func(_, n int64) bool { return n == golden.MinChunkSize },                                           // chunks
	func(off, n int64) bool { return off >= systemStart && off < systemEnd && n < golden.MinChunkSize }, // what is laid around a system's
	func(off, n int64) bool { return off == sector || off >= systemEnd },                                // head and tail
	func(int64, int64) bool { return true },
}

func (d *forgetfulDisk) Size() int64                              { return int64(len(d.now)) }
func (d *forgetfulDisk) SectorSize() int                          { return sector }
func (d *forgetfulDisk) OpenReadBack() (blockdev.ReadBack, error) { return d, nil }
func (d *forgetfulDisk) Close() error                             { return nil }
func (d *forgetfulDisk) ZeroRange(off, n int64) error             { return d.put(make([]byte, n), off) }
func (d *forgetfulDisk) WriteAt(p []byte, off int64) (int, error) { return len(p), d.put(p, off) }

func (d *forgetfulDisk) ReadAt(p []byte, off int64) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(p, d.now[off:]), nil
}

func (d *forgetfulDisk) put(p []byte, off int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !bytes.HasPrefix(p, bySystem) && d.lost < d.most && d.about(off, int64(len(p))) && d.rnd.IntN(4) == 0 {
		d.lost++
		switch d.rnd.IntN(3) {
		case 0:
			if n := len(p); n <= mib {
				copy(d.now[mib+d.rnd.IntN((systemStart-mib-n)/sector+1)*sector:], p)
			}
			return nil
		case 1:
			return nil
		}
		for at := int64(0); at < int64(len(p)); at += sector {
			d.cache = append(d.cache, lostSector{off + at, bytes.Clone(d.now[off+at:][:sector]), bytes.Clone(p[at:][:sector])})
		}
	}
	copy(d.now[off:], p)
	return nil
}

func (d *forgetfulDisk) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.cache {
		if now := d.now[s.off:][:sector]; bytes.Equal(now, s.is) { // nobody has written there since
			copy(now, s.before)
		}
	}
	d.cache = nil
	return nil
}

// TestLiveOnALyingDisk has a system read and write on a disk that loses
// some of what the engine writes. The system never sees that, and the disk is
// mended before it is sealed, or does not boot.
func TestLiveOnALyingDisk(t *testing.T) {
	im := newGPTImage(t, liesImage)
	start := time.Now()
	var mended, refused int
	for seed := range uint64(*liveLies) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 5))
			old := randomDisk(byte(seed), liesImage+4*mib)
			model := flashed(t, old, im)
			d := &forgetfulDisk{rnd: rand.New(rand.NewPCG(seed, 6)), now: old, about: aboutKinds[seed%4], most: 1 + int(seed/4%3)}
			stop := make(chan struct{})
			ends := sync.OnceFunc(func() { close(stop) })
			var user sync.WaitGroup
			f, err := New(Job{Image: im.Image, Source: im.by(distant{im}), Disk: d, Move: func(_ context.Context, settle func() error) error {
				ends()
				user.Wait()
				return settle()
			}})
			if err != nil {
				t.Fatal(err)
			}
			ended := takeOff(t.Context(), f)
			l, err := f.Live(t.Context())
			if err != nil {
				// It may lie about LBA 0 twice before anything runs from it.
				if err := <-ended; !errors.Is(err, ErrMedium) {
					t.Errorf("seed %d: Run() = %v before anybody could use the disk", seed, err)
				}
				return
			}
			user.Go(func() { useAll(t, l, rnd, model, stop) })
			err = <-ended
			ends()
			user.Wait()
			switch {
			case errors.Is(err, ErrMedium):
				refused++
				if !bytes.Equal(d.now[:sector], make([]byte, sector)) {
					t.Errorf("seed %d: %v, and LBA 0 is there", seed, err)
				}
			case err != nil:
				t.Errorf("seed %d: Run() = %v", seed, err)
			case !bytes.Equal(d.now, model):
				t.Errorf("seed %d: sealed with a lie; %d writes were lost", seed, d.lost)
			default:
				mended++
			}
		})
	}
	if mended == 0 {
		t.Error("no disk was mended: the test saw nothing")
	}
	reliability.Record(t, reliability.Row{
		Group: reliability.Instant,
		What: "whole flashes under a system that reads and writes; of what the engine writes one to three pieces are lost, at once or " +
			"when flushed, or go astray",
		Count: int64(*liveLies), Unit: "disks", Took: time.Since(start),
		Result:  fmt.Sprintf("no lie was read or sealed: %d disks mended, %d refused and left so that they do not boot", mended, refused),
		Command: fmt.Sprintf("go test ./internal/flash -run '^TestLiveOnALyingDisk$' -timeout 0 -livelies %d", *liveLies),
	})
}

// distant is a source that the engine waits for.
type distant struct{ *testImage }

func (s distant) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	time.Sleep(50 * time.Millisecond)
	return s.testImage.ReadRange(ctx, off, length)
}

// useAll reads and writes at random until stop is closed or the disk fails.
func useAll(t *testing.T, l *live.Disk, rnd *rand.Rand, model []byte, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
		}
		n := sector * (1 + rnd.IntN(64))
		off := systemStart + rnd.IntN((systemEnd-systemStart-n)/sector)*sector
		p := make([]byte, n)
		if rnd.IntN(2) == 0 {
			if _, err := l.ReadAt(p, int64(off)); err != nil {
				return // the flight has ended
			}
			if !bytes.Equal(p, model[off:off+n]) {
				t.Errorf("the system read other bytes than it should at byte %d", off)
				return
			}
			continue
		}
		for at := 0; at < n; at += sector {
			copy(p[at:], bySystem)
			p[at+len(bySystem)] = byte(rnd.Uint32())
		}
		if _, err := l.WriteAt(p, int64(off)); err != nil {
			return
		}
		copy(model[off:], p)
	}
}
