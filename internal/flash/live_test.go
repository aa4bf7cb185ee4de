package flash

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/flash/live"
	"github.com/gild-dev/gild/internal/flash/supply"
)

// flaky is a source that is away for a while, breaks off, and gives wrong
// bytes now and then.
type flaky struct {
	*testImage
	away atomic.Bool
	mu   sync.Mutex
	rnd  *rand.Rand
}

func (s *flaky) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	if s.away.Load() {
		return nil, notThere("no such blob") // even that passes
	}
	body, err := s.testImage.ReadRange(ctx, off, length)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.rnd.IntN(8) == 0:
		return io.NopCloser(io.LimitReader(body, s.rnd.Int64N(length))), err
	case s.rnd.IntN(8) == 0:
		p, err := io.ReadAll(body)
		p[s.rnd.IntN(len(p))] ^= 1
		return io.NopCloser(bytes.NewReader(p)), err
	}
	return body, err
}

// user is a system that reads and writes a part of a live disk that is its
// own, and knows what it must see there.
type user struct {
	rnd      *rand.Rand
	from, to int
	model    []byte // of the whole disk
}

// use is the system at work until the disk is complete, with a rest now and
// then.
func (u *user) use(l *live.Disk, until <-chan struct{}) error {
	for k := 0; ; k++ {
		if k%50 == 0 {
			time.Sleep(2 * live.LongestPause)
		}
		select {
		case <-until:
			return nil
		default:
		}
		n := sector * (1 + u.rnd.IntN(300))
		off := u.from + u.rnd.IntN((u.to-u.from-n)/sector)*sector
		p := make([]byte, n)
		if u.rnd.IntN(3) == 0 {
			for i := range p {
				p[i] = byte(u.rnd.Uint32())
			}
			if _, err := l.WriteAt(p, int64(off)); err != nil {
				return err
			}
			copy(u.model[off:], p)
			continue
		}
		if _, err := l.ReadAt(p, int64(off)); err != nil {
			return err
		}
		if !bytes.Equal(p, u.model[off:off+n]) {
			return errors.New("the system read other bytes than it should")
		}
	}
}

// TestLiveFlight uses a disk from several sides while it is written from a
// source that fails, and moves to it in the end.
func TestLiveFlight(t *testing.T) {
	for _, old := range []string{"empty", "GPT", "half"} {
		t.Run(old, func(t *testing.T) {
			im := newGPTImage(t, 24*mib)
			before := make([]byte, 32*mib)
			switch old {
			case "GPT":
				before = oldDisk("GPT", 3, 32*mib, sector)
			case "half":
				copy(before, im.raw[:12*mib])
			}
			want := flashed(t, before, im)
			path := filepath.Join(t.TempDir(), "disk")
			d := fileDisk(t, path, before)
			source := &flaky{testImage: im, rnd: rand.New(rand.NewPCG(1, 2))}

			stop := make(chan struct{})
			var users sync.WaitGroup
			var l *live.Disk
			job := Job{Image: im.Image, Source: im.by(source), Disk: d, Retry: supply.Retry{First: time.Millisecond, Longest: 5 * time.Millisecond}}
			job.Move = func(_ context.Context, settle func() error) error {
				close(stop)
				users.Wait()
				if gate := readAt(t, d, 0, sector); !bytes.Equal(gate, make([]byte, sector)) {
					t.Error("LBA 0 is on the disk before the seal")
				}
				return settle()
			}
			f, err := New(job)
			if err != nil {
				t.Fatal(err)
			}
			ended := takeOff(t.Context(), f)
			if l, err = f.Live(t.Context()); err != nil {
				t.Fatal(err)
			}
			source.away.Store(true)
			if _, err := partition.Read(l, l.Size(), l.SectorSize()); err != nil {
				t.Errorf("the live disk's partition table: %v", err)
			}
			if gate := readAt(t, l, 0, sector); !bytes.Equal(gate, want[:sector]) {
				t.Error("the live disk's LBA 0 is not what it will be")
			}
			for k := range 4 {
				u := &user{rand.New(rand.NewPCG(3, uint64(k))), mib + k*7*mib, mib + (k+1)*7*mib, want}
				users.Go(func() {
					if err := u.use(l, stop); err != nil {
						t.Error(err)
					}
				})
			}
			time.Sleep(50 * time.Millisecond)
			source.away.Store(false)
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			if got := readAt(t, d, 0, len(want)); !bytes.Equal(got, want) {
				t.Error("the disk is another one than the system saw")
			}
			if _, err := l.WriteAt(make([]byte, sector), mib); !errors.Is(err, live.ErrMoved) {
				t.Errorf("WriteAt() after the move = %v; want %v", err, live.ErrMoved)
			}
			if text, err := exec.CommandContext(t.Context(), "sgdisk", "-v", path).CombinedOutput(); err == nil &&
				!bytes.Contains(text, []byte("No problems found")) {
				t.Errorf("sgdisk -v: %s", text)
			}
		})
	}
}

