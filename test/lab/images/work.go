package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// workRecipe is to work images what recipe is to golden ones.
const workRecipe = 1

// WorkSpec is the disk of the benchmarks: 4 GiB, BIOS, GPT, ext4. It boots, as
// the golden image that it begins as.
func WorkSpec() Spec {
	spec := Ext4MBR()
	spec.Name, spec.Scheme, spec.Size, spec.RootUUID = "work", GPT, 4<<30, "0a1f6c52-7d07-4c0e-9d9a-5b1c2a7e0004"
	return spec
}

// RootExtent gives the offset and size of the root partition, bytes.
func (s Spec) RootExtent() (offset, size int64) { return s.rootStart(), s.rootSize() }

// Work images are made of whole packages, so that what they hold and what
// changes between them is what disks hold and what an upgrade changes.
// Everything that the first three lists depend on is in both versions.
func workKept() []string {
	return []string{
		"build-essential", "git", "libllvm14", "libnode108", "mariadb-server-core",
		"perl-modules-5.36", "postgresql-15", "python3-numpy", "python3-scipy",
	}
}

// workGone is removed by the second version, workNew comes with it: about as
// many bytes.
func workGone() []string { return []string{"libruby3.1", "vim-runtime", "cpp-12"} }
func workNew() []string  { return []string{"libclang-cpp14", "samba-libs", "erlang-base"} }

// workDeleted was there once: nothing of it is left but its blocks.
func workDeleted() []string { return []string{"golang-1.19-go", "golang-1.19-src"} }

// Work returns two versions of one disk with about 1.8 GiB of Debian, of which
// the second has 5 % changed, and some 440 MB of deleted files in its free
// space. Raw and sparse, shared with every other caller and never to be
// written. The first call on a host takes minutes and downloads some 400 MB of
// packages.
func (b *Builder) Work(ctx context.Context) (first, second string, err error) {
	name := func(version int) string {
		return fmt.Sprintf("work-%s-v%d.%d-%d.raw", suite, recipe, workRecipe, version)
	}
	first, err = b.keep(ctx, name(1), func(ctx context.Context, dst, work string) error {
		start, err := b.Golden(ctx, WorkSpec())
		if err != nil {
			return err
		}
		return b.reworkImage(ctx, start, dst, work, func(root, debs string) error {
			if err := unpackAll(ctx, root, debs, slices.Concat(workNew(), workDeleted())); err != nil {
				return err
			}
			old := filepath.Join(root, "var/tmp/old")
			if err := unpack(ctx, old, debs, workDeleted()); err != nil {
				return err
			}
			unix.Sync() // or the blocks would be free again before they were ever written
			return os.RemoveAll(old)
		})
	})
	if err != nil {
		return "", "", fmt.Errorf("work image: %w", err)
	}
	second, err = b.keep(ctx, name(2), func(ctx context.Context, dst, work string) error {
		return b.reworkImage(ctx, first, dst, work, func(root, debs string) error {
			for _, name := range workGone() {
				if err := removePackage(ctx, root, debs, name); err != nil {
					return err
				}
			}
			return unpack(ctx, root, debs, workNew())
		})
	})
	if err != nil {
		return "", "", fmt.Errorf("work image, second version: %w", err)
	}
	return first, second, nil
}

// reworkImage copies a work image and has change alter its root file system,
// given where that is mounted and where the packages are.
func (b *Builder) reworkImage(ctx context.Context, from, dst, work string, change func(root, debs string) error) error {
	debs, err := b.workPackages(ctx)
	if err != nil {
		return err
	}
	return editRoot(ctx, WorkSpec(), from, dst, work, func(root string) error { return change(root, debs) })
}

// workPackages returns a directory with the packages of the work images and all
// that they depend on.
func (b *Builder) workPackages(ctx context.Context) (string, error) {
	return b.download(ctx, "work", workRecipe, slices.Concat(workKept(), workGone(), workNew(), workDeleted()))
}

// unpackAll unpacks every package that the tree at root does not have, but for
// some.
func unpackAll(ctx context.Context, root, debs string, but []string) error {
	paths, err := absent(root, debs)
	if err != nil {
		return err
	}
	for _, path := range paths {
		if slices.Contains(but, packageName(path)) {
			continue
		}
		if err := unpackFile(ctx, root, path); err != nil {
			return err
		}
	}
	return nil
}

// unpack unpacks named packages, without their scripts.
func unpack(ctx context.Context, root, debs string, names []string) error {
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	for _, name := range names {
		path, err := packageFile(debs, name)
		if err != nil {
			return err
		}
		if err := unpackFile(ctx, root, path); err != nil {
			return err
		}
	}
	return nil
}

// unpackFile leaves the links alone that lead from /lib to /usr/lib, as dpkg
// does and dpkg-deb does not.
func unpackFile(ctx context.Context, root, path string) error {
	const script = `set -o pipefail; dpkg-deb --fsys-tarfile "$1" | tar --extract --keep-directory-symlink --directory "$2"`
	return run(ctx, nil, nil, "bash", "-c", script, "unpack", path, root)
}

// removePackage removes the files of a package; its directories stay.
func removePackage(ctx context.Context, root, debs, name string) error {
	path, err := packageFile(debs, name)
	if err != nil {
		return err
	}
	const script = `set -o pipefail; dpkg-deb --fsys-tarfile "$1" | tar --list | grep -v '/$' | (cd "$2" && xargs --delimiter='\n' rm --force)`
	return run(ctx, nil, nil, "bash", "-c", script, "remove", path, root)
}
