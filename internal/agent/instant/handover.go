package instant

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gild-dev/gild/internal/disk/devmapper"
)

// What the new system finds when it was entered by an instant handoff.

// leaveFile writes a file of /run, which is in memory, with the directories
// above it.
func leaveFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}

// seedUdev leaves what an initramfs with udev in it would: without, the rules
// of the new system take no notice of device-mapper devices that are there
// when they come (10-dm.rules, DM_UDEV_PRIMARY_SOURCE_FLAG).
func seedUdev(parts map[int]livePart) error {
	for _, p := range parts {
		name := fmt.Sprintf("b%d:%d", p.Major, p.Minor)
		if err := leaveFile(filepath.Join("/run/udev/data", name), devmapper.UdevRecord()); err != nil {
			return fmt.Errorf("leaving the partitions to udev: %w", err)
		}
	}
	return nil
}

// deviceConf has NetworkManager set up the link with an address as if it had
// none. It would otherwise leave that link to whoever gave it the address, and
// take neither a lease nor name servers of its own (NetworkManager.conf(5)).
const deviceConf = `[device-gild]
match-device=mac:%s
keep-configuration=no
`

// runNetworkManager is where NetworkManager finds settings until the next
// restart.
const runNetworkManager = "/run/NetworkManager/conf.d"

// giveLink leaves the link of that address to NetworkManager, by a file in dir.
// Other software takes what it is to set up by itself.
func giveLink(dir, mac string) error {
	if err := leaveFile(filepath.Join(dir, "gild.conf"), fmt.Appendf(nil, deviceConf, mac)); err != nil {
		return fmt.Errorf("leaving the link to the new system: %w", err)
	}
	return nil
}

// holdUnit makes systemd wait for a process at an orderly shutdown, while the
// network is still there.
const holdUnit = `[Unit]
Description=Completing the disk that this system was started from
After=network.target network-online.target remote-fs.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/usr/bin/tail --pid=%d -f /dev/null
TimeoutStopSec=infinity
`

const (
	holdName = "gild-complete-disk.service"
	// runUnits is where systemd finds units until the next restart.
	runUnits = "/run/systemd/system"
)

// holdReboot makes an orderly reboot wait for a process, by a unit in dir.
func holdReboot(dir string, pid int) error {
	wants := filepath.Join(dir, "multi-user.target.wants")
	err := errors.Join(leaveFile(filepath.Join(dir, holdName), fmt.Appendf(nil, holdUnit, pid)), os.MkdirAll(wants, 0o755))
	if err == nil {
		err = os.Symlink("../"+holdName, filepath.Join(wants, holdName))
	}
	if err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making reboots wait: %w", err)
	}
	return nil
}
