package fleetfile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// Files that are named lie below one directory, whatever the path and the links
// on its way say.
func TestFilesLieBelow(t *testing.T) {
	top := t.TempDir()
	repo, vault := filepath.Join(top, "repo"), filepath.Join(top, "vault")
	for path, text := range map[string]string{
		"secret": "OUTSIDE", "repo/key": "INSIDE", "repo/sub/deep": "INSIDE", "vault/key": "VAULT",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(top, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(top, path), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"out": "../secret", "abs": filepath.Join(top, "secret"), "in": "key", "up": "..", "here": ".", "loop": "loop",
	} {
		if err := os.Symlink(to, filepath.Join(repo, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(repo, "pipe"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, from string
		want       string // the content; empty: refused
		outside    bool
	}{
		{"key", "", "INSIDE", false},
		{"sub/deep", "", "INSIDE", false},
		{"sub/../key", "", "INSIDE", false},
		{"../repo/key", "", "INSIDE", false},
		{filepath.Join(repo, "key"), "", "INSIDE", false},
		{"in", "", "INSIDE", false},
		{"here/key", "", "INSIDE", false},
		{"../secret", "", "", true},
		{"sub/../../secret", "", "", true},
		{"../../../../../../../../etc/passwd", "", "", true},
		{"/etc/passwd", "", "", true},
		{"out", "", "", true},
		{"abs", "", "", true},
		{"up/secret", "", "", true},
		{"../repo-other", "", "", true},
		{"pipe", "", "", false},
		{"/dev/zero", "", "", true},
		{"sub", "", "", false},
		{"loop", "", "", false},
		{"missing", "", "", false},
		{"key", vault, "VAULT", false},
		{"../repo/key", vault, "", true},
		{filepath.Join(repo, "key"), vault, "", true},
	} {
		text := "identities: {n: {files: [{path: /k, content: !file '" + tt.name + "'}]}}"
		file := filepath.Join(repo, "fleet.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{file, repo} {
			f, err := Loader{FilesFrom: tt.from}.Load([]string{path}, nil)
			if tt.want != "" {
				if err != nil || f.Identities["n"].Files[0].Content != tt.want || len(f.Files) != 1 {
					t.Errorf("!file %s from %q by -f %s: %+v, %v; want %s", tt.name, tt.from, path, f, err, tt.want)
				}
				continue
			}
			if err == nil || strings.Contains(err.Error(), "OUTSIDE") {
				t.Errorf("!file %s from %q by -f %s = %v; want a refusal", tt.name, tt.from, path, err)
			}
			if outside := new(OutsideError); tt.outside && !strings.Contains(err.Error(), "--files-from") && !errors.As(err, &outside) {
				t.Errorf("!file %s: %v; want one that says what may be named", tt.name, err)
			}
		}
	}
	// Standard input lies in the working directory.
	t.Chdir(repo)
	f, err := Load([]string{"-"}, strings.NewReader("identities: {n: {hostname: !file key}, m: {hostname: !file in}}"))
	if err != nil || !slices.Equal(f.Files, []string{"in", "key"}) {
		t.Errorf("from standard input: %+v, %v; want in and key read", f, err)
	}
	if _, err := Load([]string{"-"}, strings.NewReader("identities: {n: {hostname: !file ../secret}}")); err == nil {
		t.Error("standard input reads outside of the working directory")
	}
}
