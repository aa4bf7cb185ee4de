package flash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/test/reliability"
)

var forgeries = flag.Int("forgeries", 20_000, "forged chunks and manifests")

// forge changes p as a hostile source would: a bit flipped, cut off, extended,
// or another thing in its place. It may give p unchanged, by chance.
func forge(rnd *rand.Rand, p, other []byte) []byte {
	q := bytes.Clone(p)
	switch rnd.IntN(6) {
	case 0:
		q[rnd.IntN(len(q))] ^= 1 << rnd.IntN(8)
	case 1:
		q = q[:rnd.IntN(len(q))]
	case 2:
		q = append(q, other[:rnd.IntN(len(other))+1]...)
	case 3: // swapped, or replayed from an older image
		q = bytes.Clone(other)
	case 4: // a part of another
		n := rnd.IntN(min(len(q), len(other))) + 1
		copy(q[rnd.IntN(len(q)-n+1):], other[:n])
	case 5:
		for range 1 + rnd.IntN(8) {
			q[rnd.IntN(len(q))] = byte(rnd.Uint32())
		}
	}
	return q
}

// No frame but the right one becomes a chunk, and no manifest, config or
// table but the one that was armed becomes an image.
func TestForgeriesAreRefused(t *testing.T) {
	start := time.Now()
	rnd := rand.New(rand.NewPCG(*seed, 3))
	text := bytes.Repeat([]byte("a chunk that compresses, as most do; "), 2*mib/37+1)[:2*mib]
	for i := range 2 * mib / 97 {
		text[i*97] = byte(rnd.Uint32())
	}
	now, before := newStoredImage(t, text), newStoredImage(t, append(text[mib:], text[:mib]...))
	dec, err := golden.NewDecoder(now.Table)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	buf := make([]byte, now.Table.ChunkSize)
	var chunks, manifests, same int
	for n := range *forgeries {
		if n%4 == 0 {
			which := rnd.IntN(3)
			parts := [][]byte{now.parts[0], now.parts[1], now.parts[2]}
			parts[which] = forge(rnd, parts[which], before.parts[rnd.IntN(3)])
			if bytes.Equal(parts[which], now.parts[which]) {
				same++
			} else if im, err := golden.NewImage(now.digest, parts[0], parts[1], bytes.NewReader(parts[2])); err == nil && !now.same(im) {
				t.Fatalf("a forged part %d of the image was taken (forgery %d of seed %d)", which, n, *seed)
			}
			manifests++
			continue
		}
		i, other := rnd.IntN(now.Table.Len()), now
		if rnd.IntN(2) == 0 {
			other = before
		}
		frame := forge(rnd, now.frame(i), other.frame(rnd.IntN(other.Table.Len())))
		raw, err := dec.Decode(i, frame, buf)
		off, length := now.Table.Extent(i)
		var bad *golden.ChunkError
		switch right := err == nil && bytes.Equal(raw, text[off:off+length]); {
		case right:
			same++ // zstd has bits that mean nothing
		case err == nil:
			t.Fatalf("chunk %d: a forged frame was taken (forgery %d of seed %d)", i, n, *seed)
		case !errors.As(err, &bad):
			t.Fatalf("chunk %d: Decode = %v; want a *ChunkError", i, err)
		}
		chunks++
	}
	if 4*same > *forgeries {
		t.Errorf("%d of %d forgeries were none", same, *forgeries)
	}
	reliability.Record(t, reliability.Row{
		Group: reliability.HostileSource,
		What:  "a chunk's frame or a manifest, config or chunk table flipped, cut, extended, swapped, replayed from another image",
		Count: int64(*forgeries), Unit: "forgeries", Seed: *seed, Took: time.Since(start),
		Result:  fmt.Sprintf("all refused: %d chunks, %d parts of manifests; %d were by chance the same bytes", chunks, manifests, same),
		Command: fmt.Sprintf("go test ./internal/flash -run '^TestForgeriesAreRefused$' -timeout 0 -forgeries %d -seed %d", *forgeries, *seed),
	})
}

// storedImage is an image with the bytes of its manifest, config and table.
type storedImage struct {
	*testImage
	digest golden.Digest
	parts  [3][]byte
}

