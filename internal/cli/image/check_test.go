package image_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/bootspec/bootspectest"
)

// What image check says of a file it says of the same image when it is stored,
// and nothing of the file stays behind.
func TestCheck(t *testing.T) {
	data, disk, kernel := t.TempDir(), clitest.RootDisk(t), clitest.KernelFile(t)
	got := gild.Run(t, data, nil, "image", "check", disk)
	for _, want := range []string{
		"problem  kernel              none was found in the image", "-> gild kernel add NAME FILE.deb",
		"warning  boot loader         none was found", "warning  disk                8.0 MiB",
	} {
		if got.Code != exit.CodeFailed || !strings.Contains(got.Stdout, want) {
			t.Errorf("without a kernel: %+v; want exit code 1 and %q", got, want)
		}
	}
	got = gild.Run(t, data, nil, "image", "check", disk, "--kernel", kernel)
	for _, want := range []string{"ok       kernel              6.1.0-golden", "ok       first program       /sbin/init", "ok       clones"} {
		if got.Code != exit.CodeOK || !strings.Contains(got.Stdout, want) {
			t.Errorf("with a kernel: %+v; want %q", got, want)
		}
	}
	other := t.TempDir()
	st, err := store.Open(filepath.Join(other, "images"))
	if err != nil {
		t.Fatal(err)
	}
	bootspectest.AddKernel(t, st, "k", bootkernel.Config{Arch: "amd64", Release: "6.12"})
	const want = "ok       kernel              none was found in the image: the agent runs on a boot kernel, k (6.12, amd64)"
	if got := gild.Run(t, other, nil, "image", "check", disk); got.Code != exit.CodeOK || !strings.Contains(got.Stdout, want) {
		t.Errorf("with a boot kernel: %+v; want %q", got, want)
	}
	if left, _ := filepath.Glob(filepath.Join(data, "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if added := gild.Run(t, data, nil, "image", "add", "web", disk, "--kernel", kernel); added.Code != exit.CodeOK {
		t.Fatalf("%+v", added)
	}
	points := func(text string) (out []string) {
		for line := range strings.Lines(text) {
			if !strings.Contains(line, " note ") && !strings.Contains(line, " -> ") {
				out = append(out, line)
			}
		}
		return out
	}
	again := gild.Run(t, data, nil, "image", "check", "web")
	if a, b := points(got.Stdout), points(again.Stdout); again.Code != exit.CodeOK || strings.Join(a, "") != strings.Join(b, "") {
		t.Errorf("the file:\n%s\nstored:\n%s", got.Stdout, again.Stdout)
	}
	if got := gild.Run(t, data, nil, "image", "check", "-o", "json", "web"); got.Code != exit.CodeOK ||
		!strings.Contains(got.Stdout, `"level": "ok"`) {
		t.Errorf("-o json: %+v", got)
	}
	if got := gild.Run(t, data, nil, "image", "check", "nosuch"); got.Code != exit.CodeNotFound {
		t.Errorf("an unknown name: %+v; want exit code %d", got, exit.CodeNotFound)
	}
	cut := filepath.Join(t.TempDir(), "cut.gz")
	if err := os.WriteFile(cut, []byte("\x1f\x8b\x08\x00\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := gild.Run(t, data, nil, "image", "check", cut); got.Code != exit.CodeInput {
		t.Errorf("a file that is cut: %+v; want exit code %d", got, exit.CodeInput)
	}
}

// What every clone would have in common is told, with what to do.
func TestCheckFindsLeftovers(t *testing.T) {
	tree, disk := t.TempDir(), clitest.Sparse(t, 8<<20)
	for name, text := range map[string]string{
		"etc/os-release": "x", "sbin/init": "x", "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
		"etc/ssh/ssh_host_ed25519_key": "x",
	} {
		if err := os.MkdirAll(filepath.Join(tree, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(tree, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	clitest.Tool(t, "", "mkfs.ext4", "-q", "-F", "-d", tree, disk)
	got := gild.Run(t, t.TempDir(), nil, "image", "check", disk, "--kernel", clitest.KernelFile(t))
	for _, want := range []string{
		"warning  clones              /etc/machine-id: ", "/etc/ssh/ssh_host_ed25519_key: ",
		"or give machines an identity",
	} {
		if got.Code != exit.CodeOK || !strings.Contains(got.Stdout, want) {
			t.Errorf("%+v; want %q", got, want)
		}
	}
}
