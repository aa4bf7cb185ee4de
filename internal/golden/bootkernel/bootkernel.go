// Package bootkernel is a stored kernel that runs the agent for images whose
// own cannot.
//
// It is an OCI artifact beside the images of a store: a small description, and
// the layers for kernel and modules that an image has too.
package bootkernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootcfg/vercmp"
)

// Media types of the artifact. Its layers are those of an image:
// golden.MediaTypeKernel and golden.MediaTypeModules.
const (
	ArtifactType    = "application/vnd.gild.bootkernel.v1"
	MediaTypeConfig = "application/vnd.gild.bootkernel.config.v1+json"
)

// Config says what the kernel is.
type Config struct {
	Arch    string `json:"arch"`    // as Go names it
	Release string `json:"release"` // uname -r
	// Initramfs is how an initramfs must be packed: see golden.Boot.
	Initramfs string `json:"initramfs"`
	// Cmdline are words that machines get with this kernel, such as console=.
	Cmdline string `json:"cmdline,omitempty"`
	From    string `json:"from,omitempty"` // what it was made from, for people
}

// BootKernel is a stored one, checked.
type BootKernel struct {
	Name    string
	Digest  golden.Digest // of the manifest
	Config  Config
	Kernel  golden.Descriptor
	Modules golden.Descriptor
}

// Manifest writes the manifest of a boot kernel in its one byte form.
func Manifest(config, kernel, modules golden.Descriptor) ([]byte, error) {
	return (&golden.Manifest{
		SchemaVersion: 2, MediaType: golden.MediaTypeManifest, ArtifactType: ArtifactType,
		Config: config, Layers: []golden.Descriptor{kernel, modules},
	}).Marshal()
}

// Parse reads a manifest whose digest is want, and then the config that blob
// gives for the digest that the manifest names.
func Parse(want golden.Digest, manifest []byte, blob func(golden.Digest, int64) ([]byte, error)) (*BootKernel, error) {
	if err := want.Verify(manifest); err != nil {
		return nil, fmt.Errorf("boot kernel %s: %w", want.Short(), err)
	}
	var m golden.Manifest
	if err := json.Unmarshal(manifest, &m); err != nil {
		return nil, fmt.Errorf("boot kernel %s: manifest: %w", want.Short(), err)
	}
	if m.ArtifactType != ArtifactType || m.Config.MediaType != MediaTypeConfig {
		return nil, fmt.Errorf("%s is no boot kernel but %.80q", want.Short(), m.ArtifactType)
	}
	k := &BootKernel{Digest: want}
	var err error
	if k.Kernel, err = layer(&m, golden.MediaTypeKernel, golden.MaxKernelSize); err == nil {
		k.Modules, err = layer(&m, golden.MediaTypeModules, golden.MaxModulesSize)
	}
	if err != nil {
		return nil, fmt.Errorf("boot kernel %s: %w", want.Short(), err)
	}
	if _, err := golden.ParseDigest(string(m.Config.Digest)); err != nil {
		return nil, fmt.Errorf("boot kernel %s: config: %w", want.Short(), err)
	}
	p, err := blob(m.Config.Digest, golden.MaxConfigSize)
	if err == nil {
		err = json.Unmarshal(p, &k.Config)
	}
	if err == nil && (k.Config.Arch == "" || k.Config.Release == "") {
		err = errors.New("it names no architecture or no release")
	}
	if err != nil {
		return nil, fmt.Errorf("boot kernel %s: config: %w", want.Short(), err)
	}
	return k, nil
}

func layer(m *golden.Manifest, mediaType string, limit int64) (golden.Descriptor, error) {
	d, err := m.Layer(mediaType)
	if err != nil {
		return d, err
	}
	if _, err := golden.ParseDigest(string(d.Digest)); err != nil {
		return d, err
	}
	if d.Size <= 0 || d.Size > limit {
		return d, fmt.Errorf("%s has %d bytes, want 1 to %d", mediaType, d.Size, limit)
	}
	return d, nil
}

// Choose picks the kernel for machines of an architecture: the one that is
// named, if it is for that, else the newest that is. The error says that there
// is none.
func Choose(all []*BootKernel, name, arch string) (*BootKernel, error) {
	fits := slices.DeleteFunc(slices.Clone(all), func(k *BootKernel) bool { return k.Config.Arch != arch })
	for _, k := range fits {
		if k.Name == name {
			return k, nil
		}
	}
	if len(fits) == 0 {
		return nil, &NoneError{Arch: arch}
	}
	return slices.MaxFunc(fits, Compare), nil
}

// Compare orders boot kernels by release, the newest last.
func Compare(a, b *BootKernel) int { return vercmp.UAPI(a.Config.Release, b.Config.Release) }

// NoneError says that no boot kernel is for an architecture.
type NoneError struct{ Arch string }

func (e *NoneError) Error() string { return "no boot kernel for " + e.Arch + " is stored" }

// Hint says what the operator can do.
func (e *NoneError) Hint() string {
	return "`gild kernel add NAME FILE.deb` stores one, from a distribution's kernel package"
}
