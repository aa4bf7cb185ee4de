package guide

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

// What makes this binary something else than a test: the reader of the page, in
// a network of its own, and a machine of the rack.
const (
	envReader  = "GILD_GUIDE_READER"
	envMachine = "GILD_GUIDE_MACHINE"
)

func TestMain(m *testing.M) {
	var err error
	switch {
	case os.Getenv(envReader) != "":
		err = read(context.Background(), os.Getenv(envReader))
	case os.Getenv(envMachine) != "":
		err = play(context.Background(), os.Getenv(envMachine))
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// TestGuide does what the guide says, on a server of its own, with two machines
// that are played.
func TestGuide(t *testing.T) {
	host.Need(t, "unshare", "ip", "mount")
	if _, err := os.Stat("/usr/lib/ipxe/undionly.kpxe"); err != nil {
		t.Skip("iPXE is not installed (package ipxe)")
	}
	program := host.Program(t)
	golden, err := images.Golden(t.Context(), images.XFSBIOS().Lean())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range []string{"bin", "lib", "work/fleet/keys"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"bin/sudo": "#!/bin/sh\nexec \"$@\"\n", "bin/apt-get": "#!/bin/sh\n", "work/fleet/keys/ops.pub": "ssh-ed25519 AAAA ops\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, of := range map[string]string{"bin/gild": program, "work/golden.img": golden} {
		if err := os.Symlink(of, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	page, err := filepath.Abs("../../docs/guide.md")
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", self)
	cmd.Dir = filepath.Join(dir, "work")
	cmd.Env = append(os.Environ(), envReader+"="+page, "TZ=UTC")
	var told bytes.Buffer
	cmd.Stdout, cmd.Stderr = &told, &told
	if err := cmd.Run(); err != nil {
		t.Errorf("the guide is not as it says: %v\n%s", err, &told)
	}
	if t.Log(&told); strings.Count(told.String(), "as it says: ") < 15 {
		t.Error("fewer than 15 commands were tried")
	}
}
