package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
)

// kernelPrefix begins the names of boot kernels in the index. No image's name
// has a slash.
const kernelPrefix = "kernel/"

// Kernels are the boot kernels of a store, beside its images.
type Kernels struct{ s *Store }

// Kernels returns those of the store.
func (s *Store) Kernels() Kernels { return Kernels{s} }

// ErrNoKernel is wrapped by the error for a boot kernel that the store does
// not have. It is an fs.ErrNotExist too.
var ErrNoKernel error = noKernel{}

type noKernel struct{}

func (noKernel) Error() string        { return "no such boot kernel" }
func (noKernel) Is(target error) bool { return target == fs.ErrNotExist }

func noKernelError(ref string) error {
	return fmt.Errorf("%.120q: %w (see `gild kernel ls`)", ref, ErrNoKernel)
}

// List returns the boot kernels by name. One that is damaged is left out, and
// its error is among those that are joined.
func (k Kernels) List() (all []*bootkernel.BootKernel, damaged error) {
	index, err := k.s.readIndex()
	if err != nil {
		return nil, err
	}
	for _, d := range index.Manifests {
		name, ok := strings.CutPrefix(d.Annotations[ocispec.AnnotationRefName], kernelPrefix)
		if !ok || d.ArtifactType != bootkernel.ArtifactType {
			continue
		}
		kernel, err := k.read(name, golden.Digest(d.Digest))
		if err != nil {
			damaged = errors.Join(damaged, err)
			continue
		}
		all = append(all, kernel)
	}
	slices.SortFunc(all, func(a, b *bootkernel.BootKernel) int { return strings.Compare(a.Name, b.Name) })
	return all, damaged
}

// Get returns the boot kernel of a name, or of a digest.
func (k Kernels) Get(ref string) (*bootkernel.BootKernel, error) {
	index, err := k.s.readIndex()
	if err != nil {
		return nil, err
	}
	for _, d := range index.Manifests {
		name, ok := strings.CutPrefix(d.Annotations[ocispec.AnnotationRefName], kernelPrefix)
		if ok && d.ArtifactType == bootkernel.ArtifactType && (ref == name || ref == string(d.Digest)) {
			return k.read(name, golden.Digest(d.Digest))
		}
	}
	return nil, noKernelError(ref)
}

func (k Kernels) read(name string, d golden.Digest) (*bootkernel.BootKernel, error) {
	manifest, err := k.s.readPart("manifest", d, golden.MaxManifestSize)
	if err != nil {
		return nil, fmt.Errorf("boot kernel %s: %w", name, err)
	}
	kernel, err := bootkernel.Parse(d, manifest, func(d golden.Digest, limit int64) ([]byte,
		error,
	) {
		return k.s.readPart("config", d, limit)
	})
	if err != nil {
		return nil, fmt.Errorf("boot kernel %s: %w", name, err)
	}
	kernel.Name = name
	return kernel, nil
}

// Commit gives a boot kernel its name, as Store.Commit does for an image.
func (k Kernels) Commit(ctx context.Context, name string, manifest []byte, drafts ...*Draft) (golden.Digest, error) {
	made, _, err := k.s.commit(ctx, entry{name: name, kernel: true}, manifest, drafts)
	return made, err
}

// Remove takes the name of a boot kernel away, and its blobs when nothing else
// needs them.
func (k Kernels) Remove(ctx context.Context, name string) error {
	if _, err := os.Stat(k.s.dir); errors.Is(err, fs.ErrNotExist) {
		return noKernelError(name)
	}
	return remove(ctx, k.s, kernelPrefix+name, noKernelError(name))
}
