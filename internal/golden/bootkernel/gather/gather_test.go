package gather

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/golden/deb/debtest"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/golden/vmlinuz/vmlinuztest"
	"github.com/gild-dev/gild/internal/initramfs/kmod/kmodtest"
)

// system is the tree of a system with kernels, as a package has it: without
// depmod's files.
func system(releases ...string) map[string]string {
	files := map[string]string{}
	for _, r := range releases {
		files["boot/vmlinuz-"+r] = string(vmlinuztest.BzImage(r + " (builder@host) #1 SMP"))
		base := "lib/modules/" + r + "/"
		files[base+"kernel/drivers/net/ethernet/e1000.ko"] = string(kmodtest.Module{Info: []string{
			"name=e1000", "depends=mii",
			"alias=pci:v1*",
		}}.ELF())
		files[base+"kernel/drivers/net/mii.ko"] = string(kmodtest.Module{Info: []string{"name=mii"}}.ELF())
		files[base+"modules.order"] = "kernel/drivers/net/ethernet/e1000.ko\nkernel/drivers/net/mii.ko\n"
		files[base+"modules.builtin"] = ""
	}
	return files
}

func packageFile(t *testing.T, files map[string]string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "linux.deb")
	if err := os.WriteFile(name, debtest.Package(t, files), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPackagesAreStored(t *testing.T) {
	all := system("6.1.9", "6.1.10")
	modules := map[string]string{}
	for name, p := range all { // as Ubuntu has it
		if strings.HasPrefix(name, "lib/") {
			modules["./"+name] = p
			delete(all, name)
		}
	}
	parts, err := Packages(t.Context(), []string{packageFile(t, all), packageFile(t, modules)}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if parts.Report.Modules != 2 {
		t.Errorf("%d modules; want the driver and what it needs", parts.Report.Modules)
	}
	st, err := store.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	parts.Config.Cmdline = "console=ttyS0"
	k, err := Store(t.Context(), st, "debian", parts)
	if err != nil {
		t.Fatal(err)
	}
	want := bootkernel.Config{Arch: "amd64", Release: "6.1.10", Initramfs: "zstd", Cmdline: "console=ttyS0"}
	if k.Config != want || k.Name != "debian" {
		t.Errorf("stored as %+v; want the newest, %+v", k, want)
	}
	p, err := st.ReadBlob(k.Kernel.Digest, 1<<20)
	if err != nil || string(p) != all["boot/vmlinuz-6.1.10"] {
		t.Errorf("the kernel is another one: %v", err)
	}
}

func TestTree(t *testing.T) {
	tree := func(change func(map[string]string)) fs.FS {
		files := system("6.1")
		files["lib/modules/6.1/modules.dep"] = "kernel/drivers/net/ethernet/e1000.ko: kernel/drivers/net/mii.ko\nkernel/drivers/net/mii.ko:\n"
		change(files)
		m := fstest.MapFS{}
		for name, p := range files {
			m[name] = &fstest.MapFile{Data: []byte(p)}
		}
		return m
	}
	for name, tt := range map[string]struct {
		release string
		change  func(map[string]string)
		says    string
	}{
		"sound":          {"", func(map[string]string) {}, ""},
		"named":          {"6.1", func(map[string]string) {}, ""},
		"beside modules": {"", func(f map[string]string) { move(f, "boot/vmlinuz-6.1", "lib/modules/6.1/vmlinuz") }, ""},
		"another":        {"6.2", func(map[string]string) {}, "no kernel was found"},
		"no kernel":      {"", func(f map[string]string) { delete(f, "boot/vmlinuz-6.1") }, "no kernel was found"},
		"no modules":     {"", func(f map[string]string) { clear(f) }, "no modules of any kernel"},
		"not indexed":    {"", func(f map[string]string) { delete(f, "lib/modules/6.1/modules.dep") }, "has depmod run"},
		"of another name": {"", func(f map[string]string) {
			f["boot/vmlinuz-6.1"] = string(vmlinuztest.BzImage("6.0 (builder@host)"))
		}, "of release 6.0"},
		"no kernel file": {"", func(f map[string]string) { f["boot/vmlinuz-6.1"] = "text" }, "vmlinuz-6.1"},
	} {
		parts, err := Tree(tree(tt.change), tt.release)
		if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: Tree = %v; want %q", name, err, tt.says)
		}
		if err == nil && parts.Config.Release != "6.1" {
			t.Errorf("%s: release %q", name, parts.Config.Release)
		}
	}
}

func move(f map[string]string, from, to string) { f[to], f[from] = f[from], ""; delete(f, from) }

func TestPackagesRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "page.deb")
	if err := os.WriteFile(text, []byte("<html>not found</html>"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, says := range map[string]string{
		text:                                   "no Debian package",
		filepath.Join(t.TempDir(), "gone.deb"): "no such file",
		packageFile(t, map[string]string{"usr/bin/ls": "x"}): "no modules of any kernel",
	} {
		if _, err := Packages(t.Context(), []string{name}, t.TempDir()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("Packages(%s) = %v; want %q", filepath.Base(name), err, says)
		}
	}
}

// What dpkg-deb builds, in every packing that it knows.
func TestPackagesOfDpkg(t *testing.T) {
	dpkg, err := exec.LookPath("dpkg-deb")
	if err != nil {
		t.Skip("dpkg-deb is not installed")
	}
	dir := t.TempDir()
	files := map[string][]byte{"DEBIAN/control": []byte("Package: linux\nVersion: 1\nArchitecture: amd64\nMaintainer: nobody " +
		"<n@example.org>\nDescription: a kernel\n")}
	for name, p := range system("6.1") {
		files[name] = []byte(p)
	}
	kmodtest.WriteTree(t, dir, files)
	for _, packing := range []string{"none", "gzip", "xz", "zstd"} {
		file := filepath.Join(t.TempDir(), "linux.deb")
		if out, err := exec.CommandContext(t.Context(), dpkg, "-Z"+packing, "--root-owner-group", "-b", dir, file).CombinedOutput(); err != nil {
			t.Errorf("dpkg-deb -Z%s: %v\n%s", packing, err, out)
			continue
		}
		if _, err := Packages(t.Context(), []string{file}, t.TempDir()); err != nil {
			t.Errorf("a package packed with %s: %v", packing, err)
		}
	}
}

func TestImageWithoutAKernel(t *testing.T) {
	st, err := store.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Image(st, "nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Image of what is not stored = %v; want fs.ErrNotExist", err)
	}
}
