package pick

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/initramfs/kmod"
	"github.com/gild-dev/gild/internal/initramfs/kmod/kmodtest"
)

// What it finds is what depmod finds.
func TestDepmodAgreesWithDepmod(t *testing.T) {
	module := func(m kmodtest.Module) []byte { return m.ELF() }
	dir := t.TempDir()
	at := "lib/modules/6.1/"
	kmodtest.WriteTree(t, dir, map[string][]byte{
		at + "kernel/a.ko": module(kmodtest.Module{Info: []string{"name=a", "depends=b,c", "alias=pci:v1*"}, Needs: []string{"b1", "c1"}}),
		at + "kernel/b.ko": module(kmodtest.Module{Info: []string{"name=b", "depends=d"}, Needs: []string{"d1"}, Exports: []string{"b1"}}),
		at + "kernel/c.ko": module(kmodtest.Module{
			Info: []string{"name=c", "depends=d", "softdep=pre: d post: a"}, Needs: []string{"d1"},
			Exports: []string{"c1"},
		}),
		at + "kernel/sub/d.ko":  module(kmodtest.Module{Info: []string{"name=d", "alias=crypto-d"}, Exports: []string{"d1"}}),
		at + "kernel/broken.ko": []byte("no module"),
		at + "modules.order":    []byte("kernel/a.ko\nkernel/b.ko\nkernel/c.ko\nkernel/sub/d.ko\n"),
		at + "modules.builtin":  nil,
	})
	release := filepath.Join(dir, at)
	files, err := Depmod(os.DirFS(release))
	if err != nil {
		t.Fatal(err)
	}
	order := func(release string) map[string][]string {
		x, err := kmod.Load(os.DirFS(release))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]string{}
		for _, name := range []string{"a", "b", "c", "d"} {
			modules, err := x.LoadOrder(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range modules {
				got[name] = append(got[name], m.Path)
			}
		}
		got["pci:v1"], got["crypto-d"] = x.Resolve("pci:v1"), x.Resolve("crypto-d")
		return got
	}
	for name, p := range files {
		if err := os.WriteFile(filepath.Join(release, name), p, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got := order(release)
	if len(got["a"]) != 4 || got["a"][0] != "kernel/sub/d.ko" || got["a"][3] != "kernel/a.ko" {
		t.Errorf("a is loaded by %v; want d first and a last", got["a"])
	}
	depmod, err := exec.LookPath("depmod")
	if err != nil {
		t.Skip("depmod is not installed")
	}
	if err := os.Remove(filepath.Join(release, "kernel/broken.ko")); err != nil { // depmod gives up on it
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), depmod, "-b", dir, "6.1").CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v\n%s", err, out)
	}
	if diff := cmp.Diff(order(release), got); diff != "" {
		t.Errorf("what is loaded, and by what (-depmod +got):\n%s", diff)
	}
}

// A module that needs one that is not there cannot be loaded.
func TestDepmodLeavesOutWhatLacksANeed(t *testing.T) {
	dir := t.TempDir()
	kmodtest.WriteTree(t, dir, map[string][]byte{
		"kernel/a.ko": kmodtest.Module{Info: []string{"name=a", "depends=gone"}}.ELF(),
		"kernel/b.ko": kmodtest.Module{Info: []string{"name=b"}}.ELF(),
	})
	files, err := Depmod(os.DirFS(dir))
	if err != nil || string(files["modules.dep"]) != "kernel/b.ko:\n" {
		t.Errorf("modules.dep = %q, %v; want b alone", files["modules.dep"], err)
	}
}
