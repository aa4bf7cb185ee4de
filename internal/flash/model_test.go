package flash

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/golden"
)

const sector = 512

// modelDisk is a disk in memory that remembers every write and flush, so that
// a test can ask what would have been on it after a power cut anywhere.
type modelDisk struct {
	mu    sync.Mutex
	size  int64
	now   []byte // as the running system sees it
	ops   []op
	fault func(kind opKind, off int64, p []byte) error // may change p
	// spoil, when not 0, is a byte that goes wrong on its way from the disk's
	// cache to its medium: at the flush after it was written, spoils times.
	spoil  int64
	spoils int
	dirty  bool
}

type opKind int

const (
	opWrite opKind = iota
	opZero
	opFlush
	opRead
)

type op struct {
	kind opKind
	off  int64
	data []byte
}

func newModelDisk(old []byte) *modelDisk {
	return &modelDisk{size: int64(len(old)), now: bytes.Clone(old)}
}

func (d *modelDisk) Size() int64     { return d.size }
func (d *modelDisk) SectorSize() int { return sector }

func (d *modelDisk) do(kind opKind, off int64, p []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if kind != opRead && kind != opFlush && (off%sector != 0 || len(p)%sector != 0 || off < 0 || off+int64(len(p)) > d.size) {
		return errors.New("model disk: unaligned or out of range")
	}
	data := bytes.Clone(p)
	if d.fault != nil {
		if err := d.fault(kind, off, data); err != nil {
			return err
		}
	}
	if kind == opWrite && off <= d.spoil && d.spoil < off+int64(len(data)) {
		d.dirty = true
	}
	if kind == opFlush && d.dirty && d.spoils > 0 {
		d.now[d.spoil] ^= 1
		d.dirty = false
		d.spoils--
	}
	if kind != opRead {
		d.ops = append(d.ops, op{kind, off, data})
		copy(d.now[min(off, d.size):], data)
	}
	return nil
}

func (d *modelDisk) WriteAt(p []byte, off int64) (int, error) {
	if err := d.do(opWrite, off, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (d *modelDisk) ZeroRange(off, n int64) error { return d.do(opZero, off, make([]byte, n)) }
func (d *modelDisk) Flush() error                 { return d.do(opFlush, 0, nil) }
func (d *modelDisk) OpenReadBack() (blockdev.ReadBack, error) {
	return modelReadBack{d}, nil
}

type modelReadBack struct{ *modelDisk }

func (d modelReadBack) Close() error { return nil }
func (d modelReadBack) ReadAt(p []byte, off int64) (int, error) {
	if err := d.do(opRead, off, nil); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return copy(p, d.now[off:]), nil
}

// afterCut returns what the medium may hold when the power goes after the
// first n operations: all that was flushed, and of the rest, sector by
// sector, whatever the disk had got round to, in any order.
func (d *modelDisk) afterCut(old []byte, n int, rnd *rand.Rand) []byte {
	medium := bytes.Clone(old)
	d.cut(medium, 0, d.size, n, rnd)
	return medium
}

// gateAfterCut is afterCut for LBA 0 alone.
func (d *modelDisk) gateAfterCut(old []byte, n int, rnd *rand.Rand) []byte {
	gate := bytes.Clone(old[:sector])
	d.cut(gate, 0, sector, n, rnd)
	return gate
}

// cut puts onto the medium, which is the disk from one byte to another, what
// reached it.
func (d *modelDisk) cut(medium []byte, from, to int64, n int, rnd *rand.Rand) {
	flushed := 0
	for i, o := range d.ops[:n] {
		if o.kind == opFlush {
			flushed = i
		}
	}
	for i, o := range d.ops[:n] {
		for s := max(0, from-o.off); s < min(int64(len(o.data)), to-o.off); s += sector {
			if i < flushed || rnd.IntN(2) == 0 {
				copy(medium[o.off+s-from:], o.data[s:s+sector])
			}
		}
	}
}

// testImage is a stored image in memory with its source.
type testImage struct {
	raw  []byte
	blob []byte
	*golden.Image
}

// newTestImage stores raw in chunks of 64 KiB.
func newTestImage(t testing.TB, raw []byte, scheme string) *testImage {
	t.Helper()
	im := &testImage{raw: raw}
	table, err := golden.NewTable(golden.MinChunkSize, golden.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	for i := range golden.ChunkCount(int64(len(raw)), table.ChunkSize) {
		chunk := raw[i*table.ChunkSize : min((i+1)*table.ChunkSize, int64(len(raw)))]
		frame := enc.EncodeAll(chunk, nil)
		if err := table.Append(int64(len(chunk)), golden.Chunk{
			Hash: golden.SHA256.Sum(chunk), Offset: int64(len(im.blob)), Length: int64(len(frame)),
			Zero: len(bytes.Trim(chunk, "\x00")) == 0,
		}); err != nil {
			t.Fatal(err)
		}
		im.blob = append(im.blob, frame...)
	}
	im.Image = &golden.Image{Table: table, Config: &golden.Config{Disk: golden.Disk{
		Size: table.DiskSize, SectorSize: sector, ChunkSize: table.ChunkSize, Hash: "sha256", Scheme: scheme,
	}}}
	return im
}

func (im *testImage) ReadRange(_ context.Context, off, length int64) (io.ReadCloser, error) {
	return io.NopCloser(io.NewSectionReader(bytes.NewReader(im.blob), off, length)), nil
}

// randomDisk is n bytes with a boot sector and runs of zeros in it.
func randomDisk(seed byte, n int) []byte {
	raw := make([]byte, n)
	rnd := rand.NewChaCha8([32]byte{seed})
	rnd.Read(raw)
	for i := 0; i+golden.MinChunkSize <= n; i += golden.MinChunkSize {
		if rnd.Uint64()%3 == 0 && i > 0 {
			clear(raw[i : i+golden.MinChunkSize])
		}
	}
	raw[0], raw[510], raw[511] = 0xeb, 0x55, 0xaa
	return raw
}
