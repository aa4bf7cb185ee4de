package flash

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/flash/chunks"
	"github.com/gild-dev/gild/internal/golden"
)

// simDisk has a cache, which a cut loses in part, and now and then it writes
// something else than it was told.
type simDisk struct {
	s      *simulation
	now    []byte
	medium []byte
	// gateLies is how many of the next writes of LBA 0 are damaged.
	gateLies int
}

func (d *simDisk) Size() int64     { return int64(len(d.now)) }
func (d *simDisk) SectorSize() int { return simSector }

func (d *simDisk) WriteAt(p []byte, off int64) (int, error) {
	d.s.meanwhile()
	switch lie := d.s.rnd.IntN(60); {
	case off == 0 && d.gateLies > 0:
		copy(d.now, p)
		d.now[simSector-1] ^= 1
		d.gateLies--
	case lie == 2 && d.s.faulty && d.s.mine == 0 && !bytes.Equal(p, d.now[off:off+int64(len(p))]) && d.astray(p):
	case lie > 1 || !d.s.faulty || d.s.mine > 0:
		copy(d.now[off:], p)
	case lie == 1: // damaged
		copy(d.now[off:], p)
		d.now[off+int64(d.s.rnd.IntN(len(p)))] ^= 1
	} // else lost
	d.s.meanwhile()
	return len(p), nil
}

// astray writes to a chunk of the image that has arrived already, if there is
// one. What a system has written nobody could mend. That of a write whose own
// place held the right bytes nobody could find.
func (d *simDisk) astray(p []byte) bool {
	i := 1 + d.s.rnd.IntN(simChunks-2)
	off, n := d.s.table.Extent(i)
	if st := d.s.f.chunks.Get(i); st < chunks.Written || st == chunks.Owned || len(p) > int(n) {
		return false
	}
	copy(d.now[off:], p)
	d.s.strayed[i] = true
	return true
}

func (d *simDisk) ZeroRange(off, n int64) error {
	d.s.meanwhile()
	if !d.s.faulty || d.s.rnd.IntN(30) > 0 {
		clear(d.now[off : off+n])
	}
	d.s.meanwhile()
	return nil
}

func (d *simDisk) Flush() error {
	copy(d.medium, d.now)
	d.s.meanwhile()
	return nil
}

func (d *simDisk) OpenReadBack() (blockdev.ReadBack, error) { return simReader{d}, nil }

type simReader struct{ d *simDisk }

func (r simReader) Close() error { return nil }
func (r simReader) ReadAt(p []byte, off int64) (int, error) {
	r.d.s.meanwhile()
	n := copy(p, r.d.now[off:])
	r.d.s.meanwhile()
	return n, nil
}

// cut loses the power: of what was not flushed each sector is there or not.
func (d *simDisk) cut(rnd *rand.Rand) {
	for off := 0; off < len(d.now); off += simSector {
		if rnd.IntN(2) == 0 {
			copy(d.now[off:off+simSector], d.medium[off:])
		}
	}
	copy(d.medium, d.now)
}

// simImage is a small golden image, some of it zeros.
type simImage struct {
	raw   []byte
	table *golden.Table
}

func newSimImage(t testing.TB, seed uint64) simImage {
	rnd := rand.New(rand.NewPCG(seed, 7))
	im := simImage{
		make([]byte, simChunks*simChunk-simSector*rnd.IntN(simChunkSectors)),
		&golden.Table{ChunkSize: simChunk, Hash: golden.BLAKE3},
	}
	var at int64
	for i := 0; i*simChunk < len(im.raw); i++ {
		chunk := im.raw[i*simChunk : min((i+1)*simChunk, len(im.raw))]
		zero := rnd.IntN(3) == 0 && i > 0
		if !zero {
			for k := range chunk {
				chunk[k] = byte(rnd.Uint32())
			}
		}
		if err := im.table.Append(int64(len(chunk)), golden.Chunk{
			Hash: im.table.Hash.Sum(chunk), Offset: at, Length: 100,
			Zero: zero,
		}); err != nil {
			t.Fatal(err)
		}
		at += 100
	}
	return im
}
