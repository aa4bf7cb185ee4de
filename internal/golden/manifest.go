package golden

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Descriptor points at one blob (image-spec v1.1, descriptor.md).
type Descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      Digest            `json:"digest"`
	Size        int64             `json:"size"` // bytes
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Manifest is the OCI manifest of a stored image (image-spec v1.1,
// manifest.md). The agent reads it with these few types instead of the
// specification's Go module, which would bring regexp into the initramfs.
type Manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        Descriptor        `json:"config"`
	Layers        []Descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Marshal writes the manifest in its one byte form: the same parts give the
// same digest, so adding an image twice stores it once.
func (m *Manifest) Marshal() ([]byte, error) {
	return json.Marshal(m)
}

// ParseManifest reads the manifest of a stored image and checks everything
// that can be known from it alone. A manifest of another kind of artifact is
// an error that says which.
func ParseManifest(p []byte) (*Manifest, error) {
	var m Manifest
	if err := unmarshalOne(p, MaxManifestSize, &m); err != nil {
		return nil, fmt.Errorf("reading manifest: %w", err)
	}
	if m.SchemaVersion != 2 {
		return nil, fmt.Errorf("reading manifest: schema version %d, want 2", m.SchemaVersion)
	}
	if m.ArtifactType != ArtifactType {
		return nil, fmt.Errorf("reading manifest: artifact type %.80q is not a golden image (%s)", m.ArtifactType, ArtifactType)
	}
	if err := m.Config.check(MediaTypeConfig, MaxConfigSize); err != nil {
		return nil, fmt.Errorf("reading manifest: config: %w", err)
	}
	for _, part := range []struct {
		mediaType string
		limit     int64
		optional  bool
	}{
		{MediaTypeDisk, 1 << 62, false},
		{MediaTypeChunks, MaxTableSize, false},
		{MediaTypeKernel, MaxKernelSize, true},
		{MediaTypeModules, MaxModulesSize, true},
	} {
		d, err := m.Layer(part.mediaType)
		if part.optional && errors.Is(err, ErrNoLayer) {
			continue
		}
		if err == nil {
			err = d.check(part.mediaType, part.limit)
		}
		if err != nil {
			return nil, fmt.Errorf("reading manifest: %w", err)
		}
	}
	return &m, nil
}

// ErrNoLayer is returned by Layer for a part that the image does not have.
var ErrNoLayer = errors.New("image has no such part")

// Layer returns the one layer of the media type. The kernel and the modules
// are absent from an image in which none were found: ErrNoLayer. Two of a
// kind would leave open which one is meant, so that is an error too.
func (m *Manifest) Layer(mediaType string) (Descriptor, error) {
	var found []Descriptor
	for _, l := range m.Layers {
		if l.MediaType == mediaType {
			found = append(found, l)
		}
	}
	switch len(found) {
	case 0:
		return Descriptor{}, fmt.Errorf("%s: %w", mediaType, ErrNoLayer)
	case 1:
		return found[0], nil
	default:
		return Descriptor{}, fmt.Errorf("%d layers of type %s, want one", len(found), mediaType)
	}
}

func (d Descriptor) check(mediaType string, limit int64) error {
	if d.MediaType != mediaType {
		return fmt.Errorf("media type %.80q, want %s", d.MediaType, mediaType)
	}
	if _, err := ParseDigest(string(d.Digest)); err != nil {
		return err
	}
	if d.Size <= 0 || d.Size > limit {
		return fmt.Errorf("%s has %d bytes, want 1 to %d", mediaType, d.Size, limit)
	}
	return nil
}

// unmarshalOne reads exactly one JSON value of at most limit bytes into v.
func unmarshalOne(p []byte, limit int, v any) error {
	if len(p) > limit {
		return fmt.Errorf("%d bytes, at most %d are accepted", len(p), limit)
	}
	dec := json.NewDecoder(bytes.NewReader(p))
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("data after the JSON value")
	}
	return nil
}
