package golden

import (
	"context"
	"io"
)

// Registry gives the parts of stored images, each named by its digest.
type Registry interface {
	// Manifest gives a manifest of at most limit bytes.
	Manifest(ctx context.Context, repository, digest string, limit int64) ([]byte, error)
	// Blob gives a whole blob of size bytes.
	Blob(ctx context.Context, repository, digest string, size int64) ([]byte, error)
	// Open gives a blob that is too long for memory; the caller closes it.
	Open(ctx context.Context, repository, digest string, size int64) (io.ReadCloser, error)
}

// Pull gets everything small of an image, its chunk table included, and checks
// all of it against the digest.
func Pull(ctx context.Context, from Registry, repository string, digest Digest) (*Image, error) {
	raw, err := from.Manifest(ctx, repository, string(digest), MaxManifestSize)
	if err != nil {
		return nil, err
	}
	m, err := ParseManifest(raw)
	if err != nil {
		return nil, err
	}
	config, err := from.Blob(ctx, repository, string(m.Config.Digest), m.Config.Size)
	if err != nil {
		return nil, err
	}
	chunks, err := m.Layer(MediaTypeChunks)
	if err != nil {
		return nil, err
	}
	table, err := from.Open(ctx, repository, string(chunks.Digest), chunks.Size)
	if err != nil {
		return nil, err
	}
	defer table.Close()
	return NewImage(digest, raw, config, table)
}
