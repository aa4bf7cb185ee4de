package clitest

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden/vmlinuz/vmlinuztest"
	"github.com/gild-dev/gild/internal/tier"
)

// Tool runs a foreign program, also where an unprivileged PATH does not look.
func Tool(t *testing.T, stdin, name string, args ...string) string {
	t.Helper()
	path := ""
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if p, err := exec.LookPath(candidate); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Sparse makes a file that is one hole.
func Sparse(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sparse")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// GPTDisk is a disk of 8 MiB with one partition.
func GPTDisk(t *testing.T) string {
	t.Helper()
	path := Sparse(t, 8<<20)
	Tool(t, "label: gpt\nstart=2048, size=8192, type=linux\n", "sfdisk", "-q", "--no-reread", "--no-tell-kernel", path)
	return path
}

// Loop gives a loop device of its own over a file.
func Loop(t *testing.T, file string) string {
	t.Helper()
	tier.Root(t, "a loop device needs root")
	out, err := exec.CommandContext(t.Context(), "losetup", "--find", "--show", file).Output()
	if err != nil {
		t.Skipf("no loop device here: %v", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if err := exec.CommandContext(context.Background(), "losetup", "-d", dev).Run(); err != nil {
			t.Errorf("losetup -d %s: %v", dev, err)
		}
	})
	return dev
}

// KernelFile is the head of a kernel that tells its release.
func KernelFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(path, vmlinuztest.BzImage("6.1.0-golden (builder@host) #1 SMP"), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// RootDisk is a disk that is the root of a system, without a table.
func RootDisk(t *testing.T) string {
	t.Helper()
	tree, path := t.TempDir(), Sparse(t, 8<<20)
	for _, name := range []string{"etc/os-release", "sbin/init"} {
		if err := errors.Join(os.MkdirAll(filepath.Join(tree, filepath.Dir(name)), 0o755),
			os.WriteFile(filepath.Join(tree, name), []byte("x"), 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	Tool(t, "", "mkfs.ext4", "-q", "-F", "-d", tree, path)
	return path
}

// Disk has data that does not compress, zeros and no partition table.
func Disk(size int) []byte {
	rng := rand.New(rand.NewPCG(5, 6))
	p := make([]byte, size)
	for i := 0; i < len(p)/2; i++ {
		p[i] = byte(rng.Uint32())
	}
	return p
}

// Listing is every path below dir with size and, for what may change in
// place, content.
func Listing(dir string) string {
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		b.WriteString(strings.TrimPrefix(path, dir) + " " + d.Type().String())
		if d.Type().IsRegular() {
			p, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			b.WriteString(" " + strconv.Itoa(len(p)))
			if filepath.Base(path) == "index.json" {
				b.Write(p)
			}
		}
		b.WriteString("\n")
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err.Error()
	}
	return b.String()
}