// takeOff runs a flight, and returns what gets its error in the end.
func takeOff(ctx context.Context, f *Flight) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := f.Run(ctx)
		ended <- err
	}()
	return ended
}

// A chunk that is overwritten as a whole is not fetched, and one of zeros that
// is written to keeps its zeros.
func TestLiveWritesDoNotWait(t *testing.T) {
	im := newGPTImage(t, 8*mib)
	d := fileDisk(t, filepath.Join(t.TempDir(), "disk"), make([]byte, 8*mib))
	source := &flaky{testImage: im, rnd: rand.New(rand.NewPCG(1, 2))}
	moved := make(chan struct{})
	f, err := New(Job{
		Image: im.Image, Source: im.by(source), Disk: d, Retry: supply.Retry{First: time.Millisecond, Longest: time.Millisecond},
		Move: func(ctx context.Context, settle func() error) error {
			<-moved
			return settle()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := takeOff(ctx, f)
	l, err := f.Live(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	source.away.Store(true)
	written := bytes.Repeat([]byte{7}, 3*mib)
	for off := 2 * mib; off < 5*mib; off += 4096 {
		if _, err := l.WriteAt(written[:4096], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	if got := readAt(t, l, 2*mib, 3*mib); !bytes.Equal(got, written) {
		t.Error("the system does not read what it wrote while the server is away")
	}
	for _, bad := range []int64{-512, 1, 8*mib - 511, 8 * mib} {
		if _, err := l.WriteAt(written[:512], bad); err == nil {
			t.Errorf("WriteAt(%d) = nil; want an error", bad)
		}
	}
	// What waits for the source ends with the flight.
	waits := make(chan error, 1)
	go func() {
		_, err := l.ReadAt(make([]byte, 4096), 6*mib)
		waits <- err
	}()
	select {
	case err := <-waits:
		if err != nil { // it may have been there already
			t.Errorf("ReadAt() while the server is away = %v; want it to wait", err)
		}
		waits <- nil
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("Run() = nil; want that it was cancelled")
	}
	<-waits
	close(moved)
}

// A system waits for a source for as long as it takes, whatever that says, and
// the wait and its reason are told.
func TestLiveSourceIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		im := newGPTImage(t, 4*mib)
		source := &flaky{testImage: im, rnd: rand.New(rand.NewPCG(1, 2))}
		d := &forgetfulDisk{now: make([]byte, 4*mib)}
		var latest atomic.Pointer[Progress]
		f, err := New(Job{
			Image: im.Image, Source: im.by(source), Disk: d, Move: func(_ context.Context, settle func() error) error { return settle() },
			Progress: func(p Progress) { latest.Store(&p) },
		})
		if err != nil {
			t.Fatal(err)
		}
		ended := takeOff(t.Context(), f)
		live, err := f.Live(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		source.away.Store(true)
		go func() { _, _ = live.ReadAt(make([]byte, 2*mib), mib) }()
		time.Sleep(9 * time.Second)
		synctest.Wait()
		if told := latest.Load(); told.Unmet != 0 {
			t.Errorf("after 9 s the wait is told: %v", told.Unmet)
		}
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		if told := latest.Load(); told.Unmet < 10*time.Hour || told.Trouble == nil {
			t.Errorf("told: waiting for %v, because of %v; want 10 h, and a reason", told.Unmet, told.Trouble)
		}
		source.away.Store(false)
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v; want nil, once the source is back", err)
		}
		if told := latest.Load(); told.Unmet != 0 || told.Trouble != nil {
			t.Errorf("told at the end: waiting for %v, because of %v; want neither", told.Unmet, told.Trouble)
		}
	})
}

// A move that leaves out what was held back is none: the disk does not boot.
func TestLiveMoveMustSettle(t *testing.T) {
	im := newGPTImage(t, 4*mib)
	d := fileDisk(t, filepath.Join(t.TempDir(), "disk"), make([]byte, 4*mib))
	_, err := Run(t.Context(), Job{
		Image: im.Image, Source: im.by(im), Disk: d,
		Move: func(context.Context, func() error) error { return nil },
	})
	if err == nil {
		t.Error("Run() = nil; want an error")
	}
	if gate := readAt(t, d, 0, sector); !bytes.Equal(gate, make([]byte, sector)) {
		t.Error("LBA 0 is on a disk without a head")
	}
}

// newGPTImage is an image of n bytes with a GPT.
func newGPTImage(t testing.TB, n int) *testImage {
	t.Helper()
	raw := randomDisk(5, n)
	putGPT(raw, sector)
	return newTestImage(t, raw, "gpt")
}

// fileDisk is a file with those bytes, opened as a disk.
func fileDisk(t testing.TB, path string, content []byte) *blockdev.Device {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := blockdev.Open(path, blockdev.Options{AllowFile: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func readAt(t testing.TB, r io.ReaderAt, off, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := r.ReadAt(p, int64(off)); err != nil {
		t.Fatal(err)
	}
	return p
}
