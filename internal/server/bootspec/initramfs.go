package bootspec

import (
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/initramfs"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
)

// Busybox is a static busybox and the names it answers to.
type Busybox struct {
	Program []byte
	Applets []string
}

// WriteInitramfs writes the initramfs that a machine boots to receive an image.
// The same parts give the same bytes.
func (f *Files) WriteInitramfs(w io.Writer, image golden.Digest) error {
	im, err := f.Store.Image(string(image))
	var src source
	if err == nil {
		src, err = f.choose(im, Question{Image: image})
	}
	if err == nil {
		err = f.write(w, src)
	}
	if err != nil {
		return fmt.Errorf("initramfs of image %s: %w", image.Short(), err)
	}
	return nil
}

// write joins the agent with the modules of a source.
func (f *Files) write(w io.Writer, src source) error {
	parts, err := f.parts(src)
	if err != nil {
		return err
	}
	if src.modules != "" {
		modules, err := f.Store.OpenBlob(src.modules)
		if err != nil {
			return fmt.Errorf("modules: %w", err)
		}
		defer modules.Close()
		parts.Modules = modules
	}
	return initramfs.Build(w, parts)
}

// parts are all but the modules.
func (f *Files) parts(src source) (initramfs.Parts, error) {
	get := f.Agent
	if get == nil {
		get = agentbin.Agent
	}
	agent, err := get(src.arch)
	if err != nil {
		return initramfs.Parts{}, err
	}
	p := initramfs.Parts{Agent: agent, Compression: src.packing, Early: src.early}
	if len(f.CA) > 0 {
		p.Extra = []initramfs.File{{Name: api.FileCA, Data: f.CA}}
	}
	if f.Busybox != nil {
		p.Busybox, p.Applets = f.Busybox.Program, f.Busybox.Applets
	}
	return p, nil
}

// key names the initramfs of a source by everything that goes into it.
func (f *Files) key(src source, parts initramfs.Parts) golden.Digest {
	h := sha256.New()
	fmt.Fprintln(h, src.digest, parts.Compression, golden.DigestOf(parts.Agent), golden.DigestOf(parts.Busybox), parts.Applets,
		golden.DigestOf(f.CA))
	return golden.DigestFromSum(h.Sum(nil))
}
