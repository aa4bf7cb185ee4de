package inspect

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden/vmlinuz/vmlinuztest"
	"github.com/gild-dev/gild/internal/initramfs/kmod/kmodtest"
)

const (
	release = "6.1.0-18-amd64"
	mib     = 1 << 20

	rootUUID  = "11111111-2222-4333-8444-555555555555"
	otherUUID = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	bootUUID  = "99999999-8888-4777-8666-555555555555"
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

func run(t testing.TB, stdin, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, name), args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "LC_ALL=C.UTF-8")
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}

// files is a tree by path; "-> target" is a symbolic link and "/" an empty
// directory.
type files map[string]string

// with gives the tree and more.
func (f files) with(more files) files {
	all := files{}
	for _, m := range []files{f, more} {
		for name, text := range m {
			all[name] = text
		}
	}
	return all
}

func (f files) write(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range f {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		target, isLink := strings.CutPrefix(text, "-> ")
		switch {
		case err != nil:
		case text == "/":
			err = os.MkdirAll(path, 0o755)
		case isLink:
			err = os.Symlink(target, path)
		default:
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// kernel is the head of a kernel that tells its release.
func kernel(release string) string {
	return string(vmlinuztest.BzImage(release + " (builder@host) #1 SMP"))
}

// modules is lib/modules of one network driver and what it needs, indexed by
// the real depmod.
func modules(t testing.TB, prefix string) files {
	t.Helper()
	dir := t.TempDir()
	base := "lib/modules/" + release + "/"
	kmodtest.WriteTree(t, dir, map[string][]byte{
		base + "kernel/drivers/net/ethernet/intel/e1000.ko": kmodtest.Module{
			Info: []string{"name=e1000", "alias=pci:v00008086d0000100Esv*sd*bc*sc*i*"}, Needs: []string{"common_probe"},
		}.ELF(),
		base + "kernel/lib/common.ko":        kmodtest.Module{Info: []string{"name=common"}, Exports: []string{"common_probe"}}.ELF(),
		base + "kernel/drivers/block/nbd.ko": kmodtest.Module{Info: []string{"name=nbd"}}.ELF(),
		base + "kernel/drivers/md/dm-mod.ko": kmodtest.Module{Info: []string{"name=dm_mod"}}.ELF(),
		base +
			"modules.order": []byte("kernel/drivers/net/ethernet/intel/e1000.ko\nkernel/lib/common.ko\n" +
			"kernel/drivers/block/nbd.ko\nkernel/drivers/md/dm-mod.ko\n"),
		base + "modules.builtin": nil,
	})
	run(t, "", "depmod", "-b", dir, release)
	all := files{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		p, err := os.ReadFile(filepath.Join(dir, name))
		all[prefix+name] = string(p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// part is one partition and what is on it.
type part struct {
	fs    string // "ext4", "xfs", "vfat"; empty: raw
	uuid  string
	kind  string // for sfdisk
	tree  files
	raw   []byte
	size  int64
	args  []string // for mkfs
	begin int64    // set by makeDisk
}

func (p part) image(t testing.TB) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fs")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(p.raw); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(p.bytes()); err != nil {
		t.Fatal(err)
	}
	switch p.fs {
	case "ext4":
		run(t, "", "mkfs.ext4", append([]string{"-q", "-F", "-U", p.uuid, "-d", p.tree.write(t), name}, p.args...)...)
	case "xfs":
		run(t, "", "mkfs.xfs", "-q", "-f", "-m", "uuid="+p.uuid, "-p", protofile(t, p.tree.write(t)), name)
	case "vfat":
		run(t, "", "mkfs.vfat", "-i", p.uuid, name)
		dir := p.tree.write(t)
		top, err := filepath.Glob(dir + "/*")
		if err != nil {
			t.Fatal(err)
		}
		run(t, "", "mcopy", append([]string{"-s", "-i", name}, append(top, "::/")...)...)
	}
	return name
}

func (p part) bytes() int64 {
	switch {
	case p.size != 0:
		return p.size
	case p.fs == "xfs":
		return 320 * mib // the least that mkfs.xfs makes
	}
	return 16 * mib
}

// protofile describes a tree for mkfs.xfs -p, which then needs no mount.
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
				fmt.Fprintf(&b, "%s l--777 0 0 %s\n", e.Name(), target)
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

// makeDisk lays out partitions with sfdisk; with label "" the first part is
// the whole disk.
func makeDisk(t testing.TB, label string, parts ...part) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	at := int64(mib)
	if label == "" {
		at = 0
	}
	table := "label: " + label + "\n"
	for i := range parts {
		parts[i].begin = at
		at += parts[i].bytes()
		table += fmt.Sprintf("start=%d, size=%d, type=%s\n", parts[i].begin/512, parts[i].bytes()/512, parts[i].kind)
	}
	if label == "" {
		at -= mib
	}
	if err := f.Truncate(at + mib); err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		copyIn(t, f, p.image(t), p.begin)
	}
	if label != "" {
		run(t, table, "sfdisk", "-q", "--no-reread", "--no-tell-kernel", name)
	}
	return f
}

// copyIn writes a file at an offset and leaves holes where it is zero.
func copyIn(t testing.TB, f *os.File, from string, at int64) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	buf, zero := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(in, buf)
		if !bytes.Equal(buf[:n], zero[:n]) {
			if _, err := f.WriteAt(buf[:n], at); err != nil {
				t.Fatal(err)
			}
		}
		if at += int64(n); err != nil {
			return
		}
	}
}
