package doortest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/bootspec"
)

// Images is a store in memory and boots every image with the same files.
type Images struct {
	Names map[string]golden.Digest
	Blobs map[golden.Digest][]byte
}

// File is one in memory.
type File struct{ *bytes.Reader }

// Close does nothing.
func (File) Close() error { return nil }

func (s *Images) add(p []byte) golden.Digest {
	d := golden.DigestOf(p)
	s.Blobs[d] = p
	return d
}

// List implements operators.Images.
func (s *Images) List(context.Context) ([]api.Image, error) {
	var out []api.Image
	for name, d := range s.Names {
		out = append(out, api.Image{Name: name, Digest: string(d)})
	}
	return out, nil
}

// Resolve implements registry.Images.
func (s *Images) Resolve(_ context.Context, name string) (golden.Digest, error) {
	if d, ok := s.Names[name]; ok {
		return d, nil
	}
	return "", fmt.Errorf("image %q: %w", name, fs.ErrNotExist)
}

// Describe implements operators.Images.
func (s *Images) Describe(ctx context.Context, name string) (api.Image, error) {
	d, err := s.Resolve(ctx, name)
	return api.Image{Name: name, Digest: string(d)}, err
}

// Blob implements registry.Images.
func (s *Images) Blob(_ context.Context, d golden.Digest) (io.ReadSeekCloser, error) {
	if p, ok := s.Blobs[d]; ok {
		return File{bytes.NewReader(p)}, nil
	}
	return nil, fmt.Errorf("blob %s: %w", d, fs.ErrNotExist)
}

// Spec implements firmware.Specs.
func (s *Images) Spec(_ context.Context, q bootspec.Question) (bootspec.Spec, error) {
	return bootspec.Spec{Source: q.Image, Cmdline: strings.Join(q.Servers, ",") + " " + q.Ticket}, nil
}

// Open implements firmware.Specs.
func (s *Images) Open(ctx context.Context, from golden.Digest, file string) (bootspec.File, error) {
	if _, err := s.Blob(ctx, from); err != nil {
		return bootspec.File{}, err
	}
	if file != bootspec.Kernel && file != bootspec.Initramfs {
		return bootspec.File{}, fs.ErrNotExist
	}
	return bootspec.File{ReadSeekCloser: File{bytes.NewReader([]byte(file))}, Tag: file}, nil
}

// NewImages stores one image, "debian", whose disk blob holds disk.
func NewImages(t *testing.T, disk []byte) *Images {
	t.Helper()
	s := &Images{Names: map[string]golden.Digest{}, Blobs: map[golden.Digest][]byte{}}
	descriptor := func(mediaType string, p []byte) golden.Descriptor {
		return golden.Descriptor{MediaType: mediaType, Digest: s.add(p), Size: int64(len(p))}
	}
	m := golden.Manifest{
		SchemaVersion: 2, MediaType: golden.MediaTypeManifest, ArtifactType: golden.ArtifactType,
		Config: descriptor(golden.MediaTypeConfig, []byte(`{}`)),
		Layers: []golden.Descriptor{descriptor(golden.MediaTypeDisk, disk), descriptor(golden.MediaTypeChunks, []byte("chunks"))},
	}
	p, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	s.Names["debian"] = s.add(p)
	return s
}
