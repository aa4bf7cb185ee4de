package server

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/pack"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/stored"
	"github.com/gild-dev/gild/internal/settings"
)

// memDisk is a raw disk to store.
type memDisk struct{ io.Reader }

func (m memDisk) ReadChunk(p []byte) (int, bool, error) {
	n, err := io.ReadFull(m, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, false, err
}

// storeWith makes a store that holds a small disk under each name.
func storeWith(t *testing.T, names ...string) *store.Store {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "images"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		addTo(t, s, name)
	}
	return s
}

func addTo(t *testing.T, s *store.Store, name string) {
	t.Helper()
	raw := bytes.Repeat([]byte(name), 64<<10)
	if _, err := pack.Add(t.Context(), pack.Job{Store: s, Name: name, Disk: memDisk{bytes.NewReader(raw)}}); err != nil {
		t.Fatal(err)
	}
}

// What happens to an image's name after a machine was armed with it does not
// matter to that machine; what happens to the arm decides.
func TestArmingPinsTheImage(t *testing.T) {
	for name, disarm := range map[string]func(*machines.Core) error{
		"cancelled": func(s *machines.Core) error { _, err := s.Operators().Cancel(t.Context(), "", mac, false); return err },
		"lapsed": func(s *machines.Core) error {
			s.Now = func() time.Time { return time.Now().Add(time.Hour) }
			return nil
		},
		"armed with another": func(s *machines.Core) error {
			_, err := s.Operators().Flash(t.Context(), "", mac, machinestest.Flash("other"))
			return err
		},
		"forgotten": func(s *machines.Core) error { return s.Operators().Delete(t.Context(), "", mac, true) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newMachines(t)
			images := storeWith(t, "debian", "other")
			shown := stored.Images{Store: images}
			s.Images, s.Pins = shown, images
			m, err := s.Operators().Flash(t.Context(), "", mac, api.FlashRequest{
				Settings: settings.Settings{Image: "debian"}, Unseen: true,
				Expires: 60,
			})
			if err != nil {
				t.Fatal(err)
			}
			d := golden.Digest(m.Armed.Plan.Image.Digest)
			if err := errors.Join(images.Remove(t.Context(), "debian"), s.Upkeep().KeepPins(t.Context())); err != nil {
				t.Fatal(err)
			}
			blob, err := shown.Blob(t.Context(), d)
			if err != nil {
				t.Fatalf("the image of an armed machine is gone: %v", err)
			}
			if p, err := io.ReadAll(blob); err != nil || d.Verify(p) != nil {
				t.Errorf("the manifest of an armed machine's image: %v, %v", err, d.Verify(p))
			}
			blob.Close()
			if err := errors.Join(disarm(s), s.Upkeep().KeepPins(t.Context())); err != nil {
				t.Fatal(err)
			}
			if _, err := shown.Blob(t.Context(), d); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("when no machine is armed with it, Blob() = %v; want the image gone", err)
			}
		})
	}
}

// The agent holds a repository's name to the rules of the OCI specification.
func TestArmingByDigestNamesARepository(t *testing.T) {
	s := newMachines(t)
	images := storeWith(t, "debian")
	s.Images, s.Pins = stored.Images{Store: images}, images
	d, err := images.Resolve("debian")
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.Operators().Flash(t.Context(), "", mac, api.FlashRequest{Settings: settings.Settings{Image: string(d)}, Unseen: true})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := m.Armed.Plan.Image.Repository, "golden/"+d.Hex(); got != want {
		t.Errorf("repository = %q; want %q", got, want)
	}
}
