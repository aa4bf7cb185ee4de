package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sample is disk content with every kind of run: data that compresses and
// data that does not, zeros of many lengths, an end inside a cluster.
func sample(size int) []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	b := make([]byte, size)
	for off := 0; off < size; {
		n := min(512<<rng.IntN(12), size-off)
		switch rng.IntN(3) {
		case 0:
			for i := range n {
				b[off+i] = byte(rng.Uint32())
			}
		case 1:
			for i := range n {
				b[off+i] = "golden image "[i%13]
			}
		}
		off += n
	}
	return b
}

func qemuImg(t testing.TB, args ...string) {
	t.Helper()
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img (Debian: qemu-utils) is the judge of this test")
	}
	if out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v\n%s", args, err, out)
	}
}

func open(t testing.TB, path string) *Image {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(f, info.Size())
	if err != nil {
		t.Fatalf("New(%s) = %v; want nil", filepath.Base(path), err)
	}
	t.Cleanup(m.Close)
	return m
}

// check compares the whole disk in chunks of an odd size, and that what is
// called zero is zero.
func check(t *testing.T, m *Image, want []byte) {
	t.Helper()
	if m.Size() != int64(len(want)) {
		t.Fatalf("Size() = %d; want %d", m.Size(), len(want))
	}
	p := make([]byte, 100*1000)
	for off := int64(0); off < m.Size(); off += int64(len(p)) {
		n, err := m.ReadAt(p, off)
		if err != nil && (!errors.Is(err, io.EOF) || off+int64(n) != m.Size()) {
			t.Fatalf("ReadAt(%d) = %d, %v; want nil", off, n, err)
		}
		part := want[off : off+int64(n)]
		if !bytes.Equal(p[:n], part) {
			t.Fatalf("ReadAt(%d) differs from the disk that was converted", off)
		}
		isZero, err := m.IsZero(off, int64(len(p)))
		if err != nil {
			t.Fatalf("IsZero(%d) = %v; want nil", off, err)
		}
		if isZero && len(bytes.Trim(part, "\x00")) > 0 {
			t.Fatalf("IsZero(%d) = true; want false", off)
		}
	}
}

func TestConverted(t *testing.T) {
	t.Parallel()
	want := sample(9<<20 + 512)
	raw := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(raw, want, 0o600); err != nil {
		t.Fatal(err)
	}
	clusters := []string{"512", "4k", "64k", "2M"}
	if testing.Short() {
		clusters = []string{"64k"} // the default
	}
	for _, cluster := range clusters {
		for name, args := range map[string][]string{
			"v2":            {"-o", "compat=0.10"},
			"v2 zlib":       {"-o", "compat=0.10", "-c"},
			"v3":            {"-o", "compat=1.1"},
			"v3 zlib":       {"-o", "compat=1.1", "-c"},
			"v3 zstd":       {"-o", "compat=1.1,compression_type=zstd", "-c"},
			"v3 lazy":       {"-o", "compat=1.1,lazy_refcounts=on"},
			"v3 refcount 1": {"-o", "compat=1.1,refcount_bits=1"},
			"v3 refcount64": {"-o", "compat=1.1,refcount_bits=64"},
			"metadata":      {"-o", "preallocation=metadata"},
			"falloc":        {"-o", "preallocation=falloc"},
			"full":          {"-o", "preallocation=full"},
			"no sparse":     {"-S", "0"},
		} {
			t.Run(cluster+" "+name, func(t *testing.T) {
				t.Parallel()
				dst := filepath.Join(t.TempDir(), "disk.qcow2")
				args := append([]string{"convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=" + cluster}, args...)
				qemuImg(t, append(args, raw, dst)...)
				check(t, open(t, dst), want)
			})
		}
	}
}

// TestWrittenTo reads images that were changed after they were made: zero
// clusters with and without a place, discarded ranges, a snapshot, growth.
func TestWrittenTo(t *testing.T) {
	t.Parallel()
	tool, err := exec.LookPath("qemu-io")
	if err != nil {
		t.Skip("qemu-io (Debian: qemu-utils) writes the images of this test")
	}
	clusters := []string{"512", "64k", "2M"}
	if testing.Short() {
		clusters = []string{"64k"}
	}
	for _, cluster := range clusters {
		t.Run(cluster, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			img, raw := filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "disk.raw")
			qemuImg(t, "create", "-q", "-f", "qcow2", "-o", "cluster_size="+cluster, img, "8M")
			for _, commands := range [][]string{
				{"write -P 0x11 0 5M", "write -P 0x22 5632 1024", "write -z 1M 1M", "write -z -u 2M 512k"},
				{"discard 3M 1M", "write -P 0x33 3500k 4k", "write -P 0x44 8191k 1k"},
			} {
				var args []string
				for _, c := range commands {
					args = append(args, "-c", c)
				}
				if out, err := exec.CommandContext(t.Context(), tool, append(args, img)...).CombinedOutput(); err != nil {
					t.Fatalf("qemu-io: %v\n%s", err, out)
				}
				qemuImg(t, "snapshot", "-c", "before", img)
			}
			qemuImg(t, "resize", "-q", img, "40M")
			qemuImg(t, "check", "-q", img)
			qemuImg(t, "convert", "-O", "raw", img, raw)
			want, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			m := open(t, img)
			check(t, m, want)
			if got, err := m.IsZero(9<<20, 31<<20); !got || err != nil {
				t.Errorf("IsZero(grown range) = %v, %v; want true, nil", got, err)
			}
		})
	}
}

