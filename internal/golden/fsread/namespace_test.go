package fsread_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/gild-dev/gild/internal/golden/fsread"
	"github.com/gild-dev/gild/internal/tier"
)

// TestLinks follows links inside the root and nowhere else.
func TestLinks(t *testing.T) {
	t.Parallel()
	image := blank(t, 64<<20)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", sourceTree(t, 1), image)
	fsys, _ := open(t, image)
	for _, test := range []struct {
		name, want string
		err        error
	}{
		{"etc/os-release", "ID=debian\n", nil},
		{"lib/os-release", "ID=debian\n", nil},
		{"abs/os-release", "ID=debian\n", nil},
		{"etc/out", "golden\n", nil}, // ".." stops at the root
		{"dangling", "", fs.ErrNotExist},
		{"etc/hostname/x", "", fs.ErrNotExist},
		{"nothing", "", fs.ErrNotExist},
		{"/etc/hostname", "", fs.ErrInvalid},
		{"../etc/hostname", "", fs.ErrInvalid},
	} {
		got, err := fsys.ReadFile(test.name)
		if string(got) != test.want || !errors.Is(err, test.err) {
			t.Errorf("ReadFile(%q) = %q, %v; want %q, %v", test.name, got, err, test.want, test.err)
		}
	}
	if _, err := fsys.ReadFile("loop-a"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadFile(loop) = %v; want an error about links", err)
	}
	if _, err := fsys.ReadFileLimit("etc/os-release", 3); !errors.Is(err, fsread.ErrTooLarge) {
		t.Errorf("ReadFileLimit(10 bytes, 3) = %v; want ErrTooLarge", err)
	}
	usr, err := fs.Sub(fsys, "usr") // fstest opens every file it sees, so it must not see links that lead nowhere
	if err != nil {
		t.Fatal(err)
	}
	if err := fstest.TestFS(usr, "lib/os-release", "share/some/03"); err != nil {
		t.Error(err)
	}
	f, err := fsys.Open("boot/vmlinuz-6.1.0-18-amd64")
	if err != nil {
		t.Fatal(err)
	}
	tail := make([]byte, 10)
	if n, err := f.(io.ReaderAt).ReadAt(tail, 3_000_001-4); n != 4 || err != io.EOF {
		t.Errorf("ReadAt(at the end) = %d, %v; want 4, EOF", n, err)
	}
}

// TestTree joins root, /boot and the EFI system partition as fstab would.
func TestTree(t *testing.T) {
	t.Parallel()
	root, boot := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "boot"), 0o755))
	must(os.WriteFile(filepath.Join(root, "boot/hidden"), []byte("under the mount"), 0o600))
	must(os.Symlink("boot/vmlinuz", filepath.Join(root, "vmlinuz")))
	must(os.MkdirAll(filepath.Join(root, "etc"), 0o755))
	must(os.WriteFile(filepath.Join(root, "etc/hostname"), []byte("golden"), 0o600))
	must(os.WriteFile(filepath.Join(boot, "vmlinuz-6.1"), []byte("kernel"), 0o600))
	must(os.Symlink("vmlinuz-6.1", filepath.Join(boot, "vmlinuz")))
	must(os.Symlink("/etc/hostname", filepath.Join(boot, "up")))
	must(os.Symlink("../etc/hostname", filepath.Join(boot, "beside")))
	must(os.Mkdir(filepath.Join(boot, "efi"), 0o755))

	rootImage, bootImage, espImage := blank(t, 16<<20), blank(t, 320<<20), blank(t, 8<<20)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", root, rootImage)
	run(t, "mkfs.xfs", "-q", "-f", "-p", protofile(t, boot), bootImage)
	run(t, "mkfs.vfat", espImage)
	run(t, "mmd", "-i", espImage, "::/EFI")
	run(t, "mcopy", "-i", espImage, filepath.Join(boot, "vmlinuz-6.1"), "::/EFI/grub.cfg")

	rootFS, _ := open(t, rootImage)
	bootFS, _ := open(t, bootImage)
	esp, _ := open(t, espImage)
	tree := fsread.NewTree(rootFS)
	must(tree.Mount("boot", bootFS))
	must(tree.Mount("boot/efi", esp))
	must(tree.Mount("efi", esp)) // there is no such directory
	for name, want := range map[string]string{
		"vmlinuz": "kernel", "boot/vmlinuz": "kernel", "boot/up": "golden", "boot/beside": "golden",
		"boot/efi/EFI/grub.cfg": "kernel", "efi/efi/GRUB.CFG": "kernel",
	} {
		if got, err := fs.ReadFile(tree, name); string(got) != want || err != nil {
			t.Errorf("ReadFile(%q) = %q, %v; want %q", name, got, err, want)
		}
	}
	if _, err := tree.Stat("boot/hidden"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat(below a mount point) = %v; want it hidden", err)
	}
	names := snapshot(t, tree, false)
	if _, ok := names["boot/efi/EFI/grub.cfg"]; !ok {
		t.Error("WalkDir does not enter a mount point")
	}
	if err := tree.Mount("no/such/parent", esp); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Mount(without a parent) = %v; want not exist", err)
	}
}

// TestReadCount walks a module tree of 4,000 files and counts what it costs:
// below may be a reader that decompresses a chunk for each call.
func TestReadCount(t *testing.T) {
	t.Parallel()
	tier.Slow(t, "makes a file system of four thousand files")
	source := t.TempDir()
	for i := range 4000 {
		p := filepath.Join(source, fmt.Sprintf("lib/modules/6.1/kernel/drivers/d%03d/module-%04d.ko", i/20, i))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ext, xfs := blank(t, 64<<20), blank(t, 320<<20)
	run(t, "mke2fs", "-q", "-F", "-t", "ext4", "-d", source, ext)
	run(t, "mkfs.xfs", "-q", "-f", "-p", protofile(t, source), xfs)
	for _, image := range []string{ext, xfs} {
		fsys, device := open(t, image)
		n := 0
		err := fs.WalkDir(fsys, ".", func(_ string, d fs.DirEntry, err error) error {
			n++
			return err
		})
		calls, bytes := device.calls.Load(), device.bytes.Load()
		t.Logf("%s: %d files, %d reads, %d bytes", fsys.Kind(), n, calls, bytes)
		if err != nil || n < 4000 || calls > 150 || bytes > 10<<20 {
			t.Errorf("%s: walk of %d files took %d reads and %d bytes, %v; want at most 150 and 10 MiB",
				fsys.Kind(), n, calls, bytes, err)
		}
	}
}
