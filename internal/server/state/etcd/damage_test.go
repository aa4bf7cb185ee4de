package etcd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/server/state/storetest"
)

// lived makes a state of some changes and returns its directory.
func lived(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	e, err := Start(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil)
	for range 200 {
		storetest.Update(t, s, storetest.MAC, func(m *fleet.Record) ([]api.Event, error) {
			m.Seq++
			m.Message = strings.Repeat("x", 500)
			return []api.Event{{Seq: m.Seq}}, nil
		})
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copied gives a test a state of its own.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		p, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), p, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

func edit(change func(p []byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		p, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(p), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func scribble(at func(len int) int, n int) func(*testing.T, string) {
	return edit(func(p []byte) []byte {
		from := at(len(strings.TrimRight(string(p), "\x00")))
		for i := from; i < min(from+n, len(p)); i++ {
			p[i] = 0xa5
		}
		return p
	})
}

// A state that is damaged in any way ends in an error that names the way back,
// or in all that was there; never in a panic, and never in silence.
func TestDamage(t *testing.T) {
	good := lived(t)
	middle := func(n int) int { return n / 2 }
	removed := func(t *testing.T, path string) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	emptied := edit(func([]byte) []byte { return nil })
	for name, tt := range map[string]struct {
		file   string // below etcd/member
		damage func(*testing.T, string)
		heals  bool
	}{
		"log overwritten":          {"wal/*.wal", scribble(middle, 32), false},
		"log of one byte":          {"wal/*.wal", edit(func(p []byte) []byte { return p[:1] }), false},
		"log emptied":              {"wal/*.wal", emptied, false},
		"log gone":                 {"wal/*.wal", removed, false},
		"log's directory gone":     {"wal", removed, false},
		"log is a directory":       {"wal/*.wal", func(t *testing.T, p string) { removed(t, p); _ = os.Mkdir(p, 0o700) }, false},
		"database's head zeroed":   {"snap/db", edit(func(p []byte) []byte { clear(p[:min(8192, len(p))]); return p }), true},
		"database's pages written": {"snap/db", scribble(func(int) int { return 8192 }, 64<<10), true},
		"database's pages zeroed":  {"snap/db", edit(func(p []byte) []byte { clear(p[8192:]); return p }), true},
		"database cut":             {"snap/db", edit(func(p []byte) []byte { return p[:9000] }), true},
		"database cut in half":     {"snap/db", edit(func(p []byte) []byte { return p[:len(p)/2] }), true},
		"database emptied":         {"snap/db", emptied, true},
		"database gone":            {"snap/db", removed, true},
		"database is something":    {"snap/db", edit(func(p []byte) []byte { return []byte(strings.Repeat("no database ", 9000)) }), true},
		"snap directory gone":      {"snap", removed, true},
		"member is a file":         {"", func(t *testing.T, p string) { removed(t, p); _ = os.WriteFile(p, []byte("x"), 0o600) }, false},
		"both damaged": {"", func(t *testing.T, p string) {
			hit(t, p, "wal/*.wal", scribble(middle, 32))
			hit(t, p, "snap/db", emptied)
		}, false},
		"log gone, database zeroed": {"", func(t *testing.T, p string) {
			hit(t, p, "wal/*.wal", removed)
			hit(t, p, "snap/db", scribble(func(int) int { return 0 }, 9000))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copied(t, good)
			hit(t, filepath.Join(dir, "etcd", "member"), tt.file, tt.damage)
			e, err := Start(t.Context(), dir, nil)
			if err != nil {
				d, ok := errors.AsType[*DirError](err)
				if !ok || !strings.Contains(d.Hint(), "gild state restore") || !strings.Contains(err.Error(), "damaged") {
					t.Errorf("Start = %v; want an error that names the way back", err)
				}
				if tt.heals {
					t.Errorf("Start = %v; want the database made anew from the log", err)
				}
				return
			}
			defer e.Close()
			s := state.New(keys.Space{Client: e.Client(), Prefix: "/gild/"}, nil, nil)
			if m, err := s.Get(t.Context(), storetest.MAC); err != nil || m.Seq != 200 {
				t.Errorf("after the damage: count %d, %v; want 200", m.Seq, err)
			}
			if !tt.heals {
				t.Error("Start = nil; want an error")
			}
		})
	}
}

func hit(t *testing.T, member, file string, damage func(*testing.T, string)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(member, file))
	if err != nil || len(paths) == 0 {
		t.Fatalf("nothing is at %s", file)
	}
	for _, p := range paths {
		damage(t, p)
	}
}
