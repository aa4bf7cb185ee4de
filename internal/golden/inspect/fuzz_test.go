package inspect

import (
	"encoding/binary"
	"io"
	"os"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/golden"
)

// mutant is an image with some bytes changed. It counts what is read of it.
type mutant struct {
	image []byte
	patch map[int64]byte
	read  int64
}

func (m *mutant) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= int64(len(m.image)) {
		return 0, io.EOF
	}
	n := copy(p, m.image[off:])
	m.read += int64(n)
	for at, b := range m.patch {
		if at >= off && at < off+int64(n) {
			p[at-off] = b
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// FuzzLook changes bytes where an image has any: each group of five of the
// input is a place and a value. Whatever comes of that, Look ends, reads only
// so much, and what it gives is fit to be stored.
func FuzzLook(f *testing.F) {
	tree := etc.with(modules(f, "")).with(below("boot", kernelInBoot)).with(files{"boot/grub/grub.cfg": grubCfg("/boot", cmdline)})
	disk := makeDisk(f, "gpt", part{fs: "ext4", uuid: rootUUID, kind: linux, tree: tree, size: 4 * mib},
		part{fs: "vfat", uuid: "12345678", kind: esp, tree: files{"EFI/BOOT/BOOTX64.EFI": "x"}, size: 2 * mib})
	image, err := os.ReadFile(disk.Name())
	if err != nil {
		f.Fatal(err)
	}
	var places []int64
	for i, b := range image {
		if b != 0 {
			places = append(places, int64(i))
		}
	}
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 0, 0xff, 0, 0, 2, 0, 0x7f})
	for i := range 64 {
		f.Add([]byte{0, 0, byte(i), byte(i * 31), 0xff, 0, 0, byte(i * 7), byte(i), 0})
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		m := &mutant{image: image, patch: map[int64]byte{}}
		for ; len(input) >= 5 && len(m.patch) < 64; input = input[5:] {
			m.patch[places[int(binary.BigEndian.Uint32(input))%len(places)]] = input[4]
		}
		begin := time.Now()
		found, err := Look(m, int64(len(image)), Given{})
		if err != nil {
			t.Fatalf("Look with nothing given: %v", err)
		}
		// Milliseconds as a rule; the bound leaves room for a busy machine.
		if took := time.Since(begin); took > 30*time.Second {
			t.Errorf("Look took %v", took)
		}
		if m.read > 64*int64(len(image)) {
			t.Errorf("Look read %d bytes of an image of %d", m.read, len(image))
		}
		if found.Boot != nil && len(found.Kernel) == 0 {
			t.Error("a way in without a kernel")
		}
		config := golden.Config{Disk: found.Disk, Boot: found.Boot, Firmware: found.Firmware}
		config.Disk.ChunkSize, config.Disk.Hash = golden.DefaultChunkSize, "sha256"
		p, err := config.Marshal()
		if err == nil {
			_, err = golden.ParseConfig(p)
		}
		if err != nil {
			t.Errorf("what was found cannot be stored: %v", err)
		}
	})
}
