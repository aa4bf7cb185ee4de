// Package packaged installs the deb in a Debian system with systemd, flashes a
// machine there, upgrades under it, removes it.
package packaged

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/agent"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

// root of the repository.
const root = "../.."

// envMachine makes this binary the machine that is flashed.
const envMachine = "GILD_PACKAGED_MACHINE"

func TestMain(m *testing.M) {
	if os.Getenv(envMachine) != "" {
		if err := play(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// play is a machine whose agent asks the server of the package.
func play(ctx context.Context) error {
	const mac = "52:54:00:00:00:01"
	return agent.Rehearse(ctx, agent.Rehearsal{
		Servers: "http://127.0.0.1:8080",
		Inventory: api.Inventory{
			MAC: mac, UUID: "0a1f6c52-7d07-4c0e-9d9a-000000000001", Serial: "PACKAGED-1", Firmware: "uefi", Kernel: "6.1.0", Arch: "amd64",
			CPUs: 1, Memory: 1 << 30, NICs: []api.NIC{{Name: "eth0", MAC: mac, Carrier: true}},
		},
		Disk: "/root/machine.raw", Drive: api.Disk{Name: "sda", Serial: "DISK-1", Transport: "sata"},
	})
}

// TestLongLifeOfAPackage: installed, started, a machine flashed, upgraded in
// the middle of that, removed, purged.
func TestLongLifeOfAPackage(t *testing.T) {
	host.Need(t, "systemd-nspawn", "zstd", "tar")
	host.Program(t) // of which the package is made
	tree := debian(t)
	for name, version := range map[string]string{"old": "0.8.9", "new": "0.9.1"} {
		install(t, deb(t, version), filepath.Join(tree, "root", name+".deb"), 0o644)
	}
	golden, err := images.Golden(t.Context(), images.Ext4MBR().Lean())
	if err != nil {
		t.Fatal(err)
	}
	run(t, "cp", "--sparse=always", golden, filepath.Join(tree, "root/disk"))
	run(t, "truncate", "--size", "4G", filepath.Join(tree, "root/machine.raw"))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	install(t, self, filepath.Join(tree, "root/machine.bin"), 0o755)
	write(t, filepath.Join(tree, "root/machine"), []byte("#!/bin/sh\nexport "+envMachine+"=1\nexec /root/machine.bin\n"), 0o755)

	told := live(t, tree)
	for _, want := range []string{
		"not running: inactive, disabled",
		"started: active, as gild, version 0.8.9",
		"completion: 1",
		"images are the service's: gild",
		"upgraded: version 0.9.1, running active, another process yes, settings interface: lo",
		"meanwhile: flashing",
		"flashed: equal",
		"removed: inactive, images 6, settings kept",
		"back: web, web-1",
		"purged: 0 left, user 0",
		"done",
	} {
		if !strings.Contains(told, "== "+want+"\n") {
			t.Errorf("it was not told that %q", want)
		}
	}
	for what, most := range map[string]float64{"exposure": 3.0} {
		var is float64
		if _, err := fmt.Sscanf(line(told, what), "%f", &is); err != nil || is > most {
			t.Errorf("%s: %q; want at most %v", what, line(told, what), most)
		}
	}
	if line(told, "pages") < "3" {
		t.Errorf("%s manual pages", line(told, "pages"))
	}
	t.Log(told)
}

// line is what was told of a thing.
func line(told, what string) string {
	_, after, _ := strings.Cut(told, "== "+what+": ")
	text, _, _ := strings.Cut(after, "\n")
	return text
}

// debian unpacks a system of its own.
func debian(t *testing.T) string {
	t.Helper()
	cache, err := host.Cache()
	if err != nil {
		t.Fatal(err)
	}
	base, err := (&images.Builder{Cache: cache}).Base(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tree := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, "tar", "--zstd", "-xf", base, "-C", tree)
	// What the package recommends.
	run(t, "cp", "-r", "/usr/lib/ipxe", filepath.Join(tree, "usr/lib"))
	return tree
}

// deb makes the package of the program that is there, as of a version.
func deb(t *testing.T, version string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), root+"/scripts/package", "deb", dir)
	cmd.Env = append(os.Environ(), "VERSION="+version)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("scripts/package: %v: %s", err, out)
	}
	found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil || len(found) != 1 {
		t.Fatalf("scripts/package made %v, %v", found, err)
	}
	return found[0]
}

// live boots the system, which runs life.sh and ends, and gives what that told.
func live(t *testing.T, tree string) string {
	t.Helper()
	install(t, "testdata/life.sh", filepath.Join(tree, "root/life.sh"), 0o755)
	write(t, filepath.Join(tree, "etc/systemd/system/life.service"), []byte(`[Unit]
After=multi-user.target
[Service]
Type=oneshot
TimeoutStartSec=8min
ExecStart=/root/life.sh
StandardOutput=file:/root/told
StandardError=file:/root/told
ExecStopPost=/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
`), 0o644)
	wants := filepath.Join(tree, "etc/systemd/system/multi-user.target.wants")
	if err := os.MkdirAll(wants, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../life.service", filepath.Join(wants, "life.service")); err != nil {
		t.Fatal(err)
	}
	boot := run(t, "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--boot", "--directory", tree)
	told, err := os.ReadFile(filepath.Join(tree, "root/told"))
	if err != nil {
		t.Skipf("no system could be started in a container here: %v: %s", err, boot)
	}
	return string(told)
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil && name != "systemd-nspawn" { // the judge of that is what it left
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

func install(t *testing.T, from, to string, mode os.FileMode) {
	t.Helper()
	p, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, p, mode)
}

func write(t *testing.T, path string, p []byte, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, p, mode); err != nil {
		t.Fatal(err)
	}
}