// TestHugeEmpty maps 16 TiB that nothing was written to.
func TestHugeEmpty(t *testing.T) {
	t.Parallel()
	img := filepath.Join(t.TempDir(), "disk.qcow2")
	qemuImg(t, "create", "-q", "-f", "qcow2", img, "16T")
	m := open(t, img)
	if got, err := m.IsZero(0, m.Size()); !got || err != nil {
		t.Errorf("IsZero(all) = %v, %v; want true, nil", got, err)
	}
}

// tiny builds a version 3 image by hand: one data cluster of 512 bytes, then
// one zero cluster. Cluster 0 is the header, 1 the L1 table, 2 the L2 table.
func tiny() []byte {
	be := binary.BigEndian
	b := make([]byte, 4*512)
	copy(b, Magic)
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], 9)
	be.PutUint64(b[24:], 1024)
	be.PutUint32(b[36:], 1)
	be.PutUint64(b[40:], 512)
	be.PutUint32(b[100:], 112)
	be.PutUint64(b[512:], 1024|1<<63)
	be.PutUint64(b[1024:], 1536|1<<63)
	be.PutUint64(b[1032:], flagZero)
	for i := range 512 {
		b[1536+i] = byte(i)
	}
	return b
}

func TestTiny(t *testing.T) {
	t.Parallel()
	b := tiny()
	m, err := New(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	check(t, m, append(b[1536:2048:2048], make([]byte, 512)...))
}

func TestRefused(t *testing.T) {
	t.Parallel()
	be := binary.BigEndian
	tests := map[string]struct {
		change func(b []byte)
		want   string
	}{
		"magic":              {func(b []byte) { b[3] = 0 }, "magic"},
		"version 1":          {func(b []byte) { b[7] = 1 }, "version 1"},
		"version 4":          {func(b []byte) { b[7] = 4 }, "version 4"},
		"backing file":       {func(b []byte) { be.PutUint64(b[8:], 200); b[19] = 11; copy(b[200:], "/etc/shadow") }, `"/etc/shadow"`},
		"backing name far":   {func(b []byte) { be.PutUint64(b[8:], 1<<63); b[19] = 11 }, "backing file"},
		"backing name long":  {func(b []byte) { be.PutUint64(b[8:], 200); be.PutUint32(b[16:], 1<<31) }, "backing file"},
		"AES":                {func(b []byte) { b[35] = 1 }, "encrypted (AES)"},
		"LUKS":               {func(b []byte) { b[35] = 2 }, "encrypted (LUKS)"},
		"encryption 9":       {func(b []byte) { b[35] = 9 }, "encryption method 9"},
		"corrupt":            {func(b []byte) { b[79] = featureCorrupt }, "marked corrupt"},
		"data file":          {func(b []byte) { b[79] = featureDataFile }, "external file"},
		"extended L2":        {func(b []byte) { b[79] = featureExtendedL2 }, "extended L2"},
		"unknown features":   {func(b []byte) { b[72], b[79] = 0x80, 0x20 }, "bits 5, 63"},
		"compression 2":      {func(b []byte) { b[79], b[104] = featureCompression, 2 }, "compression type 2"},
		"compression, no":    {func(b []byte) { b[79] = featureCompression }, "contradicts"},
		"compression, bit":   {func(b []byte) { b[104] = 1 }, "contradicts"},
		"header length":      {func(b []byte) { b[103] = 100 }, "header length 100"},
		"cluster bits 8":     {func(b []byte) { b[23] = 8 }, "cluster bits 8"},
		"cluster bits 22":    {func(b []byte) { b[23] = 22 }, "cluster bits 22"},
		"cluster bits huge":  {func(b []byte) { b[20] = 255 }, "cluster bits"},
		"size 0":             {func(b []byte) { be.PutUint64(b[24:], 0) }, "0 bytes"},
		"size 513":           {func(b []byte) { be.PutUint64(b[24:], 513) }, "not a multiple"},
		"size 2^64-512":      {func(b []byte) { be.PutUint64(b[24:], 1<<64-512) }, "not a multiple of 512 below"},
		"size 2^62":          {func(b []byte) { be.PutUint64(b[24:], 1<<62) }, "needs an L1 table"},
		"L1 short":           {func(b []byte) { be.PutUint64(b[24:], 1<<20) }, "L1 table has 1 entries"},
		"L1 past the end":    {func(b []byte) { be.PutUint64(b[40:], 1<<40) }, "outside the file"},
		"L1 offset overflow": {func(b []byte) { be.PutUint64(b[40:], 1<<64-512) }, "outside the file"},
		"L1 unaligned":       {func(b []byte) { be.PutUint64(b[40:], 513) }, "not aligned"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := tiny()
			tt.change(b)
			_, err := New(bytes.NewReader(b), int64(len(b)))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New(%s) = %v; want an error with %q", name, err, tt.want)
			}
		})
	}
}

