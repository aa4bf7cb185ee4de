package store

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/golden"
)

// A layout that was copied from elsewhere gives out what its manifests name,
// from regular files, and nothing else of this host.
func TestOpenNamed(t *testing.T) {
	s := open(t)
	if _, err := s.OpenNamed(golden.DigestOf(nil)); !errors.Is(err, ErrNotFound) {
		t.Errorf("OpenNamed of an empty store = %v; want ErrNotFound", err)
	}
	d := mustPut(t, s, "web", 7)
	im, err := s.Image("web")
	if err != nil {
		t.Fatal(err)
	}
	disk := im.Manifest.Layers[0].Digest
	for _, digest := range []golden.Digest{d, im.Manifest.Config.Digest, disk} {
		f, err := s.OpenNamed(digest)
		if err != nil {
			t.Fatalf("OpenNamed(%s) = %v", digest.Short(), err)
		}
		f.Close()
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("SECRET"), 0o600); err != nil {
		t.Fatal(err)
	}
	blob := func(d golden.Digest) string { return filepath.Join(s.blobDir(), d.Hex()) }
	stray := golden.DigestOf([]byte("stray"))
	if err := os.WriteFile(blob(stray), []byte("stray"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenNamed(stray); !errors.Is(err, ErrNotFound) {
		t.Errorf("a blob that no manifest names = %v; want ErrNotFound", err)
	}
	link := golden.DigestOf([]byte("link"))
	if err := os.Symlink(secret, blob(link)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenNamed(link); !errors.Is(err, ErrNotFound) {
		t.Errorf("a link that no manifest names = %v; want ErrNotFound", err)
	}
	for name, replace := range map[string]func() error{
		"link to another file": func() error { return os.Symlink(secret, blob(disk)) },
		"link within":          func() error { return os.Symlink(stray.Hex(), blob(disk)) },
		"pipe":                 func() error { return unix.Mkfifo(blob(disk), 0o644) },
		"directory":            func() error { return os.Mkdir(blob(disk), 0o755) },
	} {
		if err := errors.Join(os.RemoveAll(blob(disk)), replace()); err != nil {
			t.Fatal(err)
		}
		for how, openIt := range map[string]func(golden.Digest) (*os.File, error){"OpenNamed": s.OpenNamed, "OpenBlob": s.OpenBlob} {
			f, err := openIt(disk)
			if err == nil {
				p, _ := io.ReadAll(f)
				t.Errorf("%s of a %s gives %q; want an error", how, name, p)
				f.Close()
			} else if strings.Contains(err.Error(), "SECRET") {
				t.Errorf("%s of a %s = %v", how, name, err)
			}
		}
	}
	// The directory of the blobs may not lead elsewhere either.
	aside := s.blobDir() + ".aside"
	if err := errors.Join(os.RemoveAll(blob(disk)), os.Rename(s.blobDir(), aside), os.Symlink(aside, s.blobDir())); err != nil {
		t.Fatal(err)
	}
	if f, err := s.OpenBlob(d); err == nil {
		t.Error("a blob was opened by a link in the layout")
		f.Close()
	}
}

// What is added later is served, what is removed is not.
func TestOpenNamedFollowsTheIndex(t *testing.T) {
	s := open(t)
	a := mustPut(t, s, "a", 1)
	f, err := s.OpenNamed(a)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	b := mustPut(t, s, "b", 2)
	if f, err = s.OpenNamed(b); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := s.Remove(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.OpenNamed(a); !errors.Is(err, ErrNotFound) {
		t.Errorf("OpenNamed of a removed image = %v; want ErrNotFound", err)
	}
}
