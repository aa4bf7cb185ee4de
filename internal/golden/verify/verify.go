// Package verify reads every byte of a stored image against its hashes.
package verify

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
)

// Image hashes every blob of the image that ref names, and every chunk inside
// its disk. progress is told how many raw bytes of the disk were read, of how
// many; nil: nobody is. The error names the part that is damaged or missing; it
// is store.ErrNotFound only where there is no such image.
func Image(ctx context.Context, st *store.Store, ref string, progress func(done, total int64)) error {
	im, err := st.Image(ref)
	if err != nil {
		return err
	}
	for _, l := range im.Manifest.Layers {
		if err := blob(ctx, st, l); err != nil {
			return err
		}
	}
	done := int64(0)
	return Chunks(ctx, st, im, func(_ golden.Chunk, raw []byte) error {
		if done += int64(len(raw)); progress != nil {
			progress(done, im.Table.DiskSize)
		}
		return nil
	})
}

func blob(ctx context.Context, st *store.Store, d golden.Descriptor) error {
	f, err := st.OpenBlob(d.Digest)
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%s is missing: there is no blob %s", d.MediaType, d.Digest) // not wrapped: the image itself is there
	}
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, ctxReader{ctx, f})
	if err != nil {
		return fmt.Errorf("reading %s: %w", d.MediaType, err)
	}
	if got := golden.DigestFromSum(h.Sum(nil)); got != d.Digest || n != d.Size {
		return fmt.Errorf("%s is damaged: %d bytes that hash to %s, want %d and %s", d.MediaType, n, got, d.Size, d.Digest)
	}
	return nil
}

// Chunks gives the raw chunks of an image in order, each checked.
func Chunks(ctx context.Context, st *store.Store, im *golden.Image, do func(c golden.Chunk, raw []byte) error) error {
	blob, err := st.OpenBlob(im.Disk.Digest)
	if err != nil {
		return err
	}
	defer blob.Close()
	r, err := golden.NewReader(im.Table, blob)
	if err != nil {
		return err
	}
	buf := make([]byte, im.Table.ChunkSize)
	for i, c := range im.Table.All() {
		if err := ctx.Err(); err != nil {
			return err
		}
		off, n := im.Table.Extent(i)
		if _, err := r.ReadAt(buf[:n], off); err != nil {
			return err
		}
		if err := do(c, buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// ctxReader ends a long copy when its context does.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
