package pack

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden"
)

// An image with two systems does not tell which one is its root. That is
// stored with it, and strict refuses it and leaves nothing behind.
func TestStrictRefusesADoubt(t *testing.T) {
	raw := make([]byte, 10<<20)
	for i := range 2 {
		dir, partition := t.TempDir(), filepath.Join(t.TempDir(), "partition")
		if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "etc/os-release"), []byte("ID=some\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		tool(t, "truncate", "-s", "4M", partition)
		tool(t, "mkfs.ext4", "-q", "-F", "-d", dir, partition)
		p, err := os.ReadFile(partition)
		if err != nil {
			t.Fatal(err)
		}
		copy(raw[(1+4*i)<<20:], p)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("label: dos\nstart=2048,size=8192\nstart=10240,size=8192\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "sh", "-c", `PATH=$PATH:/usr/sbin; sfdisk -q --no-reread --no-tell-kernel "$0" < "$1"`, disk, script)
	raw, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}

	s := openStore(t, t.TempDir())
	r := add(t, s, "a", raw)
	if len(r.Config.Doubts) != 1 || !strings.Contains(r.Config.Doubts[0].String(), "it may be partition 2 (--root settles it)") {
		t.Errorf("Doubts = %v; want partition 2 and --root", r.Config.Doubts)
	}
	im, err := s.Image("a")
	if err != nil || len(im.Config.Doubts) != 1 {
		t.Errorf("stored doubts = %+v, %v; want the one", im, err)
	}
	unchanged(t, s, func() {
		_, err := Add(t.Context(), Job{Store: s, Name: "b", Disk: memory{bytes.NewReader(raw)}, Strict: true})
		var doubts golden.DoubtsError
		if input := (*InputError)(nil); !errors.As(err, &input) || !errors.As(err, &doubts) || len(doubts) != 1 || doubts[0].Settle != "--root" {
			t.Errorf("Add = %v; want the doubt about the root", err)
		}
	})
}
