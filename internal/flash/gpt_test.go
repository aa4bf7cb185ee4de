package flash

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gptDisk is a disk of n bytes with a GPT made by sgdisk: a boot partition
// and one that reaches the end, both full of content.
func gptDisk(t testing.TB, seed byte, n int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, make([]byte, n), 0o600); err != nil {
		t.Fatal(err)
	}
	sgdisk(t, "-a", "1", "-n", "1:2048:4095", "-t", "1:ef02", "-n", "2:4096:0", path)
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content := randomDisk(seed, n)
	copy(disk[mib:n-mib], content[mib:])
	return disk
}

func sgdisk(t testing.TB, args ...string) string {
	t.Helper()
	tool, err := exec.LookPath("sgdisk")
	if err != nil {
		t.Skip("sgdisk is not installed")
	}
	out, err := exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("sgdisk %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// The disk is larger than the image by anything from nothing to much: the
// backup GPT stands at its real end, and sgdisk finds nothing to complain of.
func TestGPTIsFittedToTheDisk(t *testing.T) {
	image := gptDisk(t, 2, 6*mib)
	im := newTestImage(t, image, "gpt")
	for _, extra := range []int{0, sector, 32 * sector, 33 * sector, 64 << 10, mib, 5 * mib} {
		old := randomDisk(1, len(image)+extra)
		d := newModelDisk(old)
		if _, err := Run(t.Context(), Job{Image: im.Image, Source: im.by(im), Disk: d}); err != nil {
			t.Fatalf("%d bytes larger: %v", extra, err)
		}
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, d.now, 0o600); err != nil {
			t.Fatal(err)
		}
		if out := sgdisk(t, "-v", path); !strings.Contains(out, "No problems found") {
			t.Errorf("%d bytes larger: sgdisk -v says\n%s", extra, out)
		}
		if !bytes.Equal(d.now[mib:len(image)-mib], image[mib:len(image)-mib]) {
			t.Errorf("%d bytes larger: the content is not the image's", extra)
		}
	}
}
