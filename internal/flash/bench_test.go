package flash

import (
	"testing"

	"github.com/gild-dev/gild/internal/golden"
)

// sparseTable describes a disk of n chunks of 1 MiB, of which every third
// holds data in frames of 400 kB.
func sparseTable(b *testing.B, n int) *golden.Table {
	b.Helper()
	table, err := golden.NewTable(golden.DefaultChunkSize, golden.BLAKE3)
	if err != nil {
		b.Fatal(err)
	}
	zeros := golden.BLAKE3.Sum(make([]byte, golden.DefaultChunkSize))
	for i := range n {
		c := golden.Chunk{Hash: zeros, Offset: table.BlobSize(), Length: 40, Zero: true}
		if i%3 == 0 {
			c.Hash, c.Length, c.Zero = golden.Hash{1}, 400_000, false
		}
		if err := table.Append(golden.DefaultChunkSize, c); err != nil {
			b.Fatal(err)
		}
	}
	return table
}

// Planning is what the chunk map does for a whole flash: every span claimed,
// every run of zeros, every chunk's state set.
func BenchmarkPlan(b *testing.B) {
	const chunks = 64 << 10 // 64 GiB
	table := sparseTable(b, chunks)
	b.SetBytes(table.DiskSize)
	b.ReportAllocs()
	for b.Loop() {
		m := newChunkMap(table, newHeldChunks(table, sector))
		for first, next := m.claimZeros(256); first < next; first, next = m.claimZeros(256) {
			for i := first; i < next; i++ {
				m.set(i, written)
			}
		}
		for span := m.claim(b.Context(), spanBytes); len(span) > 0; span = m.claim(b.Context(), spanBytes) {
			for _, i := range span {
				m.set(i, written)
			}
		}
	}
}

// A delta of nothing: the disk is read and hashed, and all of it kept.
func BenchmarkDeltaScan(b *testing.B) {
	im := newTestImage(b, randomDisk(2, 64*mib), "none")
	d := newModelDisk(im.raw)
	b.SetBytes(im.Table.DataSize())
	b.ReportAllocs()
	for b.Loop() {
		f, err := New(Job{Image: im.Image, Source: im, Disk: d})
		if err != nil {
			b.Fatal(err)
		}
		f.chunks.doubt()
		f.survey.hope()
		if err := f.surveyRest(b.Context()); err != nil {
			b.Fatal(err)
		}
		if f.meter.kept.Load() == 0 {
			b.Fatal("nothing was kept")
		}
	}
}

// The hot path: a chunk looked up, decoded, verified and put onto the disk. It
// allocates nothing.
func BenchmarkLand(b *testing.B) {
	im := newTestImage(b, randomDisk(2, 8*mib), "none")
	i := 40
	for im.Table.Zero(i) {
		i++
	}
	f, err := New(Job{Image: im.Image, Source: im, Disk: discard{newModelDisk(im.raw)}})
	if err != nil {
		b.Fatal(err)
	}
	c := im.Table.Chunk(i)
	frame := im.blob[c.Offset : c.Offset+c.Length]
	err = f.work(func(w *worker) error {
		b.SetBytes(golden.MinChunkSize)
		b.ReportAllocs()
		for b.Loop() {
			raw, err := w.dec.Decode(i, frame, w.raw)
			if err == nil {
				err = w.place(b.Context(), i, raw)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
}

// discard is a disk that forgets at once what it was given.
type discard struct{ *modelDisk }

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
