// Package machinestest is what tests of machines share.
package machinestest

import (
	"context"
	"io/fs"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/settings"
)

// OneImage is a store with one image, "debian".
type OneImage struct{ Digest golden.Digest }

// Resolve gives the digest of the image.
func (s OneImage) Resolve(_ context.Context, name string) (golden.Digest, error) {
	if name != "debian" {
		return "", fs.ErrNotExist
	}
	return s.Digest, nil
}

// Describe gives what operators see of the image.
func (s OneImage) Describe(ctx context.Context, name string) (api.Image, error) {
	d, err := s.Resolve(ctx, name)
	return api.Image{Name: name, Digest: string(d), Size: 1 << 20}, err
}

// Flash asks for an image, whatever is on the disk.
func Flash(image string) api.FlashRequest {
	return api.FlashRequest{Settings: settings.Settings{Image: image}, Unseen: true}
}

// Hello is the first word of a machine's agent.
func Hello(session, mac string) api.Hello {
	return api.Hello{Version: api.Version, Session: session, Inventory: api.Inventory{
		MAC: mac, UUID: "4c4c4544-0051-3510-8052-b4c04f4a4c32", Serial: "X7", Kernel: "6.1", Arch: "amd64", NICs: []api.NIC{{MAC: mac}},
	}}
}
