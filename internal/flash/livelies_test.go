package flash

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// bySystem begins every sector that a system writes: its writes are nobody's
// to prove, so a disk must not lie about them.
var bySystem = []byte("system:")

// forgetfulDisk loses a write of the engine now and then.
type forgetfulDisk struct {
	mu   sync.Mutex
	rnd  *rand.Rand
	now  []byte
	lost int
	most int // of what it loses
}

func (d *forgetfulDisk) Size() int64                              { return int64(len(d.now)) }
func (d *forgetfulDisk) SectorSize() int                          { return sector }
func (d *forgetfulDisk) Flush() error                             { return nil }
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
	if !bytes.HasPrefix(p, bySystem) && d.lost < d.most && d.rnd.IntN(20) == 0 {
		d.lost++
		return nil
	}
	copy(d.now[off:], p)
	return nil
}

// TestLiveOnALyingDisk has a system read and write all over a disk that loses
// some of what the engine writes. The system never sees that, and the disk is
// mended before it is sealed, or does not boot.
func TestLiveOnALyingDisk(t *testing.T) {
	im := newGPTImage(t, 12*mib)
	var mended, refused int
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 5))
			old := randomDisk(byte(seed), 16*mib)
			model := flashed(t, old, im)
			d := &forgetfulDisk{rnd: rand.New(rand.NewPCG(seed, 6)), now: old, most: 1 + int(seed%3)}
			stop := make(chan struct{})
			ends := sync.OnceFunc(func() { close(stop) })
			var user sync.WaitGroup
			f, err := New(Job{Image: im.Image, Source: im, Disk: d, Move: func(_ context.Context, settle func() error) error {
				ends()
				user.Wait()
				return settle()
			}})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() {
				_, err := f.Run(t.Context())
				ended <- err
			}()
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
	t.Logf("%d disks mended, %d refused", mended, refused)
	if mended == 0 {
		t.Error("no disk was mended: the test saw nothing")
	}
}

// useAll reads and writes at random until stop is closed or the disk fails.
func useAll(t *testing.T, l *Live, rnd *rand.Rand, model []byte, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
		}
		n := sector * (1 + rnd.IntN(64))
		off := mib + rnd.IntN((10*mib-n)/sector)*sector
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
