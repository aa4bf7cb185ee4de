package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/gild-dev/gild/internal/initramfs"
)

// Every machine fetches this program before anything else can happen: what it
// may take, alone and inside an initramfs, in bytes.
const (
	maxSize       = 12 << 20
	maxCompressed = initramfs.AgentBudget
)

// What is measured is what `make agent` builds.
func TestSize(t *testing.T) {
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "make", "-C", "../..", "agent", "AGENTBIN="+dir)
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, text)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	defer enc.Close()
	for _, arch := range architectures {
		program, err := os.ReadFile(filepath.Join(dir, "gild-init-"+arch))
		if err != nil {
			t.Fatal(err)
		}
		packed := len(enc.EncodeAll(program, nil))
		t.Logf("gild-init for %s: %d bytes, %d compressed", arch, len(program), packed)
		if len(program) > maxSize || packed > maxCompressed {
			t.Errorf("gild-init for %s has %d bytes, %d compressed; want at most %d, %d: what was imported?", arch, len(program), packed, maxSize,
				maxCompressed)
		}
	}
}
