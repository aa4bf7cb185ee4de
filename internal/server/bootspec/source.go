package bootspec

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/initramfs"
)

// source is what gives a kernel and the modules for it.
type source struct {
	digest  golden.Digest // of its manifest
	name    string        // of a boot kernel; empty: it is the image's own
	arch    string
	release string
	cmdline string // its own
	packing initramfs.Compression
	early   []string      // modules that are needed soon in any case
	kernel  golden.Digest // blob
	modules golden.Digest // blob; empty: there are none
	stamp   string        // of its initramfs, once it is chosen
}

// errNoKernel is of an image that no machine can boot to receive.
var errNoKernel error = noKernel{}

type noKernel struct{}

func (noKernel) Error() string { return "the image has no kernel, and no boot kernel is stored" }

// Hint says what the operator can do.
func (noKernel) Hint() string {
	return "`gild kernel add NAME FILE.deb` stores a kernel that runs the agent for such images"
}

// candidates are what may give the kernel that a machine boots to receive the
// image, the best first: the image's own where that can become the kernel of
// the new system, then the boot kernel, then the image's own all the same.
func (f *Files) candidates(im *golden.Image, q Question) ([]source, error) {
	var all []source
	mine, lacks := own(im)
	if lacks == nil {
		all = append(all, mine)
	} else if !errors.Is(lacks, errNoKernel) {
		return nil, lacks
	}
	boot, err := f.bootKernel(archOf(q.Arch, im.Config.Boot))
	switch {
	case err == nil:
		all = append(all, boot.consoles(im.Config.Boot))
	case !errors.As(err, new(*bootkernel.NoneError)):
		return nil, err
	}
	if len(all) == 0 {
		return nil, errNoKernel
	}
	if !switches(im.Config, q.Handoff) {
		slices.Reverse(all)
	}
	return all, nil
}

// switches reports whether the system of an image is to be entered on the
// kernel that runs the agent.
func switches(c *golden.Config, handoff string) bool {
	switch handoff {
	case api.HandoffSwitchRoot, api.HandoffInstant:
		return true // the operator insists
	}
	way, _ := c.Handoff()
	return way == api.HandoffSwitchRoot
}

// bootKernel is the one for an architecture.
func (f *Files) bootKernel(arch string) (source, error) {
	all, damaged := f.Store.Kernels().List()
	k, err := bootkernel.Choose(all, f.BootKernel, arch)
	if err != nil {
		return source{}, cmp.Or(damaged, err)
	}
	return ofBootKernel(k), nil
}

func ofBootKernel(k *bootkernel.BootKernel) source {
	return source{
		digest: k.Digest, name: k.Name, arch: k.Config.Arch, release: k.Config.Release, cmdline: k.Config.Cmdline,
		packing: initramfs.Compression(k.Config.Initramfs), kernel: k.Kernel.Digest, modules: k.Modules.Digest,
	}
}

// consoles adds the consoles of an image that is received on a boot kernel.
func (s source) consoles(boot *golden.Boot) source {
	if boot == nil {
		return s
	}
	words := strings.Fields(s.cmdline)
	for word := range strings.FieldsSeq(boot.Cmdline) {
		if strings.HasPrefix(word, "console=") && !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	s.cmdline = strings.Join(words, " ")
	return s
}

// archOf is the architecture of a machine as Go names it. A machine that has
// not run the agent is known by what iPXE was built for: a BIOS program is of
// 32 bits on any processor.
func archOf(machine string, boot *golden.Boot) string {
	switch machine {
	case "i386", "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	case "":
		if boot != nil {
			return boot.Arch
		}
		return "amd64"
	}
	return machine
}

// bySource finds a source by the digest of its manifest.
func (f *Files) bySource(d golden.Digest) (source, error) {
	k, err := f.Store.Kernels().Get(string(d))
	if err == nil {
		return ofBootKernel(k), nil
	}
	if !errors.Is(err, store.ErrNoKernel) {
		return source{}, err
	}
	im, err := f.Store.Image(string(d))
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
