package virtual

import (
	"bytes"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// made is a small disk in each form, by qemu-img.
func made(t testing.TB) map[string][]byte {
	t.Helper()
	if _, err := exec.LookPath("qemu-img"); err != nil {
		return nil
	}
	dir := t.TempDir()
	raw := filepath.Join(dir, "raw")
	disk := make([]byte, 3<<20)
	copy(disk[1<<20:], bytes.Repeat([]byte("data "), 4000))
	if err := os.WriteFile(raw, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	images := map[string][]byte{}
	for name, args := range map[string][]string{
		"vmdk": {"-O", "vmdk"}, "stream": {"-O", "vmdk", "-o", "subformat=streamOptimized"}, "vhd": {"-O", "vpc"}, "vhdx": {"-O", "vhdx", "-o", "block_size=1M"},
	} {
		out := filepath.Join(dir, name)
		if text, err := exec.CommandContext(t.Context(), "qemu-img", append(append([]string{"convert", "-f", "raw"}, args...), raw, out)...).CombinedOutput(); err != nil {
			t.Fatalf("qemu-img: %v: %s", err, text)
		}
		p, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		images[name] = p
	}
	return images
}

// patched is an image with some bytes of it changed.
type patched struct {
	image []byte
	bytes map[int64]byte
}

func (p patched) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(p.image)) {
		return 0, io.EOF
	}
	n := copy(b, p.image[off:])
	for at, c := range p.bytes {
		if at >= off && at < off+int64(n) {
			b[at-off] = c
		}
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Whatever the bytes, a disk has bounds, its blocks are bytes or an error, and nothing is read that the file does not
// have. The checksums of the headers are in the way of most changes; the tables behind them have none.
func FuzzOpen(f *testing.F) {
	images := made(f)
	names := []string{"vmdk", "stream", "vhd", "vhdx"}
	for i := range names {
		f.Add(uint8(i), []byte{}, uint16(0))
		f.Add(uint8(i), []byte{0, 0, 2, 0, 0xff, 0, 1, 0, 0, 1}, uint16(1))
	}
	f.Fuzz(func(t *testing.T, which uint8, edits []byte, cut uint16) {
		name := names[int(which)%len(names)]
		image := images[name]
		if len(image) == 0 {
			image = edits
		}
		p := patched{image: image[:len(image)-min(len(image), int(cut))], bytes: map[int64]byte{}}
		for ; len(edits) >= 5; edits = edits[5:] {
			at := int64(edits[0])<<24 | int64(edits[1])<<16 | int64(edits[2])<<8 | int64(edits[3])
			p.bytes[at%int64(len(image)+1)] = edits[4]
		}
		open := map[string]func(io.ReaderAt, int64) (*Image, error){"vmdk": OpenVMDK, "stream": OpenVMDK, "vhd": OpenVHD, "vhdx": OpenVHDX}[name]
		m, err := open(p, int64(len(p.image)))
		if err != nil {
			return
		}
		defer m.Close()
		if m.Size() <= 0 || m.Size() > maxSize || m.Size()%sector != 0 {
			t.Fatalf("a disk of %d bytes", m.Size())
		}
		buf := make([]byte, 64<<10)
		for _, off := range []int64{0, 1 << 20, m.Size() / 2, m.Size() - 512} {
			if n, err := m.ReadAt(buf, max(0, off)); n < 0 || n > len(buf) || n < len(buf) && err == nil {
				t.Fatalf("ReadAt(%d) = %d, %v", off, n, err)
			}
			if zero, err := m.IsZero(max(0, off), 512); err != nil && zero {
				t.Fatalf("IsZero(%d) = true, %v", off, err)
			}
		}
	})
}

// What needs another file is refused, with the way out.
func TestRefused(t *testing.T) {
	images := made(t)
	if images == nil {
		t.Skip("qemu-img is not installed")
	}
	change := func(name, old, young string) []byte {
		p := bytes.Replace(images[name], []byte(old), []byte(young), 1)
		if bytes.Equal(p, images[name]) {
			t.Fatalf("%s has no %q", name, old)
		}
		return p
	}
	for name, tt := range map[string]struct {
		image []byte
		open  func(io.ReaderAt, int64) (*Image, error)
	}{
		"vmdk with a parent":     {change("vmdk", "parentCID=ffffffff", "parentCID=12345678"), OpenVMDK},
		"vmdk of more extents":   {change("vmdk", "\nRW ", "\nRW 1 SPARSE \"a\"\nRW ")[:len(images["vmdk"])], OpenVMDK},
		"vmdk sent as text":      {change("vmdk", "\n \r\n", "\n \n\n"), OpenVMDK},
		"vhdx with a log":        {withLog(images["vhdx"]), OpenVHDX},
		"vhd without its footer": {images["vhd"][:len(images["vhd"])-512], OpenVHD},
	} {
		if _, err := tt.open(bytes.NewReader(tt.image), int64(len(tt.image))); err == nil {
			t.Errorf("%s is read", name)
		} else if errors.Is(err, errCut) && name != "vhd without its footer" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// withLog gives both headers a log and the checksums that go with it.
func withLog(p []byte) []byte {
	p = bytes.Clone(p)
	for _, at := range []int{64 << 10, 128 << 10} {
		h := p[at : at+vhdxHeaderSize]
		h[48] = 1
		clear(h[4:8])
		sum := crcOf(h)
		h[4], h[5], h[6], h[7] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	}
	return p
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, crc32c) }
