package fsread_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFAT reads what mkfs.vfat and mtools make of a tree.
func TestFAT(t *testing.T) {
	t.Parallel()
	source := t.TempDir()
	write := func(name string, data []byte) {
		p := filepath.Join(source, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("EFI/BOOT/BOOTX64.EFI", pattern(200_001, 1))
	write("EFI/debian/grub.cfg", []byte("search.fs_uuid 0000\n"))
	write("loader/entries/6b2d4f0a-6.1.0-18-amd64.conf", []byte("title Debian\n"))
	write("EMPTY", nil)
	write("lower.txt", []byte("lower"))
	write("Mixed Case Name with spaces.text", []byte("mixed"))
	write("ünïcödé-文件", []byte("utf-16"))
	write(strings.Repeat("l", 200), []byte("long"))
	for i := range 150 {
		write(fmt.Sprintf("many/some file number %d", i), []byte(fmt.Sprint(i)))
	}
	for _, test := range []struct {
		name string
		size int64
		args string
	}{
		{"fat12", 4 << 20, "-F 12"},
		{"fat16", 32 << 20, "-F 16"},
		{"fat32", 64 << 20, "-F 32"},
		{"fat32-4k-sectors", 300 << 20, "-F 32 -S 4096"},
		{"default", 100 << 20, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			image := blank(t, test.size)
			run(t, "mkfs.vfat", append(strings.Fields(test.args), "-n", "EFI SYS", image)...)
			entries, err := filepath.Glob(source + "/*")
			if err != nil {
				t.Fatal(err)
			}
			run(t, "mcopy", append(append([]string{"-s", "-i", image}, entries...), "::/")...)
			fsys, _ := open(t, image)
			if fsys.Dirty() {
				t.Error("Dirty() = true for a fresh file system")
			}
			compare(t, fsys, source, false)
			checkBlkid(t, image, fsys.Kind(), fsys.UUID(), fsys.Label())
			if _, err := fsys.Stat("efi/boot/bootx64.efi"); err != nil {
				t.Errorf("a name in another case: %v", err)
			}
		})
	}
}
