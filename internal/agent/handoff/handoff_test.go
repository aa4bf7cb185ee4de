package handoff

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

// tree makes files ("text"), links ("-> target") and directories ("/") below
// a new directory.
func tree(t testing.TB, entries map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, what := range entries {
		path := filepath.Join(root, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if target, ok := strings.CutPrefix(what, "-> "); ok {
			err = errors.Join(err, os.Symlink(target, path))
		} else if what == "/" {
			err = errors.Join(err, os.MkdirAll(path, 0o755))
		} else {
			err = errors.Join(err, os.WriteFile(path, []byte(what), 0o755))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestResolveStaysInside(t *testing.T) {
	root := tree(t, map[string]string{
		"usr/lib/systemd/systemd": "x", "lib": "-> usr/lib", "sbin/init": "-> /lib/systemd/systemd", "up": "-> ../../../../usr",
		"loop": "-> loop", "etc/outside": "-> /etc/passwd", "dot": "-> ./usr/./lib/../lib",
	})
	for name, want := range map[string]string{
		"/sbin/init": "usr/lib/systemd/systemd", "/up/lib/systemd/systemd": "usr/lib/systemd/systemd", "/dot/systemd": "usr/lib/systemd",
		"/../../usr": "usr", "/": "", "/loop": "!", "/etc/outside": "!", "/absent": "!",
	} {
		got, err := Resolve(root, name)
		if want == "!" {
			if err == nil {
				t.Errorf("Resolve(%q) = %q; want an error", name, got)
			}
			continue
		}
		if err != nil || got != filepath.Join(root, want) {
			t.Errorf("Resolve(%q) = %q, %v; want %q below the root", name, got, err, want)
		}
	}
}

func TestCheckInit(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(self)
	other[18], other[19] = 243, 0 // EM_RISCV
	shared, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	interpreter, err := checkELF(bytes.NewReader(shared), runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	root := tree(t, map[string]string{
		"static": string(self), "other": string(other), "link": "-> /static", "script": "#! /link -x\n", "chain": "#!/script\n",
		"endless": "#!/endless\n", "text": "hello", "empty": "", "relative": "#!sh\n", "lost": "#!/absent\n", "dir": "/",
		"cut": string(self[:70]), "dynamic": string(shared),
	})
	if err := os.WriteFile(filepath.Join(root, "plain"), self, 0o644); err != nil {
		t.Fatal(err)
	}
	for name, ok := range map[string]bool{
		"/static": true, "/link": true, "/script": true, "/chain": true, "/other": false, "/endless": false, "/text": false, "/empty": false,
		"/relative": false, "/lost": false, "/dir": false, "/cut": false, "/plain": false, "/absent": false,
		"/dynamic": interpreter == "", // its dynamic linker is not in this root
	} {
		if err := CheckInit(root, name, runtime.GOARCH); (err == nil) != ok {
			t.Errorf("CheckInit(%q) = %v; want ok %v", name, err, ok)
		}
	}
	if err := CheckInit("/", "/bin/sh", runtime.GOARCH); err != nil {
		t.Errorf("CheckInit(/bin/sh of this system) = %v; want nil", err)
	}
}

func TestFits(t *testing.T) {
	root := tree(t, map[string]string{"lib": "-> usr/lib", "usr/lib/modules/6.1.0-44-amd64": "/"})
	for _, tt := range []struct {
		running, image string
		ok             bool
	}{
		{"6.1.0-44-amd64", "6.1.0-44-amd64", true},
		{"6.1.0-44-amd64", "5.10", true},
		{"6.12", "6.12", true},
		{"6.12", "6.1.0-44-amd64", false},
		{"6.12", "", false},
	} {
		if err := Fits(root, tt.running, tt.image); (err == nil) != tt.ok {
			t.Errorf("Fits(%q, %q) = %v; want ok %v", tt.running, tt.image, err, tt.ok)
		}
	}
}

func TestWays(t *testing.T) {
	all := []string{"switch_root", "kexec", "reboot"}
	for choice, want := range map[string][]string{
		"": all, "auto": all, "instant": all, "kexec": {"kexec", "reboot"}, "switch_root": {"switch_root", "reboot"}, "reboot": {"reboot"},
		"jump": nil,
	} {
		ways, err := Ways(choice)
		var got []string
		for _, w := range ways {
			got = append(got, w.Name())
		}
		if diff := cmp.Diff(want, got); diff != "" || (err == nil) != (want != nil) {
			t.Errorf("Ways(%q) error %v, (-want +got):\n%s", choice, err, diff)
		}
	}
}

// The agent can do what an operator can choose, and nothing else has a way.
func TestEveryHandoffHasAWay(t *testing.T) {
	left := api.HandoffNames()
	for _, name := range left {
		if _, err := Ways(name); err != nil {
			t.Error(err)
		}
	}
	for _, w := range ways {
		if !slices.Contains(left, w.Name()) {
			t.Errorf("%s is a way and no handoff that can be chosen", w.Name())
		}
	}
}

// A way that is not possible says why, before it mounts anything.
func TestWaysSayWhyNot(t *testing.T) {
	mounted := func(context.Context, int, string, string, uintptr, string) error { return errors.New("mounted") }
	boot := golden.Boot{Arch: runtime.GOARCH, Kernel: "/boot/vmlinuz", KernelRelease: machine.Kernel()}
	foreign := boot
	foreign.Arch = "riscv64"
	overlaid := boot
	overlaid.Cmdline = "root=UUID=old overlayroot=tmpfs"
	stale := cmdline.Parse("root=UUID=old quiet")
	replace := func(s string) string { return strings.ReplaceAll(s, "old", "new") }
	for _, tt := range []struct {
		name   string
		way    Way
		target Target
		want   string
	}{
		{"no system", switchRoot{}, Target{}, "no Linux system"},
		{"no system", kexec{}, Target{}, "no Linux system"},
		{"the command line names an old UUID", switchRoot{}, Target{Boot: &boot, Line: stale, Replace: replace}, "a UUID that has changed"},
		{"which the operator accepts", switchRoot{}, Target{Boot: &boot, Line: stale, Replace: replace, Insist: true}, "mounted"},
		{"an initrd has work to do", switchRoot{}, Target{Boot: &boot, Undone: []string{"mlx5_core"}}, "mlx5_core"},
		{"which the operator accepts", switchRoot{}, Target{Boot: &boot, Undone: []string{"mlx5_core"}, Insist: true}, "mounted"},
		{"the root is not all there is", switchRoot{}, Target{Boot: &overlaid}, "overlayroot=tmpfs"},
		{"which the operator accepts", switchRoot{}, Target{Boot: &overlaid, Insist: true}, "mounted"},
		{"all is well", kexec{}, Target{Boot: &overlaid}, "mounted"},
		{"no kernel on the disk", kexec{}, Target{Boot: &golden.Boot{Arch: runtime.GOARCH}}, "not on its disk"},
		{"another machine's system", kexec{}, Target{Boot: &foreign}, "is for riscv64"},
		{"all is well", switchRoot{}, Target{Boot: &boot, Line: stale}, "mounted"},
		{"all is well", kexec{}, Target{Boot: &boot, Line: stale, Replace: replace, Undone: []string{"mlx5_core"}}, "mounted"},
	} {
		tt.target.Mount = mounted
		jump, err := tt.way.Prepare(t.Context(), tt.target)
		if jump != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, %s: Prepare() = %v; want %q", tt.way.Name(), tt.name, err, tt.want)
		}
	}
	if jump, err := (reboot{}).Prepare(t.Context(), Target{}); jump == nil || err != nil {
		t.Errorf("reboot: Prepare() = %v; it is always possible", err)
	}
}

func TestPrepareRefusesOutsideOfAnInitramfs(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	root := tree(t, map[string]string{"init": string(self), "dev": "/", "proc": "/", "sys": "/", "run": "/"})
	s := Switch{Root: root, Init: "/init"}
	if err := s.Prepare(runtime.GOARCH); err == nil || !strings.Contains(err.Error(), "PID 1") {
		t.Errorf("Prepare() = %v; want that this is not PID 1", err)
	}
	if committed, err := s.Jump(); committed || err == nil {
		t.Fatalf("Jump() = %v, %v; want a refusal that changed nothing", committed, err)
	}
	_ = os.RemoveAll(filepath.Join(root, "run"))
	if err := s.Prepare(runtime.GOARCH); err == nil || !strings.Contains(err.Error(), "/run") {
		t.Errorf("Prepare() = %v; want that /run is missing", err)
	}
}

func TestJoinInitrdsPads(t *testing.T) {
	root := tree(t, map[string]string{"a": "12345", "b": "1234", "c": "1"})
	f, err := joinInitrds([]string{filepath.Join(root, "a"), filepath.Join(root, "b"), filepath.Join(root, "c")})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(f)
	if want := "12345\x00\x00\x0012341\x00\x00\x00"; err != nil || string(got) != want {
		t.Errorf("joined = %q, %v; want %q", got, err, want)
	}
}

func FuzzCheckELF(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	head := make([]byte, 200)
	copy(head, "\x7fELF\x02\x01")
	head[16], head[18], head[32], head[54], head[56] = 2, 62, 64, 56, 1
	f.Add(head)
	f.Fuzz(func(t *testing.T, p []byte) {
		name, err := checkELF(bytes.NewReader(p), "amd64")
		if err == nil && len(name) > maxInterpreter {
			t.Fatalf("checkELF() = %d bytes", len(name))
		}
	})
}
