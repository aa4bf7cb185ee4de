package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
)

func (a *app) imageVerifyCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "verify [IMAGE...]",
		Short: "rehash every byte of stored images (default: all)",
		RunE:  func(cmd *cobra.Command, args []string) error { return a.runImageVerify(cmd.Context(), args) },
	}
}

func (a *app) runImageVerify(ctx context.Context, names []string) error {
	st, err := a.openStore()
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
			fmt.Fprintf(a.Stdout, "%s: every byte is right\n", name)
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
func (a *app) verify(ctx context.Context, st *store.Store, name string) error {
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

func (a *app) imageExportCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "export IMAGE FILE",
		Short: "give the raw disk back, byte for byte (FILE may be -)",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runImageExport(cmd.Context(), args[0], args[1])
		},
	}
}

func (a *app) runImageExport(ctx context.Context, name, to string) error {
	st, err := a.openStore()
	if err != nil {
		return err
	}
	im, err := st.Image(name)
	if err != nil {
		return err
	}
	if info, err := os.Stat(to); to != "-" && err == nil && !info.Mode().IsRegular() {
		return exit.Refused(exit.Hint(fmt.Errorf("%s is no regular file, and would be replaced by one", to), "`gild write` writes to a disk; FILE - is standard output"))
	}
	bar := a.Bar("exporting "+name, im.Table.DiskSize)
	defer bar.Done()
	if to == "-" {
		return eachChunk(ctx, st, im, func(_ golden.Chunk, raw []byte) error {
			bar.Add(int64(len(raw)))
			_, err := a.Stdout.Write(raw)
			return err
		})
	}
	return writeFileWhole(to, func(f *os.File) error {
		var off int64
		err := eachChunk(ctx, st, im, func(c golden.Chunk, raw []byte) error {
			bar.Add(int64(len(raw)))
			if !c.Zero { // the file stays sparse where the disk is empty
				if _, err := f.WriteAt(raw, off); err != nil {
					return err
				}
			}
			off += int64(len(raw))
			return nil
		})
		if err != nil {
			return err
		}
		return f.Truncate(im.Table.DiskSize)
	})
}

// writeFileWhole makes a file appear with all of its content or not at all.
func writeFileWhole(path string, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	defer func() {
		f.Close()
		if err != nil {
			_ = os.Remove(f.Name())
			err = fmt.Errorf("writing %s: %w", path, err)
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
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