func TestDamagedTables(t *testing.T) {
	t.Parallel()
	be := binary.BigEndian
	tests := map[string]struct {
		change func(b []byte)
		want   string
	}{
		"L2 past the end":         {func(b []byte) { be.PutUint64(b[512:], 1<<40) }, "outside the file"},
		"L2 unaligned":            {func(b []byte) { b[4*512-1] = 0; be.PutUint64(b[512:], 1024); be.PutUint32(b[20:], 10) }, "not aligned"},
		"data past the end":       {func(b []byte) { be.PutUint64(b[1024:], 1<<40) }, "outside the file"},
		"zero cluster in v2":      {func(b []byte) { b[7] = 2; be.PutUint64(b[1024:], flagZero) }, "version 2"},
		"packed past the end":     {func(b []byte) { be.PutUint64(b[1024:], flagCompressed|1<<40) }, "outside the file"},
		"packed at the very end":  {func(b []byte) { be.PutUint64(b[1024:], flagCompressed|2047) }, "damaged"},
		"packed is no deflate":    {func(b []byte) { be.PutUint64(b[1024:], flagCompressed|1537) }, "damaged"},
		"packed is no zstd":       {func(b []byte) { b[79], b[104] = 8, 1; be.PutUint64(b[1024:], flagCompressed|1537) }, "damaged"},
		"packed count of sectors": {func(b []byte) { be.PutUint64(b[1024:], 1<<63-1) }, "outside the file"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := tiny()
			tt.change(b)
			if name == "L2 unaligned" {
				// Clusters of 1 KiB: the L1 table moves to 1024, the L2 table to 1536.
				be.PutUint64(b[40:], 1024)
				be.PutUint64(b[1024:], 1536)
			}
			m, err := New(bytes.NewReader(b), int64(len(b)))
			if err != nil {
				t.Fatal(err)
			}
			_, err = m.ReadAt(make([]byte, 1024), 0)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("ReadAt(%s) = %v; want an error with %q", name, err, tt.want)
			}
		})
	}
}

// TestLoop: tables that point at themselves are read as data, once.
func TestLoop(t *testing.T) {
	t.Parallel()
	b := tiny()
	binary.BigEndian.PutUint64(b[512:], 512)
	m, err := New(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1024)
	if n, err := m.ReadAt(p, 0); n != 1024 || err != nil {
		t.Errorf("ReadAt(loop) = %d, %v; want 1024, nil", n, err)
	}
}

func TestTruncated(t *testing.T) {
	t.Parallel()
	whole := tiny()
	for n := range whole {
		m, err := New(bytes.NewReader(whole[:n]), int64(n))
		if err == nil {
			_, err = m.ReadAt(make([]byte, 1024), 0)
		}
		if err == nil || errors.Is(err, io.EOF) {
			t.Fatalf("reading the first %d bytes = %v; want an error", n, err)
		}
	}
}

func FuzzImage(f *testing.F) {
	f.Add(tiny())
	v2 := tiny()
	v2[7] = 2
	f.Add(v2)
	packed := tiny()
	binary.BigEndian.PutUint64(packed[1024:], flagCompressed|1536)
	f.Add(packed)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := New(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		defer m.Close()
		p := make([]byte, 64<<10)
		for _, off := range []int64{0, 1000, m.Size() / 2, m.Size() - 1} {
			n, err := m.ReadAt(p, off)
			zero, zeroErr := m.IsZero(off, int64(len(p)))
			if zeroErr == nil && zero && (n == 0 || len(bytes.Trim(p[:n], "\x00")) > 0) {
				t.Errorf("IsZero(%d) = true, ReadAt = %d, %v with data", off, n, err)
			}
		}
	})
}
