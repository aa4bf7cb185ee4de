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
		"vmdk": {"-O", "vmdk"}, "stream": {"-O", "vmdk", "-o", "subformat=streamOptimized"}, "vhd": {"-O", "vpc"},
		"vhdx": {"-O", "vhdx", "-o", "block_size=1M"},
	} {
		out := filepath.Join(dir, name)
		if text, err := exec.CommandContext(t.Context(), "qemu-img",
			append(append([]string{"convert", "-f", "raw"}, args...), raw, out)...).CombinedOutput(); err != nil {
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
