package golden

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// benchChunk is one chunk that compresses about as a system's files do.
func benchChunk() []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	raw := make([]byte, DefaultChunkSize)
	for n := 0; n < len(raw); {
		if n > 4096 && rng.IntN(3) > 0 {
			at := n - 1 - rng.IntN(4096)
			n += copy(raw[n:], raw[at:min(at+8+rng.IntN(40), n)])
			continue
		}
		for range 16 {
			if n < len(raw) {
				raw[n] = byte(rng.Uint32())
				n++
			}
		}
	}
	return raw
}

// benchImage is a table of n chunks, all alike, and the blob of the first.
func benchImage(b testing.TB, alg Algorithm, n int) (*Table, []byte) {
	b.Helper()
	enc, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
	if err != nil {
		b.Fatal(err)
	}
	raw := benchChunk()
	frame := enc.EncodeAll(raw, nil)
	t, err := NewTable(DefaultChunkSize, alg)
	if err != nil {
		b.Fatal(err)
	}
	hash := alg.Sum(raw)
	for range n {
		if err := t.Append(int64(len(raw)), Chunk{Hash: hash, Offset: t.BlobSize(), Length: int64(len(frame))}); err != nil {
			b.Fatal(err)
		}
	}
	return t, frame
}

func BenchmarkHash(b *testing.B) {
	raw := benchChunk()
	for _, alg := range []Algorithm{SHA256, BLAKE3} {
		b.Run(alg.String(), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			b.ReportAllocs()
			for b.Loop() {
				alg.Sum(raw)
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, alg := range []Algorithm{SHA256, BLAKE3} {
		b.Run(alg.String(), func(b *testing.B) {
			t, frame := benchImage(b, alg, 1)
			dec, err := NewDecoder(t)
			if err != nil {
				b.Fatal(err)
			}
			defer dec.Close()
			dst := make([]byte, DefaultChunkSize)
			b.SetBytes(DefaultChunkSize)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := dec.Decode(0, frame, dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestDecodeAllocatesNothing holds the engine's hot path to what the benchmark
// shows: a worker decodes for hours.
func TestDecodeAllocatesNothing(t *testing.T) {
	for _, alg := range []Algorithm{SHA256, BLAKE3} {
		table, frame := benchImage(t, alg, 1)
		dec, err := NewDecoder(table)
		if err != nil {
			t.Fatal(err)
		}
		defer dec.Close()
		dst := make([]byte, DefaultChunkSize)
		if n := testing.AllocsPerRun(50, func() { _, err = dec.Decode(0, frame, dst) }); n != 0 || err != nil {
			t.Errorf("%v: Decode allocates %v times, error %v; want 0 and none", alg, n, err)
		}
	}
}

func BenchmarkTable(b *testing.B) {
	for _, n := range []int{4096, 1 << 20} {
		t, _ := benchImage(b, BLAKE3, n)
		var p bytes.Buffer
		if _, err := t.WriteTo(&p); err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("read/%d", n), func(b *testing.B) {
			b.SetBytes(int64(p.Len()))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ReadTable(bytes.NewReader(p.Bytes())); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("chunk/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				t.Chunk(i)
				i = (i + 7919) % n
			}
		})
	}
}

// repeated is a blob in which every frame is the same.
type repeated struct{ frame []byte }

func (r repeated) ReadAt(p []byte, off int64) (int, error) {
	return copy(p, r.frame[off%int64(len(r.frame)):]), nil
}

// BenchmarkReader reads as a file system does: a few pages here and there, then
// a file.
func BenchmarkReader(b *testing.B) {
	t, frame := benchImage(b, BLAKE3, 64)
	for _, bc := range []struct {
		name string
		size int
		step int64
	}{{"pages", 64 << 10, 9<<20 + 4096}, {"in order", 256 << 10, 256 << 10}} {
		b.Run(bc.name, func(b *testing.B) {
			r, err := NewReader(t, repeated{frame})
			if err != nil {
				b.Fatal(err)
			}
			p := make([]byte, bc.size)
			var off int64
			b.SetBytes(int64(len(p)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.ReadAt(p, off); err != nil {
					b.Fatal(err)
				}
				off = (off + bc.step) % (t.DiskSize - int64(len(p)))
			}
		})
	}
}
