package flash

import (
	"bytes"
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/flash/live"
	"github.com/gild-dev/gild/internal/golden"
)

// withheld is a source that keeps back a frame of the blob until it is let go.
type withheld struct {
	*testImage
	frame golden.Chunk
	let   chan struct{}
}

func (s withheld) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	time.Sleep(50 * time.Millisecond) // it is what the engine waits for
	if off < s.frame.Offset+s.frame.Length && s.frame.Offset < off+length {
		select {
		case <-s.let:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return s.testImage.ReadRange(ctx, off, length)
}

// A chunk that was found wrong while others still arrive is mended for the
// system that waits for it, and not only when all have arrived.
func TestLiveMendsForWhoWaits(t *testing.T) {
	for _, writes := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const size = 56 * mib
			im := newGPTImage(t, size)
			at, _ := im.Table.Extent(dataChunk(im, 20*mib))
			want := flashed(t, make([]byte, size), im)
			source := withheld{im, im.Table.Chunk(dataChunk(im, size-3*mib)), make(chan struct{})}
			d := &lossyDisk{forgetfulDisk: forgetfulDisk{now: make([]byte, size), about: func(int64, int64) bool { return false }}, at: at}
			f, err := New(Job{
				Image: im.Image, Source: im.by(source), Disk: d,
				Move: func(_ context.Context, settle func() error) error { return settle() },
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := takeOff(ctx, f)
			l, err := f.Live(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * live.StartsFor) // all is there that comes, and was read back
			if !d.lost {
				t.Fatal("the disk has lost nothing: the test shows nothing")
			}
			served := make(chan error, 1)
			go func() {
				if writes {
					copy(want[at:], bytes.Repeat([]byte{7}, sector))
					_, err := l.WriteAt(want[at:at+sector], at)
					served <- err
					return
				}
				p := make([]byte, sector)
				_, err := l.ReadAt(p, at)
				if !bytes.Equal(p, want[at:at+sector]) {
					t.Error("the system read other bytes than it should")
				}
				served <- err
			}()
			time.Sleep(time.Hour)
			synctest.Wait()
			select {
			case err := <-served:
				if err != nil {
					t.Error(err)
				}
			default:
				t.Errorf("the system (writing: %v) still waits for a chunk that reads back wrong", writes)
			}
			close(source.let)
			if err := <-ended; err != nil || !bytes.Equal(d.now, want) {
				t.Errorf("Run() = %v; want nil, and the disk that the system saw", err)
			}
		})
	}
}

// spoilt is a source that damages one frame until it is let go.
type spoilt struct {
	*testImage
	frame golden.Chunk
	let   chan struct{}
}

func (s spoilt) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	body, err := s.testImage.ReadRange(ctx, off, length)
	at := s.frame.Offset + s.frame.Length/2 - off
	select {
	case <-s.let:
		return body, err
	default:
		if at < 0 || at >= length {
			return body, err
		}
	}
	p, err := io.ReadAll(body)
	p[at] ^= 1
	return io.NopCloser(bytes.NewReader(p)), err
}

// A chunk that the source has not got right is waited for by those who want it,
// not by those who want another that was asked for with it.
func TestLiveBadFrameHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 16 * mib
		im := newGPTImage(t, size)
		want := flashed(t, make([]byte, size), im)
		bad := dataChunk(im, 6*mib)
		source := spoilt{im, im.Table.Chunk(bad), make(chan struct{})}
		d := &forgetfulDisk{now: make([]byte, size), about: func(int64, int64) bool { return false }}
		f, err := New(Job{
			Image: im.Image, Source: im.by(source), Disk: d, Workers: 1,
			Move: func(_ context.Context, settle func() error) error { return settle() },
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := takeOff(ctx, f)
		l, err := f.Live(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * live.StartsFor)
		served := make(chan struct{})
		go func() {
			defer close(served)
			for i := range im.Table.Len() {
				off, n := im.Table.Extent(i)
				p := make([]byte, n)
				if i == bad {
					continue
				}
				if _, err := l.ReadAt(p, off); err != nil || !bytes.Equal(p, want[off:off+n]) {
					t.Errorf("ReadAt(chunk %d) = %v", i, err)
				}
			}
		}()
		time.Sleep(time.Hour)
		synctest.Wait()
		select {
		case <-served:
		default:
			t.Error("the system waits for a chunk that the source has, behind one that it has not got right")
		}
		close(source.let)
		if err := <-ended; err != nil || !bytes.Equal(d.now, want) {
			t.Errorf("Run() = %v; want nil, and the image on the disk", err)
		}
	})
}

// lossyDisk loses the first write of the chunk at one place.
type lossyDisk struct {
	forgetfulDisk
	at   int64
	lost bool
}

func (d *lossyDisk) WriteAt(p []byte, off int64) (int, error) {
	if off == d.at && len(p) == golden.MinChunkSize && !d.lost {
		d.lost = true
		return len(p), nil
	}
	return d.forgetfulDisk.WriteAt(p, off)
}

// dataChunk is the first chunk from a byte on that is not zeros.
func dataChunk(im *testImage, from int64) int {
	i := int(from / im.Table.ChunkSize)
	for im.Table.Zero(i) {
		i++
	}
	return i
}
