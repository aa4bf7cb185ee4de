package source

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

func FuzzDetect(f *testing.F) {
	f.Add([]byte("QFI\xfb"))
	f.Add([]byte("<html>"))
	f.Add(bytes.Repeat([]byte("\xc3\xb6"), 600))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 2*headSize {
			return
		}
		got, err := detect(b)
		if (got == "") != (err != nil) {
			t.Errorf("detect(%q) = %q, %v; want a format or an error", b, got, err)
		}
	})
}

// FuzzOpen reads at most 4 MiB of whatever the bytes unpack to.
func FuzzOpen(f *testing.F) {
	disk := testDisk(4096)
	f.Add(disk)
	var gz, zs bytes.Buffer
	g := gzip.NewWriter(&gz)
	_, _ = g.Write(disk)
	g.Close()
	f.Add(gz.Bytes())
	z, err := zstd.NewWriter(&zs)
	if err != nil {
		f.Fatal(err)
	}
	_, _ = z.Write(disk)
	z.Close()
	f.Add(zs.Bytes())
	f.Add([]byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x02\x00\x21\x01\x16\x00\x00\x00"))
	f.Add([]byte("BZh91AY&SY"))
	f.Add([]byte("PK\x03\x04\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x86\xa6\x10\x36\x05\x00\x00\x00\x05" +
		"\x00\x00\x00\x01\x00\x00\x00ahelloPK\x05\x06" + strings.Repeat("\x00", 18)))
	f.Add([]byte("\x04\x22\x4d\x18\x64\x40\xa7\x05\x00\x00\x80hello\x00\x00\x00\x00\x05\x3f\x1c\xd5"))
	f.Add(append([]byte("a.img"+strings.Repeat("\x00", 252)+"ustar"), make([]byte, 2048)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := Open(t.Context(), "-", Options{Stdin: bytes.NewReader(b), TempDir: t.TempDir(), NoXZProgram: true})
		if err != nil {
			return
		}
		defer d.Close()
		p := make([]byte, 64<<10)
		total := int64(0)
		for range 64 {
			n, _, err := d.ReadChunk(p)
			total += int64(n)
			if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && (total%SectorSize != 0 || total == 0) {
				t.Errorf("disk of %d bytes accepted", total)
			}
			if err != nil {
				return
			}
		}
	})
}

// FuzzFrames: the framing is the same however the bytes are cut into reads.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x01, 0x09, 0x00, 0x00, 'x'})
	f.Add([]byte("\x50\x2a\x4d\x18\x01\x00\x00\x00x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4<<10 {
			return
		}
		_, whole := io.Copy(io.Discard, &frames{r: bytes.NewReader(b), want: 4})
		single := &frames{r: bytes.NewReader(b), want: 4}
		var err error
		for p := make([]byte, 1); err == nil; {
			_, err = single.Read(p)
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		if (whole == nil) != (err == nil) {
			t.Errorf("frames(%x) = %v in one read, %v byte by byte", b, whole, err)
		}
	})
}
