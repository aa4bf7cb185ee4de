package store

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/golden"
)

// An image that machines are armed with stays when its name goes, or is given
// to another image.
func TestPinKeepsTheImage(t *testing.T) {
	for how, lose := range map[string]func(*Store) error{
		"removed":  func(s *Store) error { return s.Remove(t.Context(), "a") },
		"replaced": func(s *Store) error { mustPut(t, s, "a", 2); return nil },
	} {
		s := open(t)
		d := mustPut(t, s, "a", 1)
		if err := errors.Join(s.Pin(t.Context(), d), s.Pin(t.Context(), d)); err != nil {
			t.Fatal(err)
		}
		if err := lose(s); err != nil {
			t.Fatal(err)
		}
		if im, err := s.Image(string(d)); err != nil || im.Digest != d {
			t.Errorf("%s: Image(pinned digest) = %v; want the image", how, err)
		}
		named, err := s.List()
		if err != nil || len(named) > 1 || len(named) == 1 && named[0].Digest == d {
			t.Errorf("%s: List() = %v, %v; want the pinned image hidden", how, named, err)
		}
		if _, err := s.Resolve(d.Hex()[:8]); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: Resolve(short digest) = %v; want ErrNotFound", how, err)
		}
		if err := s.KeepPins(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.OpenBlob(d); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: without a pin OpenBlob() = %v; want ErrNotFound", how, err)
		}
	}
}

func TestKeepPins(t *testing.T) {
	s := open(t)
	absent := golden.Digest("sha256:" + strings.Repeat("a", 64))
	if err := s.Pin(t.Context(), absent); !errors.Is(err, ErrNotFound) {
		t.Errorf("Pin() in an empty store = %v; want ErrNotFound", err)
	}
	a, b := mustPut(t, s, "a", 1), mustPut(t, s, "b", 2)
	if err := s.Pin(t.Context(), absent); !errors.Is(err, ErrNotFound) {
		t.Errorf("Pin(absent) = %v; want ErrNotFound", err)
	}
	for _, tt := range []struct{ keep, want []golden.Digest }{
		{[]golden.Digest{b, absent, b}, []golden.Digest{b}},
		{[]golden.Digest{a}, []golden.Digest{a}},
		{nil, nil},
	} {
		if err := s.KeepPins(t.Context(), tt.keep); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Pinned(); err != nil || !cmp.Equal(got, tt.want) {
			t.Errorf("after KeepPins(%v) Pinned() = %v, %v; want %v", tt.keep, got, err, tt.want)
		}
	}
	for _, name := range []string{"a", "b"} {
		if _, err := s.Image(name); err != nil {
			t.Errorf("Image(%s) = %v; a name keeps its image", name, err)
		}
	}
}
