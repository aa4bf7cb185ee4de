package kernel_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden/deb/debtest"
	"github.com/gild-dev/gild/internal/golden/vmlinuz/vmlinuztest"
	"github.com/gild-dev/gild/internal/initramfs/kmod/kmodtest"
)

var gild = clitest.Main(cli.Main)

// kernelPackage is the file of a package with a kernel.
func kernelPackage(t *testing.T, release string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "linux.deb")
	base := "./lib/modules/" + release + "/"
	p := debtest.Package(t, map[string]string{
		"./boot/vmlinuz-" + release:                  string(vmlinuztest.BzImage(release + " (builder@host)")),
		base + "kernel/drivers/net/ethernet/e100.ko": string(kmodtest.Module{Info: []string{"name=e100"}}.ELF()),
		base + "modules.builtin":                     "",
	})
	if err := os.WriteFile(name, p, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestAddListShow(t *testing.T) {
	data := t.TempDir()
	for name, release := range map[string]string{"old": "6.1.9", "new": "6.1.10"} {
		if got := gild.Run(t, data, nil, "kernel", "add", name, kernelPackage(t, release), "--cmdline",
			"console=ttyS0"); got.Code != exit.CodeOK {
			t.Fatalf("add: %+v", got)
		}
	}
	got := gild.Run(t, data, nil, "kernel", "ls", "--json")
	var listed []struct {
		Name, Arch, Release string
		Default             bool
	}
	if err := json.Unmarshal([]byte(got.Stdout), &listed); err != nil || len(listed) != 2 || listed[0].Name != "new" || !listed[0].Default ||
		listed[1].Default {
		t.Errorf("ls --json: %v, %+v", err, got)
	}
	if got := gild.Run(t, data, nil, "kernel", "show", "old"); got.Code != exit.CodeOK || !strings.Contains(got.Stdout, "6.1.9 amd64") ||
		!strings.Contains(got.Stdout, "console=ttyS0") {
		t.Errorf("show: %+v", got)
	}
	for code, args := range map[int][]string{
		exit.CodeNotFound: {"show", "gone"},
		exit.CodeUsage:    {"add", "A B", "host"},
		exit.CodeInput:    {"add", "x", filepath.Join("testdata", "..", "kernel_test.go")},
	} {
		if got := gild.Run(t, data, nil, append([]string{"kernel"}, args...)...); got.Code != code {
			t.Errorf("kernel %v: %+v; want code %d", args, got, code)
		}
	}
	if got := gild.Run(t, data, nil, "kernel", "add", "x", "gone"); got.Code != exit.CodeNotFound || !strings.Contains(got.Stderr, "hint") {
		t.Errorf("add of what is not there: %+v; want what to give", got)
	}
}

// What machines or images need is not removed in silence.
func TestRmRefuses(t *testing.T) {
	armed := api.Machine{ID: "52:54:00:00:00:01", Armed: &api.Armed{Boots: &api.Boots{Kernel: "old"}}}
	f := clitest.NewFake(t, armed)
	data := t.TempDir()
	for name, release := range map[string]string{"old": "6.1.9", "new": "6.1.10"} {
		if got := gild.Run(t, data, nil, "kernel", "add", name, kernelPackage(t, release)); got.Code != exit.CodeOK {
			t.Fatalf("add: %+v", got)
		}
	}
	if got := gild.Run(t, data, clitest.Disk(8<<10), "image", "add", "plain", "-"); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	f.ServeLocally(t, data)
	rm := func(args ...string) clitest.Outcome {
		return gild.Run(t, data, nil, append([]string{"kernel", "rm"}, args...)...)
	}
	if got := rm("old"); got.Code != exit.CodeRefused || !strings.Contains(got.Stderr, "is armed and boots old") {
		t.Errorf("%+v; want it refused", got)
	}
	if got := rm("gone", "new"); got.Code != exit.CodeNotFound {
		t.Errorf("%+v; want none removed where one is not there", got)
	}
	if got := rm("new"); got.Code != exit.CodeOK || got.Stdout != "new removed\n" {
		t.Errorf("%+v; want it removed: another one is left", got)
	}
	if got := rm("old", "--force"); got.Code != exit.CodeOK {
		t.Errorf("by force: %+v", got)
	}
	if got := gild.Run(t, data, nil, "kernel", "add", "last", kernelPackage(t, "6.1")); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	if got := rm("last"); got.Code != exit.CodeRefused || !strings.Contains(got.Stderr, "flashed with plain") {
		t.Errorf("%+v; want the last one refused", got)
	}
}

// A state at rest knows of arms, and nobody can be asked.
func TestRmBesideAStateAtRest(t *testing.T) {
	data := t.TempDir()
	if got := gild.Run(t, data, nil, "kernel", "add", "k", kernelPackage(t, "6.1")); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	if err := os.MkdirAll(filepath.Join(data, "etcd", "member"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := gild.Run(t, data, nil, "kernel", "rm", "k"); got.Code != exit.CodeRefused || !strings.Contains(got.Stderr, "no server runs") {
		t.Errorf("%+v; want it refused", got)
	}
	if got := gild.Run(t, data, nil, "kernel", "rm", "--force", "k"); got.Code != exit.CodeOK {
		t.Errorf("by force: %+v", got)
	}
}
