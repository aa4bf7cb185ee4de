package bootspec

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
	"github.com/gild-dev/gild/internal/wholefile"
)

// Files makes what machines boot from what is stored. An initramfs is built
// once and kept.
type Files struct {
	Store *store.Store
	Dir   string // where an initramfs is kept
	// BootKernel names the boot kernel for the machines that it fits; empty, or
	// none that is stored: the newest that fits.
	BootKernel string
	Busybox    *Busybox // for the rescue shell; nil: none
	// CA is the certificate, in PEM, of who signs for the servers that the agent
	// may speak to; empty: it speaks to any, in plain HTTP.
	CA []byte
	// Agent returns the agent for an architecture; nil: the one inside of gild.
	Agent func(arch string) ([]byte, error)

	mu sync.Mutex // one initramfs at a time: building takes all cores' worth
}

// Open opens a file of a spec by the source of the spec. What is not there is
// an error that is fs.ErrNotExist. The caller closes the file.
func (f *Files) Open(_ context.Context, from golden.Digest, file string) (File, error) {
	src, err := f.bySource(from)
	if errors.Is(err, errNoKernel) {
		err = errors.Join(err, fs.ErrNotExist)
	}
	if err != nil {
		return File{}, err
	}
	switch file {
	case Kernel:
		kernel, err := f.Store.OpenBlob(src.kernel)
		return File{kernel, src.kernel.Hex()}, err
	case Initramfs:
		return f.initramfs(src)
	}
	return File{}, fmt.Errorf("%.40q is no file that a machine boots: %w", file, fs.ErrNotExist)
}

// initramfs opens the one of a source, building it when there is none.
func (f *Files) initramfs(src source) (File, error) {
	parts, err := f.parts(src)
	if err != nil {
		return File{}, err
	}
	key := f.key(src, parts).Hex()
	path := filepath.Join(f.Dir, key)
	if kept, err := os.Open(path); err == nil {
		return File{kept, key}, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// Another machine's request may have built it in the meantime.
	kept, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := f.build(path, src); err != nil {
			return File{}, fmt.Errorf("initramfs with kernel %s: %w", src.release, err)
		}
		kept, err = os.Open(path)
	}
	if err != nil {
		return File{}, fmt.Errorf("opening the initramfs with kernel %s: %w", src.release, err)
	}
	return File{kept, key}, nil
}

// build writes the file whole or not at all. A crash may leave a file that
// prune removes; it is never taken for an initramfs.
func (f *Files) build(path string, src source) error {
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return fmt.Errorf("keeping it: %w", err)
	}
	return wholefile.Write(path, 0o600, func(w *os.File) error { return f.write(w, src) })
}

// Check refuses to serve without the agent that a stored image needs:
// machines would only learn it one by one. What is wrong with an image itself
// stops no other image.
func (f *Files) Check() error {
	images, err := f.images()
	if err != nil {
		return err
	}
	for _, d := range images {
		if missing, ok := errors.AsType[*agentbin.MissingError](f.Bootable(d)); ok {
			return fmt.Errorf("image %s cannot be served: %w", d.Short(), missing)
		}
	}
	return nil
}

// images are all that a machine can be armed with.
func (f *Files) images() ([]golden.Digest, error) {
	named, err := f.Store.List()
	if err != nil {
		return nil, err
	}
	images, err := f.Store.Pinned()
	for _, n := range named {
		images = append(images, n.Digest)
	}
	return images, err
}

// Run builds ahead what is missing. A failure is logged and stops nothing,
// because each machine that asks is told it too.
func (f *Files) Run(ctx context.Context, log *slog.Logger) {
	if err := f.prepare(ctx); err != nil && ctx.Err() == nil {
		log.Warn("building initramfs files ahead", "err", err)
	}
}

// prepare builds what is missing, so that the first machine does not wait,
// and removes what no stored image needs any more.
func (f *Files) prepare(ctx context.Context) error {
	images, err := f.images()
	if err != nil {
		return err
	}
	needed := map[string]bool{}
	sources, err := f.sources(images)
	failed := []error{err}
	for _, src := range sources {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if _, err := f.parts(src); err != nil {
			continue // there is no agent for it: Check has said so
		}
		built, err := f.initramfs(src)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		needed[built.Tag] = true
		built.Close()
	}
	return errors.Join(append(failed, f.prune(needed))...)
}

// arches are the architectures that there is an agent for.
var arches = []string{"amd64", "arm64"}

// sources are all that a machine may boot from: what the images have, then the
// boot kernels that are chosen. An error tells of those that are left out.
func (f *Files) sources(images []golden.Digest) (all []source, err error) {
	for _, d := range images {
		im, broken := f.Store.Image(string(d))
		var src source
		if broken == nil {
			src, broken = own(im)
		}
		switch {
		case broken == nil:
			all = append(all, src)
		case !errors.Is(broken, errNoKernel):
			err = errors.Join(err, broken)
		}
	}
	for _, arch := range arches {
		if src, broken := f.bootKernel(arch); broken == nil {
			all = append(all, src)
		}
	}
	return all, err
}

func (f *Files) prune(needed map[string]bool) error {
	entries, err := os.ReadDir(f.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("tidying up initramfs files: %w", err)
	}
	var failed []error
	for _, e := range entries {
		if !needed[e.Name()] {
			if err := os.Remove(filepath.Join(f.Dir, e.Name())); err != nil {
				failed = append(failed, fmt.Errorf("tidying up initramfs files: %w", err))
			}
		}
	}
	return errors.Join(failed...)
}
