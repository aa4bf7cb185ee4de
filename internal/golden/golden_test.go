package golden

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// stored is a small stored image in memory: three chunks of data, one of
// zeros between them, the last one short.
type stored struct {
	raw, blob               []byte
	table                   *Table
	manifest, config, chunk []byte
}

func newStored(t testing.TB, hash Algorithm) *stored {
	t.Helper()
	const size = 3*MinChunkSize + 4096
	s := &stored{raw: make([]byte, size), table: must(NewTable(MinChunkSize, hash))}
	rnd := rand.NewChaCha8([32]byte{1})
	rnd.Read(s.raw)
	clear(s.raw[MinChunkSize : 2*MinChunkSize])

	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ChunkCount(size, MinChunkSize) {
		raw := s.raw[i*MinChunkSize : min((i+1)*MinChunkSize, size)]
		frame := enc.EncodeAll(raw, nil)
		if err := s.table.Append(int64(len(raw)), Chunk{
			Hash: hash.Sum(raw), Offset: int64(len(s.blob)), Length: int64(len(frame)), Zero: i == 1,
		}); err != nil {
			t.Fatal(err)
		}
		s.blob = append(s.blob, frame...)
	}
	s.chunk = tableBytes(s.table)
	s.config = must((&Config{Disk: Disk{
		Size: size, SectorSize: 512, ChunkSize: MinChunkSize, Hash: hash.String(), Scheme: "gpt",
		Partitions: []Partition{{Number: 1, Start: 4096, Size: 8192, Type: "x"}},
	}, Boot: &Boot{Arch: "amd64", KernelRelease: "6.1", Root: Root{Partition: 1, FileSystem: "xfs"}}}).Marshal())
	s.manifest = must((&Manifest{
		SchemaVersion: 2, MediaType: MediaTypeManifest, ArtifactType: ArtifactType,
		Config: descriptor(MediaTypeConfig, s.config),
		Layers: []Descriptor{descriptor(MediaTypeDisk, s.blob), descriptor(MediaTypeChunks, s.chunk)},
	}).Marshal())
	return s
}

func tableBytes(t *Table) []byte {
	var b bytes.Buffer
	must(t.WriteTo(&b))
	return b.Bytes()
}

func descriptor(mediaType string, p []byte) Descriptor {
	return Descriptor{MediaType: mediaType, Digest: DigestOf(p), Size: int64(len(p))}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestImageFromItsParts(t *testing.T) {
	s := newStored(t, SHA256)
	im, err := NewImage(DigestOf(s.manifest), s.manifest, s.config, bytes.NewReader(s.chunk))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s.table, im.Table, cmp.AllowUnexported(Table{}, mark{})); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if p, ok := im.Config.RootPartition(); !ok || p.Start != 4096 {
		t.Errorf("RootPartition() = %v, %v; want the one at 4096", p, ok)
	}
	if got, want := im.Table.DataSize(), int64(2*MinChunkSize+4096); got != want {
		t.Errorf("DataSize() = %d; want %d", got, want)
	}
}

// Every byte of every part is covered by the digest that the operator armed:
// whichever bit changes, the image is refused.
func TestImageRefusesEveryChangedByte(t *testing.T) {
	s := newStored(t, SHA256)
	want := DigestOf(s.manifest)
	for name, part := range map[string]*[]byte{"manifest": &s.manifest, "config": &s.config, "table": &s.chunk} {
		good := *part
		for i := range good {
			*part = slices.Clone(good)
			(*part)[i] ^= 0x10
			if _, err := NewImage(want, s.manifest, s.config, bytes.NewReader(s.chunk)); err == nil {
				t.Errorf("NewImage accepted a %s with byte %d changed", name, i)
			}
		}
		for _, cut := range []int{0, 1, len(good) / 2, len(good) - 1} {
			*part = good[:cut]
			if _, err := NewImage(want, s.manifest, s.config, bytes.NewReader(s.chunk)); err == nil {
				t.Errorf("NewImage accepted a %s cut at %d", name, cut)
			}
		}
		*part = good
	}
}

