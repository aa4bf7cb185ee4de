package machine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Uptime returns the seconds since the kernel started.
func Uptime() float64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return float64(ts.Nano()) / 1e9
}

// Kernel is the release of the running kernel, uname -r.
func Kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Reboot restarts the machine through its firmware. It returns only with
// an error.
func Reboot() error {
	unix.Sync()
	return fmt.Errorf("rebooting: %w", unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART))
}
