package images

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// suite is the Debian release of the golden images. A host of another
// distribution needs the package debian-archive-keyring to build it.
const suite = "bookworm"

// packages are what a golden Debian has beyond debootstrap's minimum. GRUB and
// the tools of both file systems are among them so that nothing in an image
// depends on the host's versions.
func packages() []string {
	return []string{
		"linux-image-amd64", "initramfs-tools", "zstd", "systemd-sysv", "udev", "dbus", "kmod", "login",
		"iproute2", "e2fsprogs", "xfsprogs", "grub2-common", "grub-pc-bin", "grub-efi-amd64-bin",
	}
}

// Base returns a tar archive of a configured Debian tree that has no disk yet:
// all that takes minutes and is the same in every image.
func (b *Builder) Base(ctx context.Context) (string, error) {
	return b.keep(ctx, fmt.Sprintf("base-%s-v%d.tar.zst", suite, recipe), func(ctx context.Context, dst, work string) error {
		return isolate(func() error { return b.buildBase(ctx, filepath.Join(work, "root"), dst) })
	})
}

func (b *Builder) buildBase(ctx context.Context, root, dst string) error {
	// This mode becomes that of the golden system's "/", where services that are
	// not root must get in.
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	args := []string{"--variant=minbase", "--include=" + strings.Join(packages(), ","), suite, root}
	mirror := b.Mirror
	if mirror == "" {
		mirror = hostMirror(os.DirFS("/"))
	}
	if mirror != "" {
		args = append(args, mirror)
	}
	b.log().Info("debootstrap", "suite", suite)
	if err := run(ctx, proxies(), nil, "debootstrap", args...); err != nil {
		return err
	}
	if err := configure(root); err != nil {
		return err
	}
	if err := mountTree(root); err != nil {
		return err
	}
	// Again, after the package's own run: the configuration above decides what is
	// in it.
	err := chroot(ctx, root, "update-initramfs", "-u")
	if err = errors.Join(err, unmountTree(root)); err != nil {
		return err
	}
	if err := trim(root); err != nil {
		return err
	}
	return packTree(ctx, root, dst)
}

// packTree makes a tar archive of the tree at root.
func packTree(ctx context.Context, root, dst string) error {
	return run(ctx, nil, nil, "tar", "--create", "--file", dst, "--directory", root, "--one-file-system",
		"--numeric-owner", "--xattrs", "--sort=name", "--use-compress-program", "zstd -T0 -3", ".")
}

// proxies passes on what the host needs to reach its archive; nothing of it
// stays in the image.
func proxies() []string {
	var env []string
	for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// configFiles are a golden system's settings, by path.
func configFiles() map[string]string {
	return map[string]string{
		"etc/hostname":       "golden\n",
		"etc/hosts":          "127.0.0.1 localhost\n127.0.1.1 golden\n",
		"etc/default/locale": "LANG=C.UTF-8\n",
		"etc/resolv.conf":    "", // debootstrap left the host's
		"etc/machine-id":     "", // empty: each machine makes its own, and systemd asks no first-boot questions
		"etc/initramfs-tools/conf.d/golden": "# Drivers of any machine, not of the one that built this.\n" +
			"MODULES=most\nCOMPRESS=zstd\nRESUME=none\n",
		"etc/systemd/network/80-dhcp.network": "[Match]\nName=en* eth*\n\n[Network]\nDHCP=ipv4\n",
		"etc/default/grub": "GRUB_DEFAULT=0\nGRUB_TIMEOUT=1\nGRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX_DEFAULT=\"\"\n" +
			"# The last console is /dev/console.\n" +
			"GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200\"\nGRUB_TERMINAL=console\nGRUB_DISABLE_OS_PROBER=true\n",
	}
}

// units are enabled by a link in their target's wants directory, and masked by
// one to /dev/null: timers and clean-ups that a machine which lives for a
// minute does not need, and that cost an emulated one seconds.
func units() (enabled map[string]string, masked []string) {
	enabled = map[string]string{
		"multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
		"sockets.target.wants/systemd-networkd.socket":     "/lib/systemd/system/systemd-networkd.socket",
		"getty.target.wants/serial-getty@ttyS0.service":    "/lib/systemd/system/serial-getty@.service",
		"dbus-org.freedesktop.network1.service":            "/lib/systemd/system/systemd-networkd.service",
	}
	masked = []string{
		"apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
		"fstrim.timer", "man-db.timer", "systemd-networkd-wait-online.service", "systemd-timesyncd.service",
	}
	return enabled, masked
}

// configure turns debootstrap's tree into a golden system: hostname golden,
// DHCP on every wired card, a login on the serial port, root without a
// password.
func configure(root string) error {
	for name, text := range configFiles() {
		if err := writeFile(filepath.Join(root, name), text); err != nil {
			return err
		}
	}
	enabled, masked := units()
	for _, unit := range masked {
		enabled[unit] = "/dev/null"
	}
	for link, target := range enabled {
		path := filepath.Join(root, "etc/systemd/system", link)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.Symlink(target, path); err != nil {
			return err
		}
	}

	shadow := filepath.Join(root, "etc/shadow")
	data, err := os.ReadFile(shadow)
	if err != nil {
		return err
	}
	locked, rest, ok := strings.Cut(string(data), "\n")
	fields := strings.Split(locked, ":")
	if !ok || len(fields) < 2 || fields[0] != "root" {
		return fmt.Errorf("%s does not begin with root", shadow)
	}
	fields[1] = ""
	return os.WriteFile(shadow, []byte(strings.Join(fields, ":")+"\n"+rest), 0o640)
}

// writeFile makes a file and its directories.
func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// trim removes what no boot reads, a third of the tree.
func trim(root string) error {
	for _, dir := range []string{
		"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt", "var/lib/apt/lists",
		"var/log",
	} {
		entries, err := os.ReadDir(filepath.Join(root, dir))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			if err := os.RemoveAll(filepath.Join(root, dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// extractFile copies one file that the tree has under a versioned name,
// "NAME-6.1.0-1-amd64", out of the archive.
func extractFile(ctx context.Context, archive, name, dst, dir string) error {
	if err := run(ctx, nil, nil, "tar", "--extract", "--file", archive, "--directory", dir, "--wildcards", name+"-*"); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(dir, name+"-*"))
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("%d files called %s-* in %s; want one", len(found), name, archive)
	}
	return os.Rename(found[0], dst)
}
