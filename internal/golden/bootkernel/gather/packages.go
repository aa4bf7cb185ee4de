package gather

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gild-dev/gild/internal/golden/deb"
	"github.com/gild-dev/gild/internal/golden/source"
	"github.com/gild-dev/gild/internal/initramfs/pick"
)

// Packages takes the kernel of Debian packages, which are unpacked in scratch,
// a folder that is the caller's to remove. A distribution may have kernel,
// modules and firmware in packages of their own: all are named then.
func Packages(ctx context.Context, files []string, scratch string) (*Parts, error) {
	root, err := os.OpenRoot(scratch)
	if err != nil {
		return nil, fmt.Errorf("unpacking: %w", err)
	}
	defer root.Close()
	for _, file := range files {
		if err := unpack(ctx, file, root); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	tree := root.FS()
	releases, err := withModules(tree)
	if err != nil {
		return nil, err
	}
	for _, release := range releases {
		if err := index(root, release); err != nil {
			return nil, err
		}
	}
	return Tree(tree, "")
}

func unpack(ctx context.Context, file string, into *os.Root) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, packed, err := deb.Data(f)
	if err != nil {
		return err
	}
	data, err := source.Unpacked(ctx, packed)
	if err != nil {
		return fmt.Errorf("unpacking the files of the package: %w", err)
	}
	err = deb.Unpack(data, into, needed)
	return errors.Join(err, data.Close())
}

// needed reports whether a file of a package has to do with kernels.
func needed(name string) bool {
	name = strings.TrimPrefix(name, "usr/")
	for _, top := range []string{"boot/", "lib/modules/", "lib/firmware/"} {
		if strings.HasPrefix(name, top) {
			return true
		}
	}
	return false
}

// index writes what the installation of a package would: see pick.Depmod.
func index(root *os.Root, release string) error {
	for _, base := range []string{"lib/modules", "usr/lib/modules"} {
		dir := base + "/" + release
		if _, err := root.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if _, err := root.Stat(dir + "/modules.dep"); err == nil {
			continue
		}
		tree, err := fs.Sub(root.FS(), dir)
		if err != nil {
			return fmt.Errorf("modules of %s: %w", release, err)
		}
		files, err := pick.Depmod(tree)
		if err != nil {
			return fmt.Errorf("modules of %s: %w", release, err)
		}
		for name, p := range files {
			if err := root.WriteFile(filepath.Join(dir, name), p, 0o644); err != nil {
				return fmt.Errorf("modules of %s: %w", release, err)
			}
		}
	}
	return nil
}
