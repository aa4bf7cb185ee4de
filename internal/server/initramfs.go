package server

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/initramfs"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
)

// InitramfsBuilder joins the agent with the modules that an image brought.
// The same parts give the same bytes.
type InitramfsBuilder struct {
	Store   *store.Store
	Busybox *Busybox // for the rescue shell; nil: none
	// CA is the certificate, in PEM, of who signs for the servers that the agent
	// may speak to; empty: it speaks to any, in plain HTTP.
	CA []byte
	// Agent returns the agent for an architecture; nil: the one inside of gild.
	Agent func(arch string) ([]byte, error)
}

// Busybox is a static busybox and the names it answers to.
type Busybox struct {
	Program []byte
	Applets []string
}

// Build writes the initramfs for an image. An image without a kernel has
// none: that is an error which says how the image gets one.
func (b *InitramfsBuilder) Build(w io.Writer, im *golden.Image) error {
	parts, err := b.parts(im)
	if err != nil {
		return fmt.Errorf("initramfs of image %s: %w", im.Digest.Short(), err)
	}
	layer, err := im.Manifest.Layer(golden.MediaTypeModules)
	switch {
	case err == nil:
		modules, err := b.Store.OpenBlob(layer.Digest)
		if err != nil {
			return fmt.Errorf("initramfs of image %s: modules: %w", im.Digest.Short(), err)
		}
		defer modules.Close()
		parts.Modules = modules
	case !errors.Is(err, golden.ErrNoLayer):
		return err
	}
	return initramfs.Build(w, parts)
}

// errNoKernel is of an image that no machine can boot to receive.
var errNoKernel error = noKernel{}

type noKernel struct{}

func (noKernel) Error() string { return "the image has no kernel" }

// Hint says what the operator can do.
func (noKernel) Hint() string { return "`gild image add --kernel` gives it one" }

func (b *InitramfsBuilder) parts(im *golden.Image) (initramfs.Parts, error) {
	boot := im.Config.Boot
	if boot == nil {
		return initramfs.Parts{}, errNoKernel
	}
	get := b.Agent
	if get == nil {
		get = agentbin.Agent
	}
	agent, err := get(boot.Arch)
	if err != nil {
		return initramfs.Parts{}, err
	}
	p := initramfs.Parts{Agent: agent, Compression: initramfs.Compression(boot.Initramfs)}
	if boot.Root.FileSystem != "" {
		p.Early = []string{boot.Root.FileSystem}
	}
	if len(b.CA) > 0 {
		p.Extra = []initramfs.File{{Name: api.FileCA, Data: b.CA}}
	}
	if b.Busybox != nil {
		p.Busybox, p.Applets = b.Busybox.Program, b.Busybox.Applets
	}
	return p, nil
}

// key names the initramfs of an image by everything that goes into it.
func (b *InitramfsBuilder) key(im *golden.Image) (golden.Digest, error) {
	parts, err := b.parts(im)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, im.Digest, parts.Compression, golden.DigestOf(parts.Agent), golden.DigestOf(parts.Busybox), parts.Applets, golden.DigestOf(b.CA))
	return golden.DigestFromSum(h.Sum(nil)), nil
}
