// Package mount mounts file systems for PID 1.
package mount

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/disk/busy"
)

// Point is one mount.
type Point struct {
	Source string
	Target string
	Type   string
	Flags  uintptr // MS_*
	Data   string
}

func (p Point) String() string { return p.Target + " (" + p.Type + ")" }

// Early is what every program in the machine relies on, in order. /run and
// /tmp are file systems of their own so that nothing of a boot stays in the
// initramfs, which is emptied in the end.
func Early() []Point {
	const safe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	return []Point{
		{"proc", "/proc", "proc", safe, ""},
		{"sysfs", "/sys", "sysfs", safe, ""},
		{"devtmpfs", "/dev", "devtmpfs", unix.MS_NOSUID, "mode=0755"},
		{"tmpfs", "/run", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=0755"},
		{"tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID | unix.MS_NODEV, "mode=1777"},
	}
}

// Mount makes the target and mounts.
func (p Point) Mount() error {
	if err := os.MkdirAll(p.Target, 0o755); err != nil {
		return fmt.Errorf("mounting %v: %w", p, err)
	}
	if err := unix.Mount(p.Source, p.Target, p.Type, p.Flags, p.Data); err != nil {
		return fmt.Errorf("mounting %v: %w", p, err)
	}
	return nil
}

// flagWords are the options of fstab(5) that mount(2) takes as flags; false
// clears the flag.
var flagWords = map[string]struct {
	flag uintptr
	set  bool
}{
	"ro": {unix.MS_RDONLY, true}, "rw": {unix.MS_RDONLY, false},
	"nosuid": {unix.MS_NOSUID, true}, "suid": {unix.MS_NOSUID, false},
	"nodev": {unix.MS_NODEV, true}, "dev": {unix.MS_NODEV, false},
	"noexec": {unix.MS_NOEXEC, true}, "exec": {unix.MS_NOEXEC, false},
	"sync": {unix.MS_SYNCHRONOUS, true}, "async": {unix.MS_SYNCHRONOUS, false},
	"noatime": {unix.MS_NOATIME, true}, "atime": {unix.MS_NOATIME, false},
	"nodiratime": {unix.MS_NODIRATIME, true}, "diratime": {unix.MS_NODIRATIME, false},
	"relatime": {unix.MS_RELATIME, true}, "strictatime": {unix.MS_STRICTATIME, true},
	"lazytime": {unix.MS_LAZYTIME, true}, "dirsync": {unix.MS_DIRSYNC, true},
}

// Options splits the options of an fstab line into the flags and the data of
// mount(2). Words that are for the reader of fstab and not for the kernel are
// dropped.
func Options(fstab string) (flags uintptr, data string) {
	var rest []string
	for word := range strings.SplitSeq(fstab, ",") {
		word = strings.TrimSpace(word)
		if f, ok := flagWords[word]; ok {
			flags &^= f.flag
			if f.set {
				flags |= f.flag
			}
			continue
		}
		switch word {
		case "", "defaults", "auto", "noauto", "user", "nouser", "users", "owner", "group", "nofail", "_netdev":
			continue
		}
		if !strings.HasPrefix(word, "x-") && !strings.HasPrefix(word, "comment=") {
			rest = append(rest, word)
		}
	}
	return flags, strings.Join(rest, ",")
}

// Unmount unmounts, and succeeds where nothing was mounted. A file system that
// stays in use is an error, see [busy.Unmount].
func Unmount(dir string) error {
	err := busy.Unmount(dir)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}
