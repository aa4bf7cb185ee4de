package source

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/gild-dev/gild/internal/golden/lz4"
)

// fuzzReader runs a reader of foreign bytes to its end, or as far as 256 KiB
// go: whole and byte by byte it has to say the same.
func fuzzReader(f *testing.F, open func(r *bufio.Reader) (io.Reader, error)) {
	buffered, buf := bufio.NewReaderSize(nil, 4<<10), make([]byte, 4<<10)
	read := func(b []byte, piece int) (sum uint64, n int, err error) {
		buffered.Reset(bytes.NewReader(b))
		r, err := open(buffered)
		for err == nil && n < 256<<10 {
			var k int
			k, err = r.Read(buf[:piece])
			for _, c := range buf[:k] {
				sum = sum*31 + uint64(c)
			}
			n += k
		}
		return sum, n, err
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 8<<10 { // more has no new meaning
			return
		}
		sum, n, err := read(b, len(buf))
		if n > 8<<10 {
			return
		}
		again, m, other := read(b, 7)
		if sum != again || n != m || errors.Is(err, io.EOF) != errors.Is(other, io.EOF) {
			t.Errorf("%d bytes, then %v; in small pieces %d, then %v", n, err, m, other)
		}
	})
}

func FuzzLZ4(f *testing.F) {
	f.Add([]byte("\x04\x22\x4d\x18\x64\x40\xa7\x05\x00\x00\x80hello\x00\x00\x00\x00\x05\x3f\x1c\xd5"))
	f.Add([]byte("\x04\x22\x4d\x18\x60\x40\x82\x0a\x00\x00\x00\x50hello\x05\x00\x10!\x00\x00\x00\x00\x50\x2a\x4d\x18\x01\x00\x00\x00x"))
	fuzzReader(f, func(r *bufio.Reader) (io.Reader, error) { return lz4.NewReader(r), nil })
}

func FuzzZip(f *testing.F) {
	for _, name := range []string{"a.img", "notes.txt", "dir/"} {
		for _, method := range []uint16{zip.Store, zip.Deflate} {
			var b bytes.Buffer
			z := zip.NewWriter(&b)
			for _, n := range []string{name, "a.img"} {
				if w, err := z.CreateHeader(&zip.FileHeader{Name: n, Method: method}); err == nil && n[len(n)-1] != '/' {
					_, _ = w.Write([]byte("hello hello hello"))
				}
			}
			z.Close()
			f.Add(b.Bytes())
		}
	}
	f.Add([]byte("PK\x03\x04\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x86\xa6\x10\x36\x05\x00\x00\x00\x05" +
		"\x00\x00\x00\x01\x00\x00\x00ahelloPK\x05\x06" + string(make([]byte, 18))))
	fuzzReader(f, func(r *bufio.Reader) (io.Reader, error) { return openZip(r) })
}

func FuzzTar(f *testing.F) {
	for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, name := range []string{"disk.ovf", "disk.vmdk", "disk.mf"} {
			_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: 5, Format: format})
			_, _ = w.Write([]byte("hello"))
		}
		w.Close()
		f.Add(b.Bytes())
	}
	fuzzReader(f, func(r *bufio.Reader) (io.Reader, error) { return openTar(r) })
}
