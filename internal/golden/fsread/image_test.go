package fsread_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/golden/fsread"
)

// tool finds a foreign program, also where an unprivileged PATH does not look.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if p, err := exec.LookPath(candidate); err == nil {
			return p
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(tool(t, name), args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "LC_ALL=C.UTF-8")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// blank makes a sparse file of the given size in bytes.
func blank(t testing.TB, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "image")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return name
}

// counter is a device that counts what is asked of it.
type counter struct {
	r            io.ReaderAt
	calls, bytes atomic.Int64
}

func (c *counter) ReadAt(p []byte, off int64) (int, error) {
	c.calls.Add(1)
	c.bytes.Add(int64(len(p)))
	return c.r.ReadAt(p, off)
}

func open(t testing.TB, image string) (*fsread.FS, *counter) {
	t.Helper()
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{r: f}
	fsys, err := fsread.Open(c, info.Size())
	if err != nil {
		t.Fatalf("Open(%s): %v", filepath.Base(image), err)
	}
	return fsys, c
}

// snapshot describes every file of a tree by one line: mode, size, and hash or
// target.
func snapshot(t testing.TB, fsys fs.FS, perm bool) map[string]string {
	t.Helper()
	lines := make(map[string]string)
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name == "." || name == "lost+found" {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		mode := info.Mode()
		if !perm {
			mode &^= fs.ModePerm
		}
		switch {
		case mode.IsRegular():
			sum, err := hash(fsys, name)
			if err != nil {
				return err
			}
			lines[name] = fmt.Sprintf("%v %d %x", mode, info.Size(), sum)
		case mode.Type() == fs.ModeSymlink:
			target, err := fs.ReadLink(fsys, name)
			if err != nil {
				return err
			}
			lines[name] = "-> " + target
		default:
			lines[name] = mode.String()
		}
		return nil
	})
	if err != nil {
		t.Fatalf("WalkDir: %v", err)
	}
	return lines
}

func hash(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.CopyBuffer(h, f, make([]byte, 1<<20))
	return h.Sum(nil), err
}

func compare(t *testing.T, fsys fs.FS, source string, perm bool, except ...string) {
	t.Helper()
	want, got := snapshot(t, os.DirFS(source), perm), snapshot(t, fsys, perm)
	for _, name := range except {
		delete(want, name)
		delete(got, name)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		lines := strings.Split(diff, "\n")
		t.Errorf("tree differs (-source +read):\n%s", strings.Join(lines[:min(len(lines), 40)], "\n"))
	}
}

// pattern fills a file so that a block in the wrong place shows.
func pattern(size int, seed byte) []byte {
	b := make([]byte, size)
	x := uint32(seed) + 1
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// sourceTree writes a tree with the shapes that a root file system has, and
// entries files in one directory.
func sourceTree(t testing.TB, entries int) string {
	t.Helper()
	root := t.TempDir()
	write := func(name string, data []byte) {
		p := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := func(target, name string) {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	write("usr/lib/os-release", []byte("ID=debian\n"))
	write("usr/lib/modules/6.1.0-18-amd64/modules.dep", pattern(150_000, 1))
	write("boot/vmlinuz-6.1.0-18-amd64", pattern(3_000_001, 2))
	write("etc/hostname", []byte("golden\n"))
	write("etc/empty", nil)
	for _, size := range []int{1, 59, 60, 61, 100, 130, 160, 512, 1023, 1024, 1025, 4095, 4096, 4097, 65535, 65536, 70000} {
		write(fmt.Sprintf("etc/sizes/%d", size), pattern(size, byte(size)))
	}
	for i := range entries {
		write(fmt.Sprintf("usr/share/many/file-with-a-rather-long-name-%05d", i), []byte(fmt.Sprint(i)))
	}
	for i := range 12 {
		write(fmt.Sprintf("usr/share/some/%02d", i), []byte("x"))
	}
	write("deep/"+strings.Repeat("d/", 60)+"bottom", []byte("deep"))
	write("names/"+strings.Repeat("n", 255), []byte("long"))
	write("names/ünïcödé-文件", []byte("utf-8"))
	link("usr/lib", "lib")
	link("../usr/lib/os-release", "etc/os-release")
	link("/usr/lib", "abs")
	link("../../../../etc/hostname", "etc/out")
	link("loop-b", "loop-a")
	link("loop-a", "loop-b")
	link("nowhere", "dangling")
	link(strings.Repeat("t", 59), "link59")
	link(strings.Repeat("t", 60), "link60")
	link(strings.Repeat("p/", 400)+"q", "link801")

	sparse, err := os.Create(filepath.Join(root, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer sparse.Close()
	for i := range 40 { // more extents than an inode holds
		if _, err := sparse.WriteAt(pattern(5000, byte(i)), int64(i)*100_000+37); err != nil {
			t.Fatal(err)
		}
	}
	if err := sparse.Truncate(5_000_000); err != nil {
		t.Fatal(err)
	}
	return root
}

// protofile describes a tree for mkfs.xfs -p, which then needs neither root nor
// a mount. It leaves long links out: this way mkfs.xfs 6.1 writes them without
// their header, which the kernel refuses as well.
func protofile(t testing.TB, root string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("/\n0 0\nd--755 0 0\n")
	var dir func(path string)
	dir = func(path string) {
		list, err := os.ReadDir(path)
		if err != nil {
			t.Fatal(err)
		}
		sort.Slice(list, func(i, j int) bool { return list[i].Name() < list[j].Name() })
		for _, e := range list {
			p := filepath.Join(path, e.Name())
			switch {
			case e.IsDir():
				fmt.Fprintf(&b, "%s d--755 0 0\n", e.Name())
				dir(p)
			case e.Type() == fs.ModeSymlink:
				target, err := os.Readlink(p)
				if err != nil {
					t.Fatal(err)
				}
				if len(target) < 300 {
					fmt.Fprintf(&b, "%s l--777 0 0 %s\n", e.Name(), target)
				}
			default:
				fmt.Fprintf(&b, "%s ---644 0 0 %s\n", e.Name(), p)
			}
		}
		b.WriteString("$\n")
	}
	dir(root)
	name := filepath.Join(t.TempDir(), "proto")
	if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
