// Package gather makes a boot kernel of what an operator has.
package gather

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootcfg/vercmp"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/golden/bootline"
	"github.com/gild-dev/gild/internal/golden/inspect"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/golden/vmlinuz"
	"github.com/gild-dev/gild/internal/initramfs"
	"github.com/gild-dev/gild/internal/initramfs/pick"
)

// Parts are what a boot kernel is stored of.
type Parts struct {
	Config  bootkernel.Config
	Kernel  func(io.Writer) error // as firmware can start it
	Modules func(io.Writer) error // an archive of initramfs.WriteModules
	Report  *pick.Report          // of the modules; nil: they were chosen before
}

// Tree finds the kernel of a release, or the newest where that is empty, with
// its modules in the tree of a system.
func Tree(root fs.FS, release string) (*Parts, error) {
	file, release, err := find(root, release)
	if err != nil {
		return nil, err
	}
	f, err := root.Open(file)
	if err != nil {
		return nil, fmt.Errorf("the kernel: %w", err)
	}
	defer f.Close()
	kernel, err := vmlinuz.Read(f)
	if err != nil {
		return nil, fmt.Errorf("the kernel %s: %w", file, err)
	}
	says, arch, err := vmlinuz.Release(bytes.NewReader(kernel))
	if err == nil && says != "" && says != release {
		err = fmt.Errorf("it is of release %s, not %s", says, release)
	}
	if err == nil && arch != "amd64" && arch != "arm64" {
		err = fmt.Errorf("it is for %s, and gild has no agent for that", arch)
	}
	if err == nil {
		kernel, err = vmlinuz.UnpackImage(kernel)
	}
	if err != nil {
		return nil, fmt.Errorf("the kernel %s: %w", file, err)
	}
	config, err := inspect.KernelConfig(root, path.Dir(file), release, kernel)
	if err != nil {
		config = nil // it may have one: gzip is what every kernel unpacks
	}
	how, err := initramfs.CompressionFor(config, release)
	if err != nil {
		return nil, fmt.Errorf("the kernel %s: %w", file, err)
	}
	modules, err := pick.Select(root, release, pick.Generic(), nil)
	if err != nil {
		return nil, err
	}
	return &Parts{
		Config: bootkernel.Config{Arch: arch, Release: release, Initramfs: string(how)},
		Kernel: writer(kernel),
		Modules: func(w io.Writer) error {
			_, err := initramfs.WriteModules(w, modules, initramfs.ModulesBudget)
			return err
		},
		Report: &modules.Report,
	}, nil
}

// find returns the file of a kernel, with its release.
func find(root fs.FS, release string) (file, found string, err error) {
	releases := []string{release}
	if release == "" {
		if releases, err = withModules(root); err != nil {
			return "", "", err
		}
	}
	for _, r := range slices.Backward(releases) {
		for _, name := range []string{
			"boot/vmlinuz-" + r, "lib/modules/" + r + "/vmlinuz", "usr/lib/modules/" + r + "/vmlinuz",
			"boot/kernel-" + r, "boot/Image-" + r, "usr/lib/modules/" + r + "/Image", "vmlinuz-" + r,
		} {
			if info, err := fs.Stat(root, name); err == nil && info.Mode().IsRegular() {
				return name, r, nil
			}
		}
	}
	return "", "", fmt.Errorf("no kernel was found: neither boot/vmlinuz-RELEASE nor lib/modules/RELEASE/vmlinuz for the release %v: %w",
		releases, fs.ErrNotExist)
}

// withModules lists the releases that there are modules of, the newest last.
func withModules(root fs.FS) ([]string, error) {
	var all []string
	for _, dir := range []string{"lib/modules", "usr/lib/modules"} {
		entries, err := fs.ReadDir(root, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("looking for modules: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() {
				all = append(all, e.Name())
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no modules of any kernel were found below lib/modules: %w", fs.ErrNotExist)
	}
	slices.SortFunc(all, vercmp.UAPI)
	return slices.Compact(all), nil
}

// Image takes the kernel of a stored image.
func Image(st *store.Store, ref string) (*Parts, error) {
	im, err := st.Image(ref)
	if err != nil {
		return nil, err
	}
	boot := im.Config.Boot
	if boot == nil {
		return nil, fmt.Errorf("image %.120q has no kernel", ref)
	}
	kernel, err := im.Manifest.Layer(golden.MediaTypeKernel)
	if err != nil {
		return nil, err
	}
	modules, err := im.Manifest.Layer(golden.MediaTypeModules)
	if err != nil {
		return nil, fmt.Errorf("image %.120q has no modules for its kernel: %w", ref, err)
	}
	return &Parts{
		Config:  bootkernel.Config{Arch: boot.Arch, Release: boot.KernelRelease, Initramfs: boot.Initramfs},
		Kernel:  blob(st, kernel, golden.MaxKernelSize),
		Modules: blob(st, modules, golden.MaxModulesSize),
	}, nil
}

// Store stores a boot kernel under a name. Nothing is visible in the store
// until all of it is there; a name that was another one's moves in the same
// step.
func Store(ctx context.Context, st *store.Store, name string, p *Parts) (*bootkernel.BootKernel, error) {
	if err := store.CheckName(name); err != nil {
		return nil, err
	}
	if err := bootline.Check(p.Config.Cmdline); err != nil {
		return nil, err
	}
	config, err := json.Marshal(p.Config)
	if err != nil {
		return nil, fmt.Errorf("describing the kernel: %w", err)
	}
	var drafts []*store.Draft
	defer func() {
		for _, d := range drafts {
			_ = d.Close()
		}
	}()
	var described []golden.Descriptor
	for _, part := range []struct {
		mediaType string
		write     func(io.Writer) error
	}{
		{bootkernel.MediaTypeConfig, writer(config)},
		{golden.MediaTypeKernel, p.Kernel},
		{golden.MediaTypeModules, p.Modules},
	} {
		d, err := st.Draft()
		if err != nil {
			return nil, err
		}
		drafts = append(drafts, d)
		if err := part.write(d); err != nil {
			return nil, fmt.Errorf("storing the kernel: %w", err)
		}
		described = append(described, d.Descriptor(part.mediaType))
	}
	manifest, err := bootkernel.Manifest(described[0], described[1], described[2])
	if err != nil {
		return nil, fmt.Errorf("describing the kernel: %w", err)
	}
	if _, err := st.Kernels().Commit(ctx, name, manifest, drafts...); err != nil {
		return nil, err
	}
	return st.Kernels().Get(name)
}

func writer(p []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(p)
		return err
	}
}

// blob copies what is stored already, verified, so that no removal comes
// between.
func blob(st *store.Store, d golden.Descriptor, limit int64) func(io.Writer) error {
	return func(w io.Writer) error {
		p, err := st.ReadBlob(d.Digest, limit)
		if err != nil {
			return err
		}
		return writer(p)(w)
	}
}