// Parts that are genuine, but not of one image.
func TestImageRefusesPartsThatDisagree(t *testing.T) {
	s, other := newStored(t, SHA256), newStored(t, BLAKE3)
	var m Manifest
	if err := json.Unmarshal(s.manifest, &m); err != nil {
		t.Fatal(err)
	}
	m.Layers[1] = descriptor(MediaTypeChunks, other.chunk)
	mixed := must(m.Marshal())
	if _, err := NewImage(DigestOf(mixed), mixed, s.config, bytes.NewReader(other.chunk)); err == nil ||
		!strings.Contains(err.Error(), "different disks") {
		t.Errorf("NewImage(config of one image, table of another) = %v; want an error", err)
	}
	m.Layers[1] = descriptor(MediaTypeChunks, s.chunk)
	m.Layers[0].Size++
	longer := must(m.Marshal())
	if _, err := NewImage(DigestOf(longer), longer, s.config, bytes.NewReader(s.chunk)); err == nil ||
		!strings.Contains(err.Error(), "disk blob") {
		t.Errorf("NewImage(blob longer than its frames) = %v; want an error", err)
	}
}

func TestManifestRefuses(t *testing.T) {
	s := newStored(t, SHA256)
	for name, change := range map[string]func(*Manifest){
		"another artifact": func(m *Manifest) { m.ArtifactType = "application/vnd.oci.image" },
		"schema 1":         func(m *Manifest) { m.SchemaVersion = 1 },
		"no disk":          func(m *Manifest) { m.Layers = m.Layers[1:] },
		"two disks":        func(m *Manifest) { m.Layers = append(m.Layers, m.Layers[0]) },
		"another config":   func(m *Manifest) { m.Config.MediaType = "x" },
		"endless config":   func(m *Manifest) { m.Config.Size = 1 << 40 },
		"negative size":    func(m *Manifest) { m.Layers[0].Size = -1 },
		"endless modules": func(m *Manifest) {
			m.Layers = append(m.Layers, Descriptor{MediaType: MediaTypeModules, Digest: m.Config.Digest, Size: MaxModulesSize + 1})
		},
		"empty kernel": func(m *Manifest) {
			m.Layers = append(m.Layers, Descriptor{MediaType: MediaTypeKernel, Digest: m.Config.Digest})
		},
		"path for a digest": func(m *Manifest) { m.Layers[0].Digest = "sha256:../../etc/passwd" },
	} {
		var m Manifest
		if err := json.Unmarshal(s.manifest, &m); err != nil {
			t.Fatal(err)
		}
		change(&m)
		if _, err := ParseManifest(must(m.Marshal())); err == nil {
			t.Errorf("%s: ParseManifest = nil; want an error", name)
		}
	}
	if _, err := ParseManifest(append(slices.Clone(s.manifest), "{}"...)); err == nil {
		t.Error("ParseManifest accepted data after the manifest")
	}
	m := must(ParseManifest(s.manifest))
	if _, err := m.Layer(MediaTypeKernel); !errors.Is(err, ErrNoLayer) {
		t.Errorf("Layer(kernel) = %v; want ErrNoLayer", err)
	}
}

func TestConfigRefuses(t *testing.T) {
	s := newStored(t, SHA256)
	for name, change := range map[string]func(*Config){
		"no size":             func(c *Config) { c.Disk.Size = 0 },
		"half a sector":       func(c *Config) { c.Disk.Size++ },
		"odd sector":          func(c *Config) { c.Disk.SectorSize = 520 },
		"odd chunk":           func(c *Config) { c.Disk.ChunkSize = 100_000 },
		"unknown hash":        func(c *Config) { c.Disk.Hash = "md5" },
		"partition past end":  func(c *Config) { c.Disk.Partitions[0].Size = c.Disk.Size },
		"partition wraps":     func(c *Config) { c.Disk.Partitions[0].Size = 1<<63 - 1 },
		"root does not exist": func(c *Config) { c.Boot.Root.Partition = 7 },
	} {
		c := must(ParseConfig(s.config))
		change(c)
		if _, err := ParseConfig(must(c.Marshal())); err == nil {
			t.Errorf("%s: ParseConfig = nil; want an error", name)
		}
	}
}

