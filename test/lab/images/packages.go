package images

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// download returns a directory with packages of the golden Debian and all that
// they depend on. The downloader is debootstrap: it needs no apt of the right
// release, and trusts what the golden images trust.
func (b *Builder) download(ctx context.Context, name string, version int, packages []string) (string, error) {
	return b.keep(ctx, fmt.Sprintf("%s-packages-%s-v%d", name, suite, version), func(ctx context.Context, dst, work string) error {
		root := filepath.Join(work, "root")
		args := []string{"--download-only", "--variant=minbase", "--include=" + strings.Join(packages, ","), suite, root}
		mirror := b.Mirror
		if mirror == "" {
			mirror = hostMirror(os.DirFS("/"))
		}
		if mirror != "" {
			args = append(args, mirror)
		}
		b.log().Info("debootstrap --download-only", "suite", suite, "packages", len(packages))
		if err := run(ctx, proxies(), nil, "debootstrap", args...); err != nil {
			return err
		}
		return os.Rename(filepath.Join(root, "var/cache/apt/archives"), dst)
	})
}

// absent gives the files of the packages that the tree at root does not have.
func absent(root, debs string) ([]string, error) {
	status, err := os.ReadFile(filepath.Join(root, "var/lib/dpkg/status"))
	if err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(debs, "*.deb"))
	if err != nil {
		return nil, err
	}
	var found []string
	for _, path := range paths {
		if !strings.Contains("\n"+string(status), "\nPackage: "+packageName(path)+"\n") {
			found = append(found, path)
		}
	}
	return found, nil
}

// packageName is that of the package in a file that the archive named.
func packageName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), "_")
	return name
}

func packageFile(debs, name string) (string, error) {
	found, err := filepath.Glob(filepath.Join(debs, name+"_*.deb"))
	if err != nil {
		return "", err
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%d packages called %s were downloaded; want one", len(found), name)
	}
	return found[0], nil
}
