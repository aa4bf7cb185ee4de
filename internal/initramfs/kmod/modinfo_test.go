package kmod_test

import (
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/initramfs/kmod"
	"github.com/gild-dev/gild/internal/initramfs/kmod/kmodtest"
)

var card = kmodtest.Module{Info: []string{
	"name=my-card", "alias=pci:v1*", "alias=pci:v2*", "depends=mii,lib-phy", "firmware=vendor/card.bin",
	"softdep=pre: crc32c post: late", "vermagic=6.1.0 SMP", "license=GPL", "oddity",
}}

func TestModInfo(t *testing.T) {
	got, err := kmod.ModInfo(card.ELF())
	want := kmod.Info{
		Name: "my_card", Aliases: []string{"pci:v1*", "pci:v2*"}, Depends: []string{"mii", "lib_phy"},
		Firmware: []string{"vendor/card.bin"}, Vermagic: "6.1.0 SMP",
		Softdeps: kmod.Softdep{Module: "my_card", Pre: []string{"crc32c"}, Post: []string{"late"}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("ModInfo() = %v (-want +got):\n%s", err, diff)
	}
}

func TestModInfoRefuses(t *testing.T) {
	whole := card.ELF()
	for n := range len(whole) {
		if _, err := kmod.ModInfo(whole[:n]); err == nil {
			t.Fatalf("ModInfo(first %d of %d bytes) = nil; want an error", n, len(whole))
		}
	}
	for name, damage := range map[string]func([]byte){
		"big endian":           func(b []byte) { b[5] = 2 },
		"class 3":              func(b []byte) { b[4] = 3 },
		"other magic":          func(b []byte) { b[1] = 'e' },
		"no sections":          func(b []byte) { binary.LittleEndian.PutUint16(b[60:], 0) },
		"names past the end":   func(b []byte) { binary.LittleEndian.PutUint16(b[62:], 99) },
		"table at 2^64-1":      func(b []byte) { binary.LittleEndian.PutUint64(b[40:], 1<<64-1) },
		"odd section headers":  func(b []byte) { binary.LittleEndian.PutUint16(b[58:], 8) },
		"more sections":        func(b []byte) { binary.LittleEndian.PutUint16(b[60:], 0xffff) },
		"section named .xinfo": func(b []byte) { copy(b[strings.Index(string(b), ".modinfo"):], ".xodinfo") },
	} {
		b := slices.Clone(whole)
		damage(b)
		if got, err := kmod.ModInfo(b); err == nil {
			t.Errorf("ModInfo(%s) = %v; want an error", name, got)
		}
	}
}

// TestModInfoAgainstModinfo compares with the foreign tool on a distribution's
// modules.
func TestModInfoAgainstModinfo(t *testing.T) {
	root, release := kmodtest.Kernel(t)
	modinfo, err := exec.LookPath("/usr/sbin/modinfo")
	if err != nil {
		t.Skip("modinfo (package kmod) is not installed")
	}
	dir := filepath.Join(root, "lib/modules", release)
	x := load(t, os.DirFS(dir))
	for i, d := range x.Deps() {
		if i%100 != 0 || !strings.HasSuffix(d.Module.Path, ".ko") {
			continue
		}
		file := filepath.Join(dir, d.Module.Path)
		elf, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		info, err := kmod.ModInfo(elf)
		if err != nil {
			t.Errorf("ModInfo(%s) = %v", d.Module.Path, err)
			continue
		}
		for field, got := range map[string][]string{"alias": info.Aliases, "firmware": info.Firmware, "vermagic": {info.Vermagic}} {
			out, err := exec.CommandContext(t.Context(), modinfo, "-F", field, file).Output()
			if err != nil {
				t.Fatal(err)
			}
			want := strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
			slices.Sort(want)
			slices.Sort(got)
			if strings.TrimSpace(strings.Join(got, "\n")) != strings.TrimSpace(strings.Join(want, "\n")) {
				t.Errorf("ModInfo(%s) %s = %q; modinfo says %q", d.Module.Path, field, got, want)
			}
		}
	}
}
