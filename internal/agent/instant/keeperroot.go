package instant

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/mount"
)

// keeperRoot is the root of the keeper: what it needs of the machine, at places
// that no switch of the root moves and nobody empties. It lies below the
// initramfs' root, which the new system cannot see.
const keeperRoot = "/keeper"

// buildRoot makes the keeper's root with the program in it.
func buildRoot() error {
	for _, p := range []mount.Point{
		{Source: "tmpfs", Target: keeperRoot, Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=0700,size=1m"},
		{Source: "devtmpfs", Target: keeperRoot + "/dev", Type: "devtmpfs", Flags: unix.MS_NOSUID | unix.MS_NOEXEC},
		{Source: "proc", Target: keeperRoot + "/proc", Type: "proc", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{Source: "sysfs", Target: keeperRoot + "/sys", Type: "sysfs", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	} {
		if err := p.Mount(); err != nil {
			return err
		}
	}
	init := keeperRoot + "/init"
	if err := os.WriteFile(init, nil, 0o700); err != nil {
		return fmt.Errorf("making room for the keeper: %w", err)
	}
	if err := unix.Mount("/init", init, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("making room for the keeper: %w", err)
	}
	names, err := os.ReadFile("/etc/resolv.conf")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = leaveFile(keeperRoot+"/etc/resolv.conf", names)
	}
	if err != nil {
		return fmt.Errorf("making room for the keeper: %w", err)
	}
	return nil
}

// clearRoot undoes buildRoot, as far as it came.
func clearRoot() error {
	var failures []error
	for _, dir := range []string{"/init", "/sys", "/proc", "/dev", ""} {
		failures = append(failures, mount.Unmount(keeperRoot+dir))
	}
	return errors.Join(failures...)
}
