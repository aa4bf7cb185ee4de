// Package disktest holds every disk that the engine writes to, to one contract.
package disktest

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"unsafe"
)

// Disk is what the engine needs of one, see flash.Disk; R reads its medium.
type Disk[R readBack] interface {
	Size() int64
	SectorSize() int
	io.WriterAt
	ZeroRange(off, n int64) error
	Flush() error
	OpenReadBack() (R, error)
}

type readBack interface {
	io.ReaderAt
	io.Closer
}

// Run tests disks that open makes, each of at least 4 MiB and with random
// content of which the suite knows nothing.
func Run[R readBack](t *testing.T, open func(t *testing.T) Disk[R]) {
	for _, c := range []struct {
		name string
		test func(d *subject[R], t *testing.T)
	}{
		{"what is flushed is read back", (*subject[R]).writesAreThere},
		{"zeroed ranges read as zeros", (*subject[R]).zerosAreThere},
		{"writes side by side", (*subject[R]).sideBySide},
		{"the first sector and the last", (*subject[R]).ends},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &subject[R]{Disk: open(t), rnd: rand.New(rand.NewPCG(1, 2))}
			d.sector = int64(d.SectorSize())
			d.want = d.medium(t)
			c.test(d, t)
			if got := d.medium(t); !bytes.Equal(got, d.want) {
				t.Error("the medium holds other bytes than it should")
			}
		})
	}
}

// subject is a disk with what its medium should hold.
type subject[R readBack] struct {
	Disk[R]
	sector int64
	rnd    *rand.Rand
	want   []byte
}

// medium reads all of the disk past every cache.
func (d *subject[R]) medium(t *testing.T) []byte {
	t.Helper()
	if err := d.Flush(); err != nil {
		t.Fatalf("Flush() = %v", err)
	}
	back, err := d.OpenReadBack()
	if err != nil {
		t.Fatalf("OpenReadBack() = %v", err)
	}
	defer back.Close()
	p := aligned(int(d.Size()))
	if n, err := back.ReadAt(p, 0); n < len(p) {
		t.Fatalf("ReadAt() = %d, %v; want all %d bytes", n, err, len(p))
	}
	return p
}

// place is a random run of whole sectors, up to 64 of them.
func (d *subject[R]) place(from, to int64) (off, n int64) {
	n = (1 + d.rnd.Int64N(64)) * d.sector
	return from + d.rnd.Int64N((to-from-n)/d.sector+1)*d.sector, n
}

// write writes random bytes, which are expected from then on.
func (d *subject[R]) write(t *testing.T, off, n int64) {
	t.Helper()
	p := aligned(int(n))
	for i := range p {
		p[i] = byte(d.rnd.Uint32())
	}
	copy(d.want[off:], p)
	if n, err := d.WriteAt(p, off); n < len(p) || err != nil {
		t.Errorf("WriteAt(%d bytes, %d) = %d, %v", len(p), off, n, err)
	}
}

func (d *subject[R]) writesAreThere(t *testing.T) {
	for range 50 {
		off, n := d.place(0, d.Size())
		d.write(t, off, n)
	}
}

func (d *subject[R]) zerosAreThere(t *testing.T) {
	for range 20 {
		off, n := d.place(0, d.Size())
		if err := d.ZeroRange(off, n); err != nil {
			t.Fatalf("ZeroRange(%d, %d) = %v", off, n, err)
		}
		clear(d.want[off : off+n])
		off, n = d.place(0, d.Size())
		d.write(t, off, n)
	}
}

// sideBySide has each of several writers use a part of the disk.
func (d *subject[R]) sideBySide(t *testing.T) {
	const writers = 4
	part := d.Size() / writers / d.sector * d.sector
	var wg sync.WaitGroup
	for k := range int64(writers) {
		w := &subject[R]{Disk: d.Disk, sector: d.sector, rnd: rand.New(rand.NewPCG(3, uint64(k))), want: d.want}
		wg.Go(func() {
			for range 20 {
				off, n := w.place(k*part, (k+1)*part)
				w.write(t, off, n)
			}
		})
	}
	wg.Wait()
}

func (d *subject[R]) ends(t *testing.T) {
	d.write(t, 0, d.sector)
	d.write(t, d.Size()-d.sector, d.sector)
	for _, off := range []int64{d.Size(), d.Size() - d.sector} {
		p := aligned(int(2 * d.sector))
		if _, err := d.WriteAt(p, off); err == nil {
			t.Errorf("WriteAt(%d bytes, %d) = nil on a disk of %d", len(p), off, d.Size())
		}
	}
}

// aligned is a buffer as reads past the page cache want it.
func aligned(n int) []byte {
	const to = 4096
	buf := make([]byte, n+to)
	skip := (to - int(uintptr(unsafe.Pointer(&buf[0]))%to)) % to
	return buf[skip : skip+n]
}
