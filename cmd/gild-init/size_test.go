package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Every machine fetches this program before anything else can happen. It is
// built with this tag: no server of gild's speaks HTTP/2 without TLS, and the
// library's HTTP/2 costs 0.4 MB. What is never in a hurry is not inlined.
const tags = "nethttpomithttp2"

const (
	maxSize       = 8 << 20
	maxCompressed = 3 << 20
)

// calm are the packages that the Makefile builds without inlining.
func calm(t *testing.T) []string {
	text, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(strings.ReplaceAll(string(text), "\\\n", " "), "\nCALM ")
	list, _, _ := strings.Cut(rest, "\n")
	if !ok {
		t.Fatal("the Makefile has no list CALM")
	}
	return strings.Fields(strings.TrimLeft(list, " ="))
}

func TestSize(t *testing.T) {
	out := filepath.Join(t.TempDir(), "gild-init")
	args := []string{"build", "-trimpath", "-tags", tags, "-ldflags", "-s -w", "-o", out}
	for _, p := range calm(t) {
		args = append(args, "-gcflags="+p+"=-l")
	}
	cmd := exec.CommandContext(t.Context(), "go", append(args, ".")...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, text)
	}
	program, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	enc, err := zstd.NewWriter(&packed, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := enc.Write(program); err != nil {
		t.Fatal(err)
	}
	if err := enc.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("gild-init: %d bytes, %d compressed", len(program), packed.Len())
	if len(program) > maxSize || packed.Len() > maxCompressed {
		t.Errorf("gild-init has %d bytes, %d compressed; want at most %d, %d: what was imported?", len(program), packed.Len(), maxSize, maxCompressed)
	}
}
