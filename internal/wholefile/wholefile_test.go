package wholefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, content := range []string{"first, and longer", "second"} {
		if err := Bytes(path, 0o640, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(path); string(got) != content || err != nil {
			t.Errorf("content %q, %v; want %q", got, err, content)
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v; want 0640 whatever the umask", info.Mode(), err)
	}
	if got := names(t, dir); got != "file" {
		t.Errorf("the directory holds %q", got)
	}
}

// While the content comes, and after it failed, the old file is there whole.
func TestFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := Bytes(path, 0o600, []byte("old")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	err := Write(path, 0o600, func(f *os.File) error {
		if _, err := f.WriteString("ne"); err != nil {
			return err
		}
		if got, err := os.ReadFile(path); string(got) != "old" || err != nil {
			t.Errorf("meanwhile the file holds %q, %v", got, err)
		}
		if filepath.Dir(f.Name()) != dir {
			t.Errorf("the content goes to %s first", f.Name())
		}
		return broken
	})
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), path) {
		t.Errorf("Write = %v; want the failure, with the file's name", err)
	}
	if got, err := os.ReadFile(path); string(got) != "old" || err != nil {
		t.Errorf("afterwards the file holds %q, %v", got, err)
	}
	if got := names(t, dir); got != "file" {
		t.Errorf("the directory holds %q", got)
	}
	if err := Bytes(filepath.Join(dir, "none", "file"), 0o600, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a directory that is not there: %v", err)
	}
	// What cannot be replaced leaves nothing beside it.
	if err := os.MkdirAll(filepath.Join(dir, "dir", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Bytes(filepath.Join(dir, "dir"), 0o600, nil); err == nil || names(t, dir) != "dir file" {
		t.Errorf("in the place of a directory: %v; the directory holds %q", err, names(t, dir))
	}
}
