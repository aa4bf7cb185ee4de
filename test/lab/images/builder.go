// Package images builds golden images of real Debian for whole-boot tests.
//
// Each is built once a host, by root, and kept outside the tree ([host.Cache]).
// Tests of several packages may build at the same time.
package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/test/lab/host"
)

// Builder makes golden images and keeps them.
type Builder struct {
	Cache string // directory that outlives the process
	// Debian archive; "" means the one that the host's apt uses, or debootstrap's
	// default
	Mirror string
	Log    *slog.Logger // nil discards
}

// Golden returns the path of a golden image with this layout, in [host.Cache],
// building it when it is not there.
func Golden(ctx context.Context, spec Spec) (string, error) {
	cache, err := host.Cache()
	if err != nil {
		return "", err
	}
	return (&Builder{Cache: cache}).Golden(ctx, spec)
}

// Golden returns the path of a golden image: raw and sparse, shared with every
// other caller, so to be copied or opened with [vm.Disk.Snapshot] and never
// written. The first call on a host takes minutes.
func (b *Builder) Golden(ctx context.Context, spec Spec) (string, error) {
	if err := spec.validate(); err != nil {
		return "", fmt.Errorf("golden image %s: %w", spec.Name, err)
	}
	path, err := b.keep(ctx, spec.file(), func(ctx context.Context, dst, work string) error {
		tree := b.Base
		if spec.lean {
			tree = b.lean
		}
		archive, err := tree(ctx)
		if err != nil {
			return err
		}
		return b.buildImage(ctx, spec, archive, dst, work)
	})
	if err != nil {
		return "", fmt.Errorf("golden image %s: %w", spec.Name, err)
	}
	return path, nil
}

// Kernel returns the kernel and the initramfs of the golden images, in
// [host.Cache].
func Kernel(ctx context.Context) (kernel, initrd string, err error) {
	cache, err := host.Cache()
	if err != nil {
		return "", "", err
	}
	return (&Builder{Cache: cache}).Kernel(ctx)
}

// Kernel returns the kernel and the initramfs of the golden images as files,
// for booting it directly.
func (b *Builder) Kernel(ctx context.Context) (kernel, initrd string, err error) {
	extract := func(name string) (string, error) {
		return b.keep(ctx, fmt.Sprintf("%s-%s-v%d", name, suite, recipe), func(ctx context.Context, dst, work string) error {
			base, err := b.Base(ctx)
			if err != nil {
				return err
			}
			return extractFile(ctx, base, "./boot/"+name, dst, work)
		})
	}
	if kernel, err = extract("vmlinuz"); err != nil {
		return "", "", fmt.Errorf("golden kernel: %w", err)
	}
	if initrd, err = extract("initrd.img"); err != nil {
		return "", "", fmt.Errorf("golden initramfs: %w", err)
	}
	return kernel, initrd, nil
}

// keep returns the cached file called name, having build make it first, at dst
// with the help of the empty directory work, when it is absent. Two processes
// that want the same file build it once; a build that fails or is killed leaves
// nothing under its name.
func (b *Builder) keep(ctx context.Context, name string, build func(ctx context.Context, dst, work string) error) (string, error) {
	path := filepath.Join(b.Cache, name)
	if host.IsThere(path) {
		return path, nil
	}
	if err := os.MkdirAll(b.Cache, 0o755); err != nil {
		return "", err
	}
	lock, err := lockFile(ctx, path+".lock")
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if host.IsThere(path) {
		return path, nil // another process built it meanwhile
	}
	if err := canBuild(); err != nil {
		return "", err
	}
	// Only the lock's holder uses these names, so what is there is a killed
	// builder's rest.
	partial, work := path+".partial", path+".work"
	if err := errors.Join(os.RemoveAll(partial), os.RemoveAll(work), os.Mkdir(work, 0o755)); err != nil {
		return "", err
	}
	began := time.Now()
	b.log().Info("building, once on this host", "file", path)
	if err := errors.Join(build(ctx, partial, work), os.RemoveAll(work)); err != nil {
		return "", errors.Join(err, os.RemoveAll(partial))
	}
	if err := os.Rename(partial, path); err != nil {
		return "", err
	}
	b.log().Info("built", "file", path, "seconds", int(time.Since(began).Seconds()))
	return path, nil
}

func (b *Builder) log() *slog.Logger {
	if b.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return b.Log
}

// canBuild names what stands in the way of a build, before it starts.
func canBuild() error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("golden images are built on amd64 hosts only, not %s", runtime.GOARCH)
	}
	if os.Geteuid() != 0 {
		return errors.New("building needs root, for debootstrap and loop devices: run it once with sudo, or name a finished image")
	}
	return host.LookAll([]string{"debootstrap", "sfdisk", "mformat", "mmd", "mcopy", "chroot", "tar", "zstd"})
}

// lockFile takes an exclusive lock that the kernel drops when this process
// ends. The file stays: removing it would let a third process lock another file
// of the same name.
func lockFile(ctx context.Context, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("wait for another process that holds %s: %w", path, context.Cause(ctx))
		}
	}
}
