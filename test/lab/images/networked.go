package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/gild-dev/gild/test/lab/host"
)

// networkedRecipe is to networked images what recipe is to golden ones.
const networkedRecipe = 2

// NetworkSoftware is what sets the network of a golden system up.
type NetworkSoftware string

// The software beside systemd-networkd, which golden images have by themselves;
// each is the name of a Debian package.
const (
	IfUpDown       NetworkSoftware = "ifupdown"
	NetworkManager NetworkSoftware = "network-manager"
)

// Card is what udev calls the network card of a virtual machine that has one,
// and no other PCI device before it.
const Card = "enp0s2"

// packages are what it takes.
func (n NetworkSoftware) packages() []string {
	if n == IfUpDown {
		return []string{string(n), "isc-dhcp-client"}
	}
	return []string{string(n), "libpam-systemd"} // of which polkit wants logind
}

// Networked returns a golden image, in [host.Cache], whose network is set up by
// DHCP with other software than systemd-networkd. See [Builder.Golden] for what
// to do with it.
func Networked(ctx context.Context, spec Spec, by NetworkSoftware) (string, error) {
	cache, err := host.Cache()
	if err != nil {
		return "", err
	}
	b := &Builder{Cache: cache}
	path, err := b.keep(ctx, fmt.Sprintf("%s-%d-%s", by, networkedRecipe, spec.file()), func(ctx context.Context, dst, work string) error {
		start, err := b.Golden(ctx, spec)
		if err != nil {
			return err
		}
		debs, err := b.download(ctx, string(by), networkedRecipe, by.packages())
		if err != nil {
			return err
		}
		return editRoot(ctx, spec, start, dst, work, func(root string) error { return by.install(ctx, root, debs) })
	})
	if err != nil {
		return "", fmt.Errorf("image with %s: %w", by, err)
	}
	return path, nil
}

// install puts the packages below debs into the tree at root and lets them have
// the network.
func (n NetworkSoftware) install(ctx context.Context, root, debs string) error {
	files, err := absent(root, debs)
	if err != nil {
		return err
	}
	const inside = "/srv/packages"
	if err := run(ctx, nil, nil, "install", slices.Concat([]string{"-D", "-t", root + inside}, files)...); err != nil {
		return err
	}
	if err := mountTree(root); err != nil {
		return err
	}
	var names []string
	for _, file := range files {
		names = append(names, filepath.Join(inside, filepath.Base(file)))
	}
	err = chroot(ctx, root, "dpkg", append([]string{"--install"}, names...)...)
	if err = errors.Join(err, unmountTree(root), os.RemoveAll(root+inside)); err != nil {
		return err
	}
	if n == IfUpDown {
		// As Debian's installer leaves it.
		err = writeFile(filepath.Join(root, "etc/network/interfaces"),
			"auto lo\niface lo inet loopback\n\nallow-hotplug "+Card+"\niface "+Card+" inet dhcp\n")
	}
	for _, unit := range []string{"systemd-networkd.service", "systemd-networkd.socket"} {
		err = errors.Join(err, chroot(ctx, root, "systemctl", "mask", unit))
	}
	return err
}
