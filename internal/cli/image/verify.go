package image

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
)

func (a commands) verifyCmd() *cobra.Command {
	return &cobra.Command{
		Use:               "verify [IMAGE...]",
		Short:             "check every byte of stored images against its hash (default: all images)",
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runVerify(cmd.Context(), args) },
		ValidArgsFunction: complete.Stored(a.App),
	}
}

func (a commands) runVerify(ctx context.Context, names []string) error {
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		all, err := st.List()
		if err != nil {
			return err
		}
		for _, n := range all {
			names = append(names, n.Name)
		}
	}
	verified := []verifiedImage{}
	var failed []error
	for _, name := range names {
		err := a.verify(ctx, st, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v := verifiedImage{Name: name, OK: err == nil}
		if err != nil {
			v.Error = err.Error()
			failed = append(failed, fmt.Errorf("image %s: %w", name, err))
		} else if !a.JSON {
			fmt.Fprintf(a.Stdout, "%s: OK\n", name)
		}
		verified = append(verified, v)
	}
	if a.JSON {
		if err := a.PrintJSON(verified); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// verifiedImage is one image of `gild image verify --json`.
type verifiedImage struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}

// verify hashes every blob of an image, and every chunk inside the disk.
func (a commands) verify(ctx context.Context, st *store.Store, name string) error {
	im, err := st.Image(name)
	if err != nil {
		return err
	}
	for _, l := range im.Manifest.Layers {
		if err := verifyBlob(ctx, st, l); err != nil {
			return err
		}
	}
	bar := a.Bar("verifying "+name, im.Table.DiskSize)
	defer bar.Done()
	return eachChunk(ctx, st, im, func(_ golden.Chunk, raw []byte) error {
		bar.Add(int64(len(raw)))
		return nil
	})
}

func verifyBlob(ctx context.Context, st *store.Store, d golden.Descriptor) error {
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

// eachChunk gives the raw chunks of an image in order, each checked.
func eachChunk(ctx context.Context, st *store.Store, im *golden.Image, do func(c golden.Chunk, raw []byte) error) error {
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
