package write_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/disk/mounttest"
)

var gild = clitest.Main(cli.Main)

// The backup GPT moves to the end of whatever the image is written to.
func TestWriteMovesTheBackupGPT(t *testing.T) {
	data := t.TempDir()
	if got := gild.Run(t, data, nil, "image", "add", "a", clitest.GPTDisk(t)); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	targets := map[string]func(t *testing.T) string{
		"file": func(t *testing.T) string { return clitest.Sparse(t, 24<<20) },
		"loop": func(t *testing.T) string { return clitest.Loop(t, clitest.Sparse(t, 24<<20)) },
	}
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			target := target(t)
			got := gild.Run(t, data, nil, "write", "a", target, "--yes", "--json")
			if got.Code != exit.CodeOK {
				t.Fatalf("write: %+v", got)
			}
			if out := clitest.Tool(t, "", "sgdisk", "-v", target); !strings.Contains(out, "No problems found") {
				t.Errorf("sgdisk -v:\n%s", out)
			}
			if out := clitest.Tool(t, "", "sfdisk", "--verify", target); !strings.Contains(out, "No errors detected") {
				t.Errorf("sfdisk --verify:\n%s", out)
			}
			f, err := os.Open(target)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			var head [8]byte
			if _, err := f.ReadAt(head[:], 24<<20-512); err != nil || string(head[:]) != "EFI PART" {
				t.Errorf("the last sector begins with %q, %v; want the backup GPT", head, err)
			}
		})
	}
}

// A disk that something uses is refused before the first write.
func TestWriteRefusesAMountedDisk(t *testing.T) {
	data := t.TempDir()
	file := clitest.Sparse(t, 24<<20)
	dev := clitest.Loop(t, file)
	clitest.Tool(t, "", "mkfs.ext4", "-q", dev)
	dir := t.TempDir()
	if err := unix.Mount(dev, dir, "ext4", 0, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	t.Cleanup(func() { mounttest.Unmount(t, dir) })
	if got := gild.Run(t, data, nil, "image", "add", "a", clitest.GPTDisk(t)); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	got := gild.Run(t, data, nil, "write", "a", dev, "--yes")
	if got.Code != exit.CodeRefused || !strings.Contains(got.Stderr, dir) {
		t.Errorf("write to a mounted disk: %+v; want exit code %d and %s", got, exit.CodeRefused, dir)
	}
	if err := os.WriteFile(filepath.Join(dir, "still"), []byte("alive"), 0o644); err != nil {
		t.Errorf("the mounted file system: %v", err)
	}
}

// An unused disk that holds something is shown, and not touched unasked.
func TestWriteShowsWhatADiskHolds(t *testing.T) {
	data := t.TempDir()
	file := clitest.Sparse(t, 24<<20)
	clitest.Tool(t, "", "mkfs.ext4", "-q", "-F", "-L", "holiday", file)
	if got := gild.Run(t, data, nil, "image", "add", "a", clitest.GPTDisk(t)); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got := gild.Run(t, data, []byte("yes\n"), "write", "a", file)
	if got.Code != exit.CodeRefused || !strings.Contains(got.Stderr, "ext4") || !strings.Contains(got.Stderr, "--yes") {
		t.Errorf("write: %+v; want exit code %d, what is there and --yes", got, exit.CodeRefused)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the target changed, %v", err)
	}
}
