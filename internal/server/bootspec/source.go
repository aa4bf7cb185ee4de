package bootspec

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/initramfs"
)

// source is what gives a kernel and the modules for it.
type source struct {
	digest  golden.Digest // of its manifest
	arch    string
	release string
	cmdline string // its own
	packing initramfs.Compression
	early   []string      // modules that are needed soon in any case
	kernel  golden.Digest // blob
	modules golden.Digest // blob; empty: there are none
}

// errNoKernel is of an image that no machine can boot to receive.
var errNoKernel error = noKernel{}

type noKernel struct{}

func (noKernel) Error() string { return "the image has no kernel" }

func (noKernel) Is(target error) bool { return target == fs.ErrNotExist }

// Hint says what the operator can do.
func (noKernel) Hint() string { return "`gild image add --kernel` gives it one" }

// forImage is what a machine boots to receive an image.
func (f *Files) forImage(image golden.Digest) (source, error) {
	im, err := f.Store.Image(string(image))
	if err != nil {
		return source{}, err
	}
	return own(im)
}

// own is what an image itself gives.
func own(im *golden.Image) (source, error) {
	boot := im.Config.Boot
	if boot == nil {
		return source{}, errNoKernel
	}
	s := source{
		digest: im.Digest, arch: boot.Arch, release: boot.KernelRelease, cmdline: boot.Cmdline,
		packing: initramfs.Compression(boot.Initramfs),
	}
	if boot.Root.FileSystem != "" {
		s.early = []string{boot.Root.FileSystem}
	}
	return s, s.layers(im.Manifest)
}

// layers finds the blobs of a source.
func (s *source) layers(m *golden.Manifest) error {
	kernel, err := m.Layer(golden.MediaTypeKernel)
	if err != nil {
		return fmt.Errorf("kernel of image %s: %w", s.digest.Short(), errors.Join(err, fs.ErrNotExist))
	}
	s.kernel = kernel.Digest
	modules, err := m.Layer(golden.MediaTypeModules)
	if errors.Is(err, golden.ErrNoLayer) {
		return nil
	}
	s.modules = modules.Digest
	return err
}
