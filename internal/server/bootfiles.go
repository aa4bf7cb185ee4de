package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
	"github.com/gild-dev/gild/internal/wholefile"
)

// bootFiles makes what a machine boots for an image: the image's own kernel
// and command line, and an initramfs that is built once and kept in dir.
type bootFiles struct {
	builder InitramfsBuilder
	dir     string

	mu sync.Mutex // one initramfs at a time: building takes all cores' worth
}

// Kernel opens the image's kernel.
func (b *bootFiles) Kernel(_ context.Context, image golden.Digest) (io.ReadSeekCloser, error) {
	im, err := b.builder.Store.Image(string(image))
	if err != nil {
		return nil, err
	}
	layer, err := im.Manifest.Layer(golden.MediaTypeKernel)
	if err != nil {
		return nil, fmt.Errorf("kernel of image %s: %w", image.Short(), errors.Join(err, fs.ErrNotExist))
	}
	return b.builder.Store.OpenBlob(layer.Digest)
}

// Cmdline returns the image's own kernel command line.
func (b *bootFiles) Cmdline(_ context.Context, image golden.Digest) (string, error) {
	im, err := b.builder.Store.Image(string(image))
	if err != nil {
		return "", err
	}
	if im.Config.Boot == nil {
		return "", fmt.Errorf("image %s has no kernel: %w", image.Short(), fs.ErrNotExist)
	}
	return im.Config.Boot.Cmdline, nil
}

// Initramfs opens the image's initramfs, building it when there is none.
func (b *bootFiles) Initramfs(_ context.Context, image golden.Digest) (io.ReadSeekCloser, error) {
	im, err := b.builder.Store.Image(string(image))
	if err != nil {
		return nil, err
	}
	key, err := b.builder.key(im)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(b.dir, key.Hex())
	if f, err := os.Open(path); err == nil {
		return f, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	// Another machine's request may have built it in the meantime.
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := b.build(path, im); err != nil {
			return nil, err
		}
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("opening the initramfs of image %s: %w", image.Short(), err)
	}
	return f, nil
}

// build writes the file whole or not at all. A crash may leave a file that
// prune removes; it is never taken for an initramfs.
func (b *bootFiles) build(path string, im *golden.Image) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return fmt.Errorf("keeping an initramfs: %w", err)
	}
	return wholefile.Write(path, 0o600, func(f *os.File) error { return b.builder.Build(f, im) })
}

// check says why no machine could be booted to receive the image.
func (b *bootFiles) check(image golden.Digest) error {
	im, err := b.builder.Store.Image(string(image))
	if err != nil {
		return err
	}
	_, err = b.builder.parts(im)
	return err
}

// checkAll refuses to serve without the agent that a stored image needs:
// machines would only learn it one by one. What is wrong with an image itself
// stops no other image.
func (b *bootFiles) checkAll() error {
	images, err := b.images()
	if err != nil {
		return err
	}
	for _, d := range images {
		if missing, ok := errors.AsType[*agentbin.MissingError](b.check(d)); ok {
			return fmt.Errorf("image %s cannot be served: %w", d.Short(), missing)
		}
	}
	return nil
}

// images are all that a machine can be armed with.
func (b *bootFiles) images() ([]golden.Digest, error) {
	named, err := b.builder.Store.List()
	if err != nil {
		return nil, err
	}
	images, err := b.builder.Store.Pinned()
	for _, n := range named {
		images = append(images, n.Digest)
	}
	return images, err
}

// prepare builds what is missing, so that the first machine does not wait,
// and removes what no stored image needs any more.
func (b *bootFiles) prepare(ctx context.Context) error {
	images, err := b.images()
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	var failed []error
	for _, d := range images {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		im, err := b.builder.Store.Image(string(d))
		if err != nil {
			failed = append(failed, err)
			continue
		}
		key, err := b.builder.key(im)
		if err != nil {
			continue // no kernel: it boots no machine, which is no failure here
		}
		needed[key.Hex()] = true
		f, err := b.Initramfs(ctx, im.Digest)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		f.Close()
	}
	return errors.Join(append(failed, b.prune(needed))...)
}

func (b *bootFiles) prune(needed map[string]bool) error {
	entries, err := os.ReadDir(b.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tidying up initramfs files: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if !needed[e.Name()] {
			if err := os.Remove(filepath.Join(b.dir, e.Name())); err != nil {
				failed = append(failed, fmt.Errorf("tidying up initramfs files: %w", err))
			}
		}
	}
	return errors.Join(failed...)
}
