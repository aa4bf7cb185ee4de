package inspect

import (
	"bytes"
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootcfg"
	"github.com/gild-dev/gild/internal/golden/bootline"
	"github.com/gild-dev/gild/internal/golden/fsread"
	"github.com/gild-dev/gild/internal/golden/vmlinuz"
	"github.com/gild-dev/gild/internal/initramfs"
)

// kernel reads the kernel that the entry names, or takes the given one. It
// comes back as firmware can start it.
func (l *look) kernel(tree fs.FS, entry *bootcfg.Entry, boot *golden.Boot) ([]byte, *golden.Boot) {
	kernel, name := l.given.Kernel, ""
	if kernel == nil {
		if entry == nil {
			return nil, nil // l.entry has said so
		}
		var err error
		if kernel, err = readKernel(entry); err != nil {
			l.note("--kernel", "the kernel %s, named by %s, cannot be read: %v", entry.Place(), entry.Source, err)
			return nil, nil
		}
		if name = entry.File(); entry.Kernel == "" {
			l.note("", "the kernel %s lies where the system does not mount it, so it cannot be started by kexec", entry.Place())
		} else {
			boot.Kernel = "/" + entry.Kernel
		}
	}
	release, arch, err := vmlinuz.Release(bytes.NewReader(kernel))
	if err == nil && release == "" {
		release, err = releaseByName(tree, name)
	}
	if err == nil {
		kernel, err = vmlinuz.UnpackImage(kernel)
	}
	switch {
	case err != nil && l.given.Kernel != nil:
		l.refuse("--kernel", "cannot determine its release: %w", err)
		return nil, nil
	case err != nil:
		l.note("--kernel", "the kernel does not tell its release: %v", err)
		return nil, nil
	}
	boot.KernelRelease, boot.Arch = release, arch
	return kernel, boot
}

// releaseByName finds the release of a kernel that hides it: the name of its
// file or of its folder ends in one that there are modules of, or there are
// modules of one only.
func releaseByName(tree fs.FS, kernel string) (string, error) {
	dirs, err := fs.ReadDir(tree, "lib/modules")
	if err != nil {
		return "", fmt.Errorf("/lib/modules does not tell it either: %w", err)
	}
	longest := ""
	for _, d := range dirs {
		named := strings.HasSuffix(path.Base(kernel), "-"+d.Name()) || path.Base(path.Dir(kernel)) == d.Name()
		if named && len(d.Name()) > len(longest) {
			longest = d.Name()
		}
	}
	if longest != "" || len(dirs) == 1 {
		return cmp.Or(longest, dirs[0].Name()), nil
	}
	return "", fmt.Errorf("/lib/modules does not tell it either: it has %d releases", len(dirs))
}

// servable says what will keep a server from booting any machine with what was
// found, while the operator is still there to hear it.
func (l *look) servable(boot *golden.Boot) {
	if err := bootline.Check(boot.Cmdline); err != nil {
		l.doubt(golden.Doubt{
			About: "the command line", Why: "no machine can be booted to receive the image: " + err.Error(),
			Settle: "--cmdline",
		})
	}
	if boot.Arch != "amd64" && boot.Arch != "arm64" {
		l.doubt(golden.Doubt{
			About: "the kernel", Settle: "--kernel",
			Why: fmt.Sprintf("it is for %s, or from before Linux 3.8, and gild has no agent for that: no machine can be booted with it to "+
				"receive the image", boot.Arch),
		})
	}
}

// packing decides how an initramfs is packed that the kernel can unpack.
func (l *look) packing(tree fs.FS, boot *golden.Boot, kernel []byte) string {
	release := boot.KernelRelease
	if l.given.Kernel != nil {
		// It may be anybody's, whatever release it has in common with others.
		tree, release = l.given.Modules, ""
	}
	config, err := KernelConfig(tree, path.Dir(boot.Kernel), boot.KernelRelease, kernel)
	if err != nil {
		l.note("", "cannot determine whether the kernel contains its configuration (%v): its initramfs is packed with gzip", err)
		release = "" // which would say what is usual
	}
	how, err := initramfs.CompressionFor(config, release)
	if err != nil {
		l.doubt(golden.Doubt{
			About: "the kernel", Why: "no machine can be booted with it to receive the image: " + err.Error(),
			Settle: "--kernel",
		})
	}
	return string(how)
}

// KernelConfig finds the configuration that a kernel was built with: in the
// kernel, or where distributions keep it, dir being that of the kernel. tree
// may be nil, release empty: only the kernel is looked into then. An error says
// that the kernel may have one that cannot be read.
func KernelConfig(tree fs.FS, dir, release string, kernel []byte) ([]byte, error) {
	if tree != nil && release != "" {
		for _, name := range []string{
			path.Join(dir, "config-"+release), "boot/config-" + release,
			"lib/modules/" + release + "/config", "usr/lib/modules/" + release + "/config",
			"lib/modules/" + release + "/build/.config", "usr/lib/modules/" + release + "/build/.config",
			"lib/kernel/config-" + release, "usr/lib/kernel/config-" + release,
			"usr/lib/ostree-boot/config-" + release,
			"usr/src/linux-headers-" + release + "/.config", "usr/src/kernels/" + release + "/.config", "usr/src/linux-" + release + "/.config",
		} {
			if config := readOptional(tree, fsread.Rel(name)); len(config) > 0 {
				return config, nil
			}
		}
	}
	return vmlinuz.Config(kernel)
}