func TestTableRefuses(t *testing.T) {
	le := binary.LittleEndian
	record := func(p []byte, i int) []byte { return p[headerSize+i*recordSize:] }
	for name, change := range map[string]func(p []byte){
		"gap":              func(p []byte) { record(p, 2)[32]++ },
		"overlap":          func(p []byte) { record(p, 2)[32]-- },
		"empty frame":      func(p []byte) { le.PutUint32(record(p, 3)[40:], 0) },
		"giant frame":      func(p []byte) { le.PutUint32(record(p, 3)[40:], 1<<31) },
		"unknown flag":     func(p []byte) { record(p, 3)[44] |= 2 },
		"a chunk less":     func(p []byte) { p[32]-- },
		"a chunk more":     func(p []byte) { p[32]++ },
		"2^64-1 chunks":    func(p []byte) { le.PutUint64(p[32:], 1<<64-1) },
		"disk of 2^62":     func(p []byte) { le.PutUint64(p[16:], 1<<62) },
		"negative disk":    func(p []byte) { le.PutUint64(p[16:], 1<<63) },
		"no disk":          func(p []byte) { le.PutUint64(p[16:], 0) },
		"odd chunk size":   func(p []byte) { p[24]++ },
		"unknown hash":     func(p []byte) { p[10] = 9 },
		"unknown version":  func(p []byte) { p[8] = 2 },
		"reserved":         func(p []byte) { p[headerSize-1] = 1 },
		"zero that is not": func(p []byte) { record(p, 0)[44] |= flagZero },
	} {
		p := newStored(t, SHA256).chunk
		change(p)
		if _, err := ReadTable(bytes.NewReader(p)); err == nil {
			t.Errorf("%s: ReadTable() = nil error; want one", name)
		}
	}
	for name, p := range map[string][]byte{
		"extended": append(newStored(t, SHA256).chunk, 0),
		"empty":    nil,
	} {
		if _, err := ReadTable(bytes.NewReader(p)); err == nil {
			t.Errorf("%s: ReadTable() = nil error; want one", name)
		}
	}
}

// A chunk is found by its number however far it is from the ones whose place
// is noted, and costs little memory.
func TestTableFindsEveryChunk(t *testing.T) {
	table := must(NewTable(MinChunkSize, BLAKE3))
	zeros := BLAKE3.Sum(make([]byte, MinChunkSize))
	var want []Chunk
	for i := range 3*markEvery + 5 {
		c := Chunk{Hash: Hash{1: byte(i), 2: byte(i >> 8)}, Offset: table.BlobSize(), Length: int64(20 + i*7%100)}
		if i%3 == 0 {
			c.Hash, c.Zero = zeros, true
		}
		if err := table.Append(MinChunkSize, c); err != nil {
			t.Fatal(err)
		}
		want = append(want, c)
	}
	for i, c := range table.All() {
		if c != want[i] || table.Chunk(i) != want[i] {
			t.Errorf("chunk %d = %v by All, %v by number; want %v", i, c, table.Chunk(i), want[i])
		}
	}
	if table.Len() != len(want) || table.DiskSize != int64(len(want))*MinChunkSize {
		t.Errorf("%d chunks of a disk of %d bytes; want %d", table.Len(), table.DiskSize, len(want))
	}
}

func TestTableRefusesToGrowWrong(t *testing.T) {
	short := must(NewTable(MinChunkSize, SHA256))
	if err := short.Append(512, Chunk{Length: 20}); err != nil {
		t.Fatal(err)
	}
	if err := short.Append(512, Chunk{Offset: 20, Length: 20}); err == nil {
		t.Error("a chunk after a short one was accepted")
	}
	if _, err := must(NewTable(MinChunkSize, SHA256)).WriteTo(io.Discard); err == nil {
		t.Error("a table without chunks was written")
	}
	for _, raw := range []int64{0, -1, MinChunkSize + 1} {
		if err := must(NewTable(MinChunkSize, SHA256)).Append(raw, Chunk{Length: 20}); err == nil {
			t.Errorf("a chunk of %d bytes was accepted", raw)
		}
	}
}

