package blockdev

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/tier"
)

const mib = 1 << 20

func tool(t testing.TB, name string) string {
	t.Helper()
	for _, p := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func run(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool(t, name), args...) // not t.Context(): cleanups run tools as well
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// pattern is size bytes without long runs of zeros.
func pattern(size int) []byte {
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range b {
		b[i] = byte(r.Uint32()) | 1
	}
	return b
}

// diskFile makes a file with the given content on a file system that has
// O_DIRECT and holes.
func diskFile(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// loop attaches path to a loop device for the time of the test.
func loop(t testing.TB, path string, args ...string) string {
	t.Helper()
	tier.Root(t, "loop devices need root")
	out, err := exec.Command(tool(t, "losetup"), append([]string{"--find", "--show"}, append(args, path)...)...).Output()
	if err != nil {
		t.Skipf("no loop device to be had: %v", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { run(t, "", "losetup", "-d", dev) })
	return dev
}

// targets are the kinds of things that can be opened, each filled with content.
func targets(t *testing.T, content []byte, test func(t *testing.T, path string, opts Options)) {
	t.Helper()
	t.Run("file", func(t *testing.T) { test(t, diskFile(t, content), Options{AllowFile: true}) })
	t.Run("loop 512", func(t *testing.T) { test(t, loop(t, diskFile(t, content)), Options{}) })
	t.Run("loop 4096", func(t *testing.T) { test(t, loop(t, diskFile(t, content), "-b", "4096"), Options{}) })
}

func mustOpen(t testing.TB, path string, opts Options) *Device {
	t.Helper()
	d, err := Open(path, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// readBackAll reads the whole medium.
func readBackAll(t testing.TB, d *Device) []byte {
	t.Helper()
	r, err := d.OpenReadBack()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := AlignedBuffer(int(d.Size()))
	if n, err := r.ReadAt(b, 0); n != len(b) || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("reading back: %d, %v", n, err)
	}
	return b
}

func sameBytes(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d bytes; want %d", what, len(got), len(want))
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: byte %d is %#x; want %#x", what, i, got[i], want[i])
			return
		}
	}
}