func newStoredImage(t testing.TB, raw []byte) *storedImage {
	t.Helper()
	s := &storedImage{testImage: newTestImage(t, raw, "none")}
	var table bytes.Buffer
	if _, err := s.Table.WriteTo(&table); err != nil {
		t.Fatal(err)
	}
	config, err := s.Config.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	part := func(mediaType string, p []byte) golden.Descriptor {
		return golden.Descriptor{MediaType: mediaType, Digest: golden.DigestOf(p), Size: int64(len(p))}
	}
	manifest, err := json.Marshal(golden.Manifest{
		SchemaVersion: 2, MediaType: golden.MediaTypeManifest, ArtifactType: golden.ArtifactType,
		Config: part(golden.MediaTypeConfig, config),
		Layers: []golden.Descriptor{part(golden.MediaTypeDisk, s.blob), part(golden.MediaTypeChunks, table.Bytes())},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.digest, s.parts = golden.DigestOf(manifest), [3][]byte{manifest, config, table.Bytes()}
	if _, err := golden.NewImage(s.digest, manifest, config, bytes.NewReader(s.parts[2])); err != nil {
		t.Fatalf("the image that is to be forged is none: %v", err)
	}
	return s
}

// same reports whether im is the image that was armed: what follows after the
// end of a chunk table is not read.
func (s *storedImage) same(im *golden.Image) bool {
	var table bytes.Buffer
	_, err := im.Table.WriteTo(&table)
	return err == nil && bytes.Equal(table.Bytes(), s.parts[2])
}

func (s *storedImage) frame(i int) []byte {
	c := s.Table.Chunk(i)
	return s.blob[c.Offset : c.Offset+c.Length]
}

// Wrong bytes are asked for again. A source that keeps giving them is
// refused and nothing is sealed.
func TestHostileSourceSealsNothing(t *testing.T) {
	start := time.Now()
	n := max(60, *forgeries/500)
	var mended, refused int
	im := newTestImage(t, randomDisk(2, 3*mib), "none")
	for k := range uint64(n) {
		rnd := rand.New(rand.NewPCG(*seed+k, 4))
		at := rnd.Int64N(int64(len(im.blob)))
		times, told := 1+rnd.IntN(5), 0
		d := newModelDisk(oldDisk("MBR", 3, 3*mib, sector))
		s := newScheduler(rnd)
		d.schedule = s
		hostile := sourceFunc(func(ctx context.Context, off, length int64) (io.ReadCloser, error) {
			p := bytes.Clone(im.blob[off : off+length])
			if off <= at && at < off+length && told < times {
				told++
				for same := true; same; same = bytes.Equal(p[:min(len(p), int(length))], im.blob[off:off+length]) && len(p) >= int(length) {
					from := rnd.IntN(len(im.blob) - 1)
					p = forge(rnd, im.blob[off:off+length], im.blob[from:])
				}
			}
			return io.NopCloser(bytes.NewReader(p)), nil
		})
		_, err := runScheduled(t, s, Job{
			Image: im.Image, Source: im.by(scheduledSource{hostile, s}), Disk: d, Workers: 2,
			Retry: supply.Retry{First: 1, Longest: 1, Patience: time.Minute},
		})
		switch {
		case err == nil && bytes.Equal(d.medium, im.raw):
			mended++
		case err == nil:
			t.Errorf("seed %d: the disk was sealed, it does not hold the image", *seed+k)
		case !allZero(d.cutPower(rnd)[:sector]):
			t.Errorf("seed %d: Run = %v; the disk boots", *seed+k, err)
		default:
			refused++
		}
	}
	if mended == 0 || refused == 0 {
		t.Errorf("%d mended, %d refused; want some of each", mended, refused)
	}
	reliability.Record(t, reliability.Row{
		Group: reliability.HostileSource,
		What:  "whole flashes from a source that forges what it sends, one to five times",
		Count: int64(n), Unit: "flashes", Seed: *seed, Took: time.Since(start),
		Result: fmt.Sprintf("%d asked again and got the image, %d refused and left a disk that does not boot", mended, refused),
		Command: fmt.Sprintf("go test ./internal/flash -run '^TestHostileSourceSealsNothing$' -timeout 0 -forgeries %d -seed %d", *forgeries,
			*seed),
	})
}

// A blob that ends early, at any byte, is never a success.
func TestTruncatedBlobIsNoSuccess(t *testing.T) {
	start := time.Now()
	n := max(100, *forgeries/200)
	im := newTestImage(t, randomDisk(2, 3*mib), "none")
	rnd := rand.New(rand.NewPCG(*seed, 5))
	for k := range n {
		end := rnd.Int64N(int64(len(im.blob)))
		if k < 8 {
			end = int64(len(im.blob)) - 1 - int64(k)
		}
		synctest.Test(t, func(t *testing.T) {
			short := sourceFunc(func(_ context.Context, off, length int64) (io.ReadCloser, error) {
				p := im.blob[min(off, end):min(off+length, end)]
				return io.NopCloser(bytes.NewReader(p)), nil
			})
			d := newModelDisk(make([]byte, 3*mib))
			_, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(short), Disk: d, Retry: supply.Retry{Patience: time.Minute}})
			if err == nil || !allZero(d.now[:sector]) {
				t.Errorf("cut at byte %d of %d: Run = %v; want an error and a disk that does not boot", end, len(im.blob), err)
			}
		})
	}
	reliability.Record(t, reliability.Row{
		Group: reliability.HostileSource, What: "the blob of the disk ends early, at random bytes and at each of the last eight",
		Count: int64(n), Unit: "flashes", Seed: *seed, Took: time.Since(start), Result: "no success, nothing sealed",
		Command: fmt.Sprintf("go test ./internal/flash -run '^TestTruncatedBlobIsNoSuccess$' -timeout 0 -forgeries %d -seed %d", *forgeries,
			*seed),
	})
}
