package source

import (
	"errors"
	"io"
	"testing"
)

func BenchmarkReadChunk(b *testing.B) {
	disk := testDisk(64 << 20)
	for name, bb := range map[string]struct {
		packed []byte
		opts   Options
	}{
		"raw":        {disk, Options{}},
		"qcow2":      {packQcow2(b, disk), Options{}},
		"qcow2 zlib": {packQcow2(b, disk, "-c"), Options{}},
		"gzip":       {pack(b, disk, "gzip", "-c", "-1"), Options{}},
		"zstd":       {pack(b, disk, "zstd", "-c"), Options{}},
		"bzip2":      {pack(b, disk, "bzip2", "-c", "-1"), Options{}},
		"xz":         {pack(b, disk, "xz", "-c", "-0"), Options{}},
		"own xz":     {pack(b, disk, "xz", "-c", "-0"), Options{NoXZProgram: true}},
	} {
		path := writeFile(b, bb.packed)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(disk)))
			b.ReportAllocs()
			p := make([]byte, 1<<20)
			for b.Loop() {
				d, err := Open(b.Context(), path, bb.opts)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, _, err = d.ReadChunk(p)
				}
				d.Close()
				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
		})
	}
}
