package room

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden/store"
)

const mib = 1 << 20

// golden makes a disk with a partition table and data bytes that no
// compression makes smaller, stores it as "golden" with the server, and returns
// it with the bytes that a flash of an empty disk fetches.
func golden(t *testing.T, data int64, servers ...*server) (disk []byte, fetched int64) {
	t.Helper()
	size := data + 8*mib
	disk = make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(disk[2*mib : 2*mib+data]) // never fails
	path := filepath.Join(t.TempDir(), "golden.raw")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	table := fmt.Sprintf("label: gpt\nstart=4096, size=%d, type=linux\n", (size-4*mib)/512)
	cmd := exec.CommandContext(t.Context(), "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path)
	cmd.Stdin = strings.NewReader(table)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v: %s", err, out)
	}
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		s.gild(t, "image", "add", "golden", path, "--level", "fast", "--kernel", kernel(t))
	}
	st, err := store.Open(filepath.Join(servers[0].data, "images"))
	if err != nil {
		t.Fatal(err)
	}
	im, err := st.Image("golden")
	if err != nil {
		t.Fatal(err)
	}
	for i := range im.Table.Len() {
		if c := im.Table.Chunk(i); !c.Zero {
			fetched += c.Length
		}
	}
	return disk, fetched
}

// kernel is the head of an x86 kernel that tells its release
// (Documentation/arch/x86/boot.rst): nobody starts it here.
func kernel(t *testing.T) string {
	t.Helper()
	b := make([]byte, 4096)
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(b[0x206:], 0x20c)
	binary.LittleEndian.PutUint16(b[0x20e:], 0x400)
	b[0x236] = 1 // 64 bit
	copy(b[0x600:], "6.1.0-golden (builder@host) #1 SMP")
	path := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
