// Package previous holds this version to what it promises of the one before:
// its data, its files, its agents.
package previous

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

// before is the oldest commit whose data and agents this version takes:
// docs/operations.md, "Upgrading".
const before = "68324fa"

// root of the repository.
const root = "../.."

// player is a program of the version before: a machine whose agent asks a
// server on loopback.
const player = `package main

import (
	"context"
	"os"

	"github.com/gild-dev/gild/internal/agent"
	"github.com/gild-dev/gild/internal/api"
)

func main() {
	mac := os.Args[1]
	if err := os.WriteFile(mac+".raw", nil, 0o600); err != nil {
		panic(err)
	}
	if err := os.Truncate(mac+".raw", 4<<30); err != nil {
		panic(err)
	}
	if err := agent.Rehearse(context.Background(), agent.Rehearsal{
		Servers: "http://127.0.0.1:8080",
		Inventory: api.Inventory{
			MAC: mac, UUID: "0a1f6c52-7d07-4c0e-9d9a-000000000001", Serial: "PREVIOUS-1", Firmware: "bios", Kernel: "6.1.0", Arch: "amd64",
			CPUs: 1, Memory: 1 << 30, NICs: []api.NIC{{Name: "eth0", MAC: mac, Carrier: true}},
		},
		Disk: mac + ".raw", Drive: api.Disk{Name: "sda", Serial: "DISK-1", Transport: "sata"},
	}); err != nil {
		panic(err)
	}
}
`

// fleet is what is applied by the version before, and once more by this one.
const fleet = `groups:
  - name: racks
    selector: rack
    flash: {image: web}
`

// TestLongPreviousVersion: a server of this version takes over the data, the
// backup, the files and a machine's agent of the version before.
func TestLongPreviousVersion(t *testing.T) {
	host.Need(t, "git", "unshare", "ip")
	program := host.Program(t)
	if err := exec.Command("git", "-C", root, "cat-file", "-e", before+"^{commit}").Run(); err != nil {
		t.Skipf("this clone does not go back to %s: git fetch --unshallow", before)
	}
	tree := filepath.Join(t.TempDir(), "before")
	run(t, root, "git", "worktree", "add", "--detach", tree, before)
	t.Cleanup(func() { _ = exec.Command("git", "-C", root, "worktree", "remove", "--force", tree).Run() })
	run(t, tree, "make", "-s", "build")
	write(t, filepath.Join(tree, "cmd/player/main.go"), player)
	run(t, tree, "go", "build", "-o", "bin/player", "./cmd/player")

	dir := t.TempDir()
	write(t, filepath.Join(dir, "fleet.yaml"), fleet)
	script, err := filepath.Abs("testdata/previous.sh")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := images.Golden(t.Context(), images.Ext4MBR().Lean())
	if err != nil {
		t.Fatal(err)
	}
	told := run(t, dir, "unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
		"bash", script, filepath.Join(tree, "bin/gild"), program, filepath.Join(tree, "bin/player"), golden)
	for _, want := range []string{
		"machines: web-1 web-2 ",
		"still armed: armed, armed",
		"images: web, verified 1",
		"the same files change nothing: yes",
		"an agent of before: handing off, equal",
		"its past: 1",
		"from a backup of before: web-1 web-2 disarmed registered",
		"done",
	} {
		if !strings.Contains(told, "== "+want+"\n") {
			t.Errorf("it was not told that %q", want)
		}
	}
	t.Log(told)
}

func run(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
