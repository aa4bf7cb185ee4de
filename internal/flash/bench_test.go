package flash

import (
	"testing"

	"github.com/gild-dev/gild/internal/flash/chunks"
	"github.com/gild-dev/gild/internal/golden"
)

// A delta of nothing: the disk is read and hashed, and all of it kept.
func BenchmarkDeltaScan(b *testing.B) {
	im := newTestImage(b, randomDisk(2, 64*mib), "none")
	d := newModelDisk(im.raw)
	b.SetBytes(im.Table.DataSize())
	b.ReportAllocs()
	for b.Loop() {
		f, err := New(Job{Image: im.Image, Source: im.by(im), Disk: d})
		if err != nil {
			b.Fatal(err)
		}
		f.chunks.Work.Doubt()
		f.scout.survey.hope()
		if err := f.scout.rest(b.Context()); err != nil {
			b.Fatal(err)
		}
		if f.meter.kept.Load() == 0 {
			b.Fatal("nothing was kept")
		}
	}
}

// The hot path: a chunk claimed, decoded, verified and put onto the disk. It
// allocates nothing but a map for each image.
func BenchmarkLand(b *testing.B) {
	im := newTestImage(b, randomDisk(2, 64*mib), "none")
	f, err := New(Job{Image: im.Image, Source: im.by(im), Disk: discard{newModelDisk(im.raw)}})
	if err != nil {
		b.Fatal(err)
	}
	err = f.workers.work(func(w *worker) error {
		b.SetBytes(golden.MinChunkSize)
		b.ReportAllocs()
		var span []int
		for b.Loop() {
			if len(span) == 0 {
				if span = f.chunks.Work.Claim(b.Context(), im.Table.DataSize()); len(span) == 0 {
					f.chunks = chunks.New(im.Table, f.held.holds)
					f.workers.chunks = f.chunks
					span = f.chunks.Work.Claim(b.Context(), im.Table.DataSize())
				}
			}
			i := span[0]
			span = span[1:]
			c := im.Table.Chunk(i)
			raw, err := w.dec.Decode(i, im.blob[c.Offset:c.Offset+c.Length], w.raw)
			if err == nil {
				err = f.workers.place(b.Context(), i, raw)
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
