package blockdev

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// BusyError says that a disk is in use, and by what.
type BusyError struct {
	// Reasons are never empty: "sda1 is mounted on /boot".
	Reasons []string
}

func (e *BusyError) Error() string { return "in use: " + strings.Join(e.Reasons, "; ") }

// host reads what the kernel says about the use of block devices.
type host struct{ sys, proc string }

// checkUnused refuses a block device that is no whole disk, read-only or in
// use, and gives its directory in sysfs. An exclusive open would refuse a busy
// disk as well, but without a reason.
func checkUnused(rdev uint64, path string, opts Options) (dir string, err error) {
	h := host{opts.Sys, opts.Proc}
	if dir, err = h.dir(devNumber(rdev)); err != nil {
		return "", fmt.Errorf("looking it up in sysfs (is %s mounted?): %w", h.sys, err)
	}
	if isPartition(dir) {
		return "", fmt.Errorf("a partition of %s: whole disks only", filepath.Base(filepath.Dir(dir)))
	}
	if attr(dir, "ro") == "1" {
		return "", errors.New("the disk is read-only")
	}
	reasons, err := h.reasons(dir)
	if err != nil {
		return "", fmt.Errorf("finding out whether it is in use: %w", err)
	}
	if len(reasons) > 0 {
		return "", &BusyError{Reasons: reasons}
	}
	return dir, nil
}

func devNumber(rdev uint64) string {
	return fmt.Sprintf("%d:%d", unix.Major(rdev), unix.Minor(rdev))
}

// dir is the real directory in sysfs of the block device with this number.
func (h host) dir(number string) (string, error) {
	return filepath.EvalSymlinks(filepath.Join(h.sys, "dev/block", number))
}

func isPartition(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "partition"))
	return err == nil
}

// members maps device numbers to names: the disk and its partitions.
func members(dir string) (map[string]string, error) {
	m := map[string]string{attr(dir, "dev"): filepath.Base(dir)}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if sub := filepath.Join(dir, e.Name()); e.IsDir() && isPartition(sub) {
			m[attr(sub, "dev")] = e.Name()
		}
	}
	return m, nil
}

// reasons names everything that uses the disk in dir or a partition of it.
func (h host) reasons(dir string) ([]string, error) {
	m, err := members(dir)
	if err != nil {
		return nil, err
	}
	mounts, err := h.mounts()
	if err != nil {
		return nil, err
	}
	var reasons []string
	for _, mt := range mounts {
		name, direct := m[mt.number]
		switch {
		case direct && mt.point == "/":
			reasons = append(reasons, name+" is mounted on /: the running system's root")
		case direct:
			reasons = append(reasons, name+" is mounted on "+mt.point)
		case mt.point == "/" && h.below(mt.number, dir, 0):
			reasons = append(reasons, "the running system's root is on it")
		}
	}
	swaps, err := h.swaps()
	if err != nil {
		return nil, err
	}
	for _, number := range swaps {
		if name, ok := m[number]; ok {
			reasons = append(reasons, name+" is swap space in use")
		}
	}
	for _, name := range m {
		sub := dir
		if name != filepath.Base(dir) {
			sub = filepath.Join(dir, name)
		}
		holders, err := os.ReadDir(filepath.Join(sub, "holders"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		for _, holder := range holders {
			reasons = append(reasons, name+" is held by "+holderName(filepath.Join(sub, "holders", holder.Name())))
		}
	}
	slices.Sort(reasons) // A map gave the order.
	return slices.Compact(reasons), nil
}

// holderName says what a holder in sysfs is: "dm-0 (vg0-root), of the LVM
// volume group vg0". What made a device-mapper device is at the front of its
// UUID (libdevmapper.h).
func holderName(dir string) string {
	by := filepath.Base(dir)
	name, id := attr(dir, "dm/name"), attr(dir, "dm/uuid")
	if name != "" {
		by += " (" + name + ")"
	}
	switch {
	case strings.HasPrefix(id, "LVM-"):
		return by + ", of the LVM volume group " + volumeGroup(name)
	case strings.HasPrefix(id, "CRYPT-"):
		return by + ", an open encrypted volume"
	case strings.HasPrefix(id, "mpath-"):
		return by + ", a multipath device"
	case attr(dir, "md/level") != "":
		return by + ", a RAID array (" + attr(dir, "md/level") + ")"
	case strings.HasPrefix(by, "bcache"):
		return by + ", a bcache device"
	}
	return by
}

// volumeGroup takes the group from the name of a logical volume, in which LVM
// writes "group-volume" with each hyphen of either doubled.
func volumeGroup(name string) string {
	for i := 0; i < len(name); i++ {
		if name[i] != '-' {
			continue
		}
		if i+1 == len(name) || name[i+1] != '-' {
			name = name[:i]
			break
		}
		i++
	}
	return strings.ReplaceAll(name, "--", "-")
}

// below reports whether the device with this number is made of the disk in dir,
// through partitions and any layers of device-mapper and md.
func (h host) below(number, dir string, depth int) bool {
	const maxLayers = 16
	at, err := h.dir(number)
	if err != nil || depth > maxLayers {
		return false // not a block device: tmpfs, overlay, a network file system
	}
	if at == dir || isPartition(at) && filepath.Dir(at) == dir {
		return true
	}
	slaves, _ := os.ReadDir(filepath.Join(at, "slaves"))
	for _, s := range slaves {
		if h.below(attr(filepath.Join(at, "slaves", s.Name()), "dev"), dir, depth+1) {
			return true
		}
	}
	return false
}

type mount struct{ number, point string }

// mounts reads /proc/self/mountinfo (proc(5)).
func (h host) mounts() ([]mount, error) {
	f, err := os.Open(filepath.Join(h.proc, "self/mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var mounts []mount
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // overlay options make long lines
	for lines.Scan() {
		left, right, _ := strings.Cut(lines.Text(), " - ")
		fields, tail := strings.Fields(left), strings.Fields(right)
		if len(fields) < 5 {
			continue
		}
		m := mount{number: fields[2], point: unescape(fields[4])}
		// btrfs and a few others mount under an anonymous number; their source names
		// the device.
		if strings.HasPrefix(m.number, "0:") && len(tail) > 1 {
			if number, ok := blockNumber(unescape(tail[1])); ok {
				m.number = number
			}
		}
		mounts = append(mounts, m)
	}
	return mounts, lines.Err()
}

// swaps gives the device numbers in /proc/swaps. Swap files show as their file
// system's mount.
func (h host) swaps() ([]string, error) {
	b, err := os.ReadFile(filepath.Join(h.proc, "swaps"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel without swap
	}
	if err != nil {
		return nil, err
	}
	var numbers []string
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) > 0 {
			if number, ok := blockNumber(unescape(fields[0])); ok {
				numbers = append(numbers, number)
			}
		}
	}
	return numbers, nil
}

// blockNumber gives the device number of a block device node.
func blockNumber(path string) (string, bool) {
	if !filepath.IsAbs(path) {
		return "", false
	}
	id, err := identify(path)
	if err != nil || !id.block {
		return "", false
	}
	return devNumber(id.dev), true
}

// unescape undoes the kernel's \ooo for blanks and backslashes in paths.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return '0' <= c && c <= '7' }

// attr reads a small attribute in sysfs, empty when there is none.
func attr(dir, name string) string {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