func TestDecoderRefusesWrongFrames(t *testing.T) {
	for _, hash := range []Algorithm{SHA256, BLAKE3} {
		s := newStored(t, hash)
		dec := must(NewDecoder(s.table))
		defer dec.Close()
		enc := must(zstd.NewWriter(nil))
		frame := func(i int) []byte {
			c := s.table.Chunk(i)
			return s.blob[c.Offset : c.Offset+c.Length]
		}
		dst := make([]byte, MinChunkSize)
		raw, err := dec.Decode(0, frame(0), dst)
		if err != nil || !bytes.Equal(raw, s.raw[:MinChunkSize]) || &raw[0] != &dst[0] {
			t.Fatalf("Decode(0) = %d bytes, %v; want the chunk, in place", len(raw), err)
		}
		for name, bad := range map[string][]byte{
			"cut":            frame(0)[:len(frame(0))-1],
			"flipped":        flip(frame(0), len(frame(0))/2),
			"another chunk":  frame(2),
			"empty":          {},
			"bomb":           enc.EncodeAll(make([]byte, 64<<20), nil),
			"a byte longer":  enc.EncodeAll(append(slices.Clone(s.raw[:MinChunkSize]), 0), nil),
			"a byte shorter": enc.EncodeAll(s.raw[:MinChunkSize-1], nil),
			"two frames":     append(slices.Clone(frame(0)), frame(0)...),
		} {
			var chunkErr *ChunkError
			_, err := dec.Decode(0, bad, dst)
			if !errors.As(err, &chunkErr) || chunkErr.Index != 0 {
				t.Errorf("%v: Decode(%s) = %v; want a *ChunkError of chunk 0", hash, name, err)
			} else if name == "a byte shorter" && !strings.Contains(err.Error(), "holds 65535 bytes") {
				t.Errorf("%v: Decode(%s) = %v; want it to tell the length", hash, name, err)
			}
		}
	}
}

func flip(p []byte, i int) []byte {
	p = slices.Clone(p)
	p[i] ^= 1
	return p
}

func TestReader(t *testing.T) {
	s := newStored(t, SHA256)
	r := must(NewReader(s.table, bytes.NewReader(s.blob)))
	if got := must(io.ReadAll(io.NewSectionReader(r, 0, r.Size()))); !bytes.Equal(got, s.raw) {
		t.Error("reading front to back gave other bytes")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		off := rnd.Int64N(r.Size())
		p := make([]byte, rnd.IntN(3*MinChunkSize))
		n, err := r.ReadAt(p, off)
		want := s.raw[off:min(r.Size(), off+int64(len(p)))]
		if !bytes.Equal(p[:n], want) || errors.Is(err, io.EOF) != (n < len(p)) {
			t.Fatalf("ReadAt(%d bytes, %d) = %d, %v; want %d bytes of the disk", len(p), off, n, err, len(want))
		}
	}
	s.blob[s.table.Chunk(2).Offset+100] ^= 1
	damaged := must(NewReader(s.table, bytes.NewReader(s.blob)))
	if _, err := damaged.ReadAt(make([]byte, 10), 2*MinChunkSize); err == nil {
		t.Error("ReadAt in a damaged chunk = nil; want an error")
	}
}

func TestParseDigest(t *testing.T) {
	good := string(DigestOf([]byte("x")))
	if _, err := ParseDigest(good); err != nil {
		t.Errorf("ParseDigest(%s) = %v", good, err)
	}
	for _, bad := range []string{
		"", "sha256:", good[:len(good)-1], good + "0", strings.ToUpper(good), "sha512:" + good[7:],
		strings.Replace(good, good[10:11], "/", 1),
	} {
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("ParseDigest(%q) = nil; want an error", bad)
		}
	}
}

func FuzzReadTable(f *testing.F) {
	f.Add(newStored(f, SHA256).chunk)
	f.Add(newStored(f, BLAKE3).chunk[:200])
	f.Fuzz(func(t *testing.T, p []byte) {
		table, err := ReadTable(bytes.NewReader(p))
		if err != nil {
			return
		}
		if again := tableBytes(table); !bytes.Equal(again, p) {
			t.Errorf("a table that was accepted writes itself otherwise:\n%x\n%x", p, again)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	f.Add(newStored(f, SHA256).manifest)
	f.Fuzz(func(t *testing.T, p []byte) {
		m, err := ParseManifest(p)
		if err != nil {
			return
		}
		if _, err := ParseManifest(must(m.Marshal())); err != nil {
			t.Errorf("a manifest that was accepted is refused when written again: %v", err)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add(newStored(f, SHA256).config)
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := ParseConfig(p)
		if err != nil {
			return
		}
		for _, part := range c.Disk.Partitions {
			if part.Start+part.Size > c.Disk.Size {
				t.Errorf("accepted %+v on a disk of %d bytes", part, c.Disk.Size)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	s := newStored(f, SHA256)
	f.Add(s.blob[:s.table.Chunk(0).Length])
	f.Fuzz(func(t *testing.T, frame []byte) {
		dec := must(NewDecoder(s.table))
		defer dec.Close()
		raw, err := dec.Decode(0, frame, make([]byte, MinChunkSize))
		if err == nil && !bytes.Equal(raw, s.raw[:MinChunkSize]) {
			t.Error("Decode passed other bytes than the chunk's")
		}
	})
}
