package store

import (
	"encoding/json"
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
)

func putKernel(t *testing.T, s *Store, name, release string) {
	t.Helper()
	config, err := json.Marshal(bootkernel.Config{Arch: "amd64", Release: release})
	if err != nil {
		t.Fatal(err)
	}
	var drafts []*Draft
	var d []golden.Descriptor
	for _, part := range []struct {
		mediaType string
		p         []byte
	}{
		{bootkernel.MediaTypeConfig, config},
		{golden.MediaTypeKernel, []byte("kernel " + release)},
		{golden.MediaTypeModules, []byte("modules")},
	} {
		draft, err := s.Draft()
		if err != nil {
			t.Fatal(err)
		}
		defer draft.Close()
		if _, err := draft.Write(part.p); err != nil {
			t.Fatal(err)
		}
		drafts, d = append(drafts, draft), append(d, draft.Descriptor(part.mediaType))
	}
	manifest, err := bootkernel.Manifest(d[0], d[1], d[2])
	if err == nil {
		_, err = s.Kernels().Commit(t.Context(), name, manifest, drafts...)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Images and boot kernels lie side by side and may have the same names.
func TestKernelsBesideImages(t *testing.T) {
	s := open(t)
	mustPut(t, s, "debian", 1)
	before := files(t, s)
	putKernel(t, s, "debian", "6.1")
	putKernel(t, s, "new", "6.12")
	if named, err := s.List(); err != nil || len(named) != 1 {
		t.Errorf("List() = %v, %v; want the image alone", named, err)
	}
	if _, err := s.Image("debian"); err != nil {
		t.Errorf("the image of the same name: %v", err)
	}
	all, err := s.Kernels().List()
	if err != nil || len(all) != 2 || all[0].Name != "debian" || all[0].Config.Release != "6.1" {
		t.Fatalf("Kernels().List() = %v, %v; want two", all, err)
	}
	for _, ref := range []string{"debian", string(all[0].Digest)} {
		if k, err := s.Kernels().Get(ref); err != nil || k.Digest != all[0].Digest {
			t.Errorf("Get(%s) = %v, %v", ref, k, err)
		}
	}
	putKernel(t, s, "new", "6.13") // moves the name
	if k, err := s.Kernels().Get("new"); err != nil || k.Config.Release != "6.13" {
		t.Errorf("after another one was added as new: %v, %v", k, err)
	}
	for _, name := range []string{"debian", "new"} {
		if err := s.Kernels().Remove(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, files(t, s)); diff != "" {
		t.Errorf("after both are removed (-want +got):\n%s", diff)
	}
	for what, err := range map[string]error{
		"Remove": s.Kernels().Remove(t.Context(), "new"),
		"Get":    func() error { _, err := s.Kernels().Get("new"); return err }(),
	} {
		if !errors.Is(err, ErrNoKernel) || !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotFound) {
			t.Errorf("%s of what is gone = %v; want ErrNoKernel", what, err)
		}
	}
}
