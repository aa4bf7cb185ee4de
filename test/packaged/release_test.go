package packaged

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/test/lab/host"
)

// TestLongPolicy: what Debian's own judge finds in the deb.
func TestLongPolicy(t *testing.T) {
	host.Need(t, "lintian")
	host.Program(t)
	out, err := exec.CommandContext(t.Context(), "lintian", "--allow-root", "--fail-on", "warning", deb(t, "0.9.1")).CombinedOutput()
	if err != nil || len(out) > 0 {
		t.Errorf("lintian: %v\n%s", err, out)
	}
}

// TestLongRelease: two builds of one commit are the same to the last byte, and
// the rpm installs what the deb does.
func TestLongRelease(t *testing.T) {
	host.Need(t, "rpm", "dpkg-deb")
	host.Program(t)
	var sums []string
	var dir string
	for range 2 {
		dir = t.TempDir()
		if out, err := exec.CommandContext(t.Context(), root+"/scripts/package", "all", dir).CombinedOutput(); err != nil {
			t.Fatalf("scripts/package: %v: %s", err, out)
		}
		p, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, string(p))
	}
	if sums[0] != sums[1] || strings.Count(sums[0], "\n") < 8 {
		t.Errorf("two builds of one commit:\n%s\n%s", sums[0], sums[1])
	}
	tree := t.TempDir()
	run(t, "rpm", "--root", tree, "--dbpath", "/rpmdb", "--nodeps", "--noscripts", "-i", one(t, dir, "*.x86_64.rpm"))
	if out := run(t, "rpm", "--root", tree, "--dbpath", "/rpmdb", "--noscripts", "--nodeps", "-V", "gild"); out != "" {
		t.Errorf("rpm -V finds %s", out)
	}
	debTree := t.TempDir()
	run(t, "dpkg-deb", "-x", one(t, dir, "*_amd64.deb"), debTree)
	for _, name := range []string{
		"usr/bin/gild", "usr/lib/systemd/system/gild.service", "etc/gild/gild.yaml", "usr/share/man/man1/gild.1.gz",
	} {
		a, errA := os.ReadFile(filepath.Join(tree, name))
		b, errB := os.ReadFile(filepath.Join(debTree, name))
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s differs between deb and rpm: %v, %v", name, errA, errB)
		}
	}
	if _, err := os.Stat(filepath.Join(tree, "usr/share/licenses/gild/LICENSE")); err != nil {
		t.Error(err)
	}
}

// one is the only file of a pattern.
func one(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", pattern, found, err)
	}
	return found[0]
}
