// Package bootspectest stores images for tests of what machines boot.
package bootspectest

import (
	"bytes"
	"errors"
	"io"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootkernel"
	"github.com/gild-dev/gild/internal/golden/bootkernel/gather"
	"github.com/gild-dev/gild/internal/golden/pack"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/initramfs"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
	"github.com/gild-dev/gild/internal/initramfs/pick"
)

// disk is a raw disk in memory.
type disk struct{ io.Reader }

// ReadChunk implements pack.Disk.
func (d disk) ReadChunk(p []byte) (int, bool, error) {
	n, err := io.ReadFull(d, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	return n, false, err
}

// Store is a store with images by name, each with the architecture of its
// kernel; empty: it has none.
func Store(tb testing.TB, images map[string]string) *store.Store {
	tb.Helper()
	st, err := store.Open(filepath.Join(tb.TempDir(), "images"))
	if err != nil {
		tb.Fatal(err)
	}
	for name, arch := range images {
		raw := bytes.Repeat([]byte(name), 64<<10)
		if _, err := pack.Add(tb.Context(), pack.Job{Store: st, Name: name, Disk: disk{bytes.NewReader(raw)}}); err != nil {
			tb.Fatal(err)
		}
		if arch != "" {
			GiveBoot(tb, st, name, golden.Boot{Arch: arch, KernelRelease: "6.1", Cmdline: "ro"})
		}
	}
	return st
}

// GiveBoot makes a stored image one that has a kernel.
func GiveBoot(tb testing.TB, st *store.Store, name string, boot golden.Boot) {
	tb.Helper()
	im, err := st.Image(name)
	if err != nil {
		tb.Fatal(err)
	}
	im.Config.Boot = &boot
	config, err := im.Config.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	drafts := []*store.Draft{draft(tb, st, config), draft(tb, st, []byte("kernel of "+name))}
	im.Manifest.Config = drafts[0].Descriptor(golden.MediaTypeConfig)
	im.Manifest.Layers = slices.DeleteFunc(im.Manifest.Layers, func(d golden.Descriptor) bool { return d.MediaType == golden.MediaTypeKernel })
	im.Manifest.Layers = append(im.Manifest.Layers, drafts[1].Descriptor(golden.MediaTypeKernel))
	manifest, err := im.Manifest.Marshal()
	if err == nil {
		_, err = st.Commit(tb.Context(), name, manifest, drafts...)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// AddKernel stores a boot kernel.
func AddKernel(tb testing.TB, st *store.Store, name string, config bootkernel.Config) *bootkernel.BootKernel {
	tb.Helper()
	text := func(s string) func(io.Writer) error {
		return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
	}
	modules := func(w io.Writer) error {
		_, err := initramfs.WriteModules(w, &pick.Selection{Release: config.Release}, initramfs.ModulesBudget)
		return err
	}
	k, err := gather.Store(tb.Context(), st, name, &gather.Parts{Config: config, Kernel: text("boot kernel " + name), Modules: modules})
	if err != nil {
		tb.Fatal(err)
	}
	return k
}

func draft(tb testing.TB, st *store.Store, p []byte) *store.Draft {
	tb.Helper()
	d, err := st.Draft()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = d.Close() })
	if _, err := d.Write(p); err != nil {
		tb.Fatal(err)
	}
	return d
}

// Agents is a build with the agent for some architectures.
func Agents(with ...string) func(string) ([]byte, error) {
	return func(arch string) ([]byte, error) {
		for _, a := range with {
			if a == arch {
				return []byte("agent"), nil
			}
		}
		return nil, &agentbin.MissingError{Arch: arch}
	}
}
