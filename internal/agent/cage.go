package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/mount"
)

// cage is the root of the keeper: what it needs of the machine, at places
// that no switch of the root moves and nobody empties. It lies below the
// initramfs' root, which the new system cannot see.
const cage = "/keeper"

// buildCage makes the cage with the program in it.
func buildCage() error {
	for _, p := range []mount.Point{
		{Source: "tmpfs", Target: cage, Type: "tmpfs", Flags: unix.MS_NOSUID | unix.MS_NODEV, Data: "mode=0700,size=1m"},
		{Source: "devtmpfs", Target: cage + "/dev", Type: "devtmpfs", Flags: unix.MS_NOSUID | unix.MS_NOEXEC},
		{Source: "proc", Target: cage + "/proc", Type: "proc", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
		{Source: "sysfs", Target: cage + "/sys", Type: "sysfs", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC},
	} {
		if err := p.Mount(); err != nil {
			return err
		}
	}
	init := cage + "/init"
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
		err = os.MkdirAll(cage+"/etc", 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(cage, "etc/resolv.conf"), names, 0o644)
	}
	if err != nil {
		return fmt.Errorf("making room for the keeper: %w", err)
	}
	return nil
}

// clearCage undoes buildCage, as far as it came.
func clearCage() error {
	var failures []error
	for _, dir := range []string{"/init", "/sys", "/proc", "/dev", ""} {
		failures = append(failures, mount.Unmount(cage+dir))
	}
	return errors.Join(failures...)
}
