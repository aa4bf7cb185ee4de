package partition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/tier"
)

const mib = 1 << 20

// tool finds a foreign program, also where root's PATH alone has it.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, p := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed", name)
	return ""
}

func run(t testing.TB, stdin, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, name), args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// sparse makes a file of the given size that stands for a disk.
func sparse(t testing.TB, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.img")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// loop4096 attaches path as a disk with 4096-byte sectors.
func loop4096(t testing.TB, path string) string {
	t.Helper()
	tier.Root(t, "a disk with 4096-byte sectors needs a loop device, which needs root")
	out, err := exec.Command(tool(t, "losetup"), "--find", "--show", "-b", "4096", path).Output()
	if err != nil {
		t.Skipf("no loop device with 4096-byte sectors: %v", err)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
			t.Errorf("losetup -d %s: %v: %s", dev, err, out)
		}
	})
	return dev
}

func open(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func size(t testing.TB, f *os.File) int64 {
	t.Helper()
	n, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func apply(t testing.TB, f io.WriterAt, plan *Plan) {
	t.Helper()
	for _, e := range plan.Edits {
		if _, err := f.WriteAt(e.Data, e.Offset); err != nil {
			t.Fatal(err)
		}
	}
	if f, ok := f.(*os.File); ok {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

// judge lets gdisk and util-linux check the table.
func judge(t testing.TB, path string, scheme Scheme) {
	t.Helper()
	if out := run(t, "", "sfdisk", "-V", path); !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk -V: %s", out)
	}
	if scheme == GPT {
		if out := run(t, "", "sgdisk", "-v", path); !strings.Contains(out, "No problems found") {
			t.Errorf("sgdisk -v: %s", out)
		}
	}
}

// sfdiskTable is what sfdisk sees, in the words of this package.
func sfdiskTable(t testing.TB, path string) *Table {
	t.Helper()
	var out struct {
		T struct {
			Label, ID  string
			SectorSize int
			Partitions []struct {
				Node, Type, UUID, Name, Attrs string
				Start, Size                   int64
				Bootable                      bool
			}
		} `json:"partitiontable"`
	}
	if err := json.Unmarshal([]byte(run(t, "", "sfdisk", "--json", path)), &out); err != nil {
		t.Fatal(err)
	}
	s := out.T
	table := &Table{Scheme: GPT, DiskID: strings.ToLower(s.ID), SectorSize: s.SectorSize}
	if s.Label == "dos" {
		table.Scheme, table.DiskID = MBR, strings.TrimPrefix(s.ID, "0x")
	}
	for _, p := range s.Partitions {
		n, err := strconv.Atoi(strings.TrimPrefix(strings.TrimPrefix(p.Node, path), "p"))
		if err != nil {
			t.Fatal(err)
		}
		q := Partition{
			Number: n, Start: p.Start * int64(s.SectorSize), Size: p.Size * int64(s.SectorSize),
			Name: p.Name, Type: strings.ToLower(p.Type), GUID: strings.ToLower(p.UUID),
			Bootable: p.Bootable || strings.Contains(p.Attrs, "LegacyBIOSBootable"),
		}
		if table.Scheme == MBR {
			q.Type, q.GUID = "0x"+p.Type, fmt.Sprintf("%s-%02x", table.DiskID, n)
		}
		table.Partitions = append(table.Partitions, q)
	}
	return table
}

// memory is a disk in memory.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) { return bytes.NewReader(m).ReadAt(p, off) }

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, fmt.Errorf("write of %d bytes at %d: outside %d", len(p), off, len(m))
	}
	return copy(m[off:], p), nil
}
