package room

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/golden/store"
)

const mib = 1 << 20

// Layout of the golden disk, bytes.
const (
	rootStart, rootSize = 1 * mib, 4 * mib
	dataStart           = 6 * mib
)

// golden makes a disk with a small root file system and a partition of data
// that no compression makes smaller, stores it as "golden" with the servers,
// and returns it with the bytes that a flash of an empty disk fetches.
func golden(t *testing.T, data int64, servers ...*server) (disk []byte, fetched int64) {
	t.Helper()
	disk = make([]byte, dataStart+data+2*mib)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(disk[dataStart : dataStart+data]) // never fails
	copy(disk[rootStart:], root(t))
	path := filepath.Join(t.TempDir(), "golden.raw")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, fmt.Sprintf("label: gpt\nstart=%d, size=%d, type=linux\nstart=%d, size=%d, type=linux\n",
		rootStart/512, rootSize/512, dataStart/512, data/512), "sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", path)
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range servers {
		s.gild(t, "image", "add", "golden", path, "--level", "fast", "--keep-free", "--kernel", clitest.KernelFile(t))
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

// root is a file system that looks like the root of a system.
func root(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	tree, path := filepath.Join(dir, "tree"), filepath.Join(dir, "root.ext4")
	for _, name := range []string{"etc/os-release", "sbin/init"} {
		name = filepath.Join(tree, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("x"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	run(t, "", "mkfs.ext4", "-q", "-d", tree, path, strconv.Itoa(rootSize/1024)+"k")
	p, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, stdin, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}
