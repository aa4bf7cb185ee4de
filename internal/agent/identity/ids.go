package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// IDs are UUIDs of file systems and partitions (PARTUUID) in lower case, each
// with the one of the same length that takes its place.
type IDs map[string]string

// Where the system and its boot loader name them.
var (
	systemTexts = []string{
		"/etc/fstab", "/etc/crypttab", "/etc/default/grub", "/etc/default/grub.d/*", "/etc/grub.d/*", "/etc/kernel/cmdline",
		"/etc/initramfs-tools/conf.d/resume", "/etc/systemd/system/*.mount",
	}
	// bootTops are where the boot loader's files begin: on the root, or on a
	// partition that is mounted there.
	bootTops  = []string{"", "/boot", "/boot/efi", "/boot/firmware", "/efi"}
	bootTexts = []string{
		"/grub/grub.cfg", "/grub/custom.cfg", "/grub/grubenv", "/grub2/grub.cfg", "/grub2/custom.cfg", "/grub2/grubenv",
		"/grub/*-efi/load.cfg", "/grub2/*-efi/load.cfg", "/EFI/*/grub.cfg", "/EFI/*/grubenv",
		"/loader/entries/*.conf", "/extlinux/extlinux.conf", "/syslinux/syslinux.cfg", "/cmdline.txt",
	}
	// bootPrograms have them inside, and are not rewritten: what is on an EFI
	// partition may be signed. GRUB's core image for BIOS is compressed, but the
	// load.cfg in it is kept beside it. For EFI that is no sign: a signed GRUB
	// does not have it.
	bootPrograms = []string{"/grub/*-pc/load.cfg", "/grub2/*-pc/load.cfg", "/EFI/*/*.efi"}
)

// Found says where IDs are named in one file system.
type Found struct {
	// Texts are files that WriteIDs would change.
	Texts []string
	// Held are IDs inside of programs, each with the program's name.
	Held map[string]string
}

// FindIDs looks for ids in the file system that is mounted at dir, and changes
// nothing.
func FindIDs(dir string, ids IDs) (Found, error) {
	found := Found{Held: map[string]string{}}
	t, err := openTree(dir)
	if err != nil {
		return found, err
	}
	defer t.close()
	if found.Texts, err = t.eachText(ids, nil); err != nil {
		return found, err
	}
	for _, name := range t.underTops(bootPrograms) {
		if err := t.holds(name, ids, found.Held); err != nil {
			return found, fmt.Errorf("looking for UUIDs: %w", err)
		}
	}
	return found, nil
}

// WriteIDs puts the new ones in the place of the old in every file that names
// them, and returns which those are.
func WriteIDs(dir string, ids IDs) ([]string, error) {
	t, err := openTree(dir)
	if err != nil {
		return nil, err
	}
	defer t.close()
	return t.eachText(ids, func(name, text string, st *syscall.Stat_t) error {
		return t.write(name, text, st.Mode&0o7777, owner{int(st.Uid), int(st.Gid)})
	})
}

// eachText calls do, if there is one, with each file that names an ID and with
// what is to be in it.
func (t *tree) eachText(ids IDs, do func(name, text string, st *syscall.Stat_t) error) ([]string, error) {
	var names []string
	for _, name := range append(t.expand(systemTexts), t.underTops(bootTexts)...) {
		real, st, err := t.file(name)
		if err != nil {
			return names, fmt.Errorf("UUIDs in %s: %w", name, err)
		}
		if st == nil || slices.Contains(names, real) {
			continue
		}
		old, err := t.text(real)
		if err != nil {
			return names, fmt.Errorf("UUIDs in %s: %w", name, err)
		}
		text := ids.Replace(old)
		if text == old {
			continue
		}
		if do != nil {
			if err := do(real, text, st); err != nil {
				return names, err
			}
		}
		names = append(names, real)
	}
	return names, nil
}

// file resolves links to a plain file and gives its own path and attributes;
// nil: there is none.
func (t *tree) file(name string) (string, *syscall.Stat_t, error) {
	f, err := t.open(name, unix.O_PATH)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return "", nil, err
	}
	top, err1 := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", t.top.Fd()))
	real, err2 := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err := errors.Join(err1, err2); err != nil {
		return "", nil, err
	}
	real, inside := strings.CutPrefix(real, strings.TrimSuffix(top, "/"))
	st, ok := info.Sys().(*syscall.Stat_t)
	if !inside || !ok || path.Clean(real) != real {
		return "", nil, fmt.Errorf("%s cannot be found again by its path", name)
	}
	return real, st, nil
}

// underTops expands patterns below each of bootTops.
func (t *tree) underTops(patterns []string) []string {
	var all []string
	for _, top := range bootTops {
		for _, p := range patterns {
			all = append(all, top+p)
		}
	}
	return t.expand(all)
}

// maxMatches bounds what one pattern can mean.
const maxMatches = 1000

// expand gives the paths that patterns mean; one without a star is a path.
// What it looks for has no fixed case on FAT.
func (t *tree) expand(patterns []string) []string {
	var names []string
	for _, p := range patterns {
		before, after, star := strings.Cut(p, "*")
		if !star {
			names = append(names, p)
			continue
		}
		dir, prefix := path.Split(before)
		suffix, rest := after, ""
		if i := strings.IndexByte(after, '/'); i >= 0 {
			suffix, rest = after[:i], after[i:]
		}
		entries, err := t.list(path.Clean(dir))
		if err != nil {
			continue // not a directory: nothing below it is meant
		}
		slices.Sort(entries)
		var found []string
		for _, e := range entries {
			if strings.HasPrefix(e, prefix) && strings.HasSuffix(strings.ToLower(e), suffix) && len(found) < maxMatches {
				found = append(found, dir+e+rest)
			}
		}
		names = append(names, t.expand(found)...)
	}
	return names
}

// maxProgram bounds how much of a program is read, in bytes.
const maxProgram = 512 << 20

// holds adds the ids that a file has in it to held, with the file's name. A
// few bytes that only look like one do no harm: they keep an ID as it is.
func (t *tree) holds(name string, ids IDs, held map[string]string) error {
	f, err := t.open(name, unix.O_RDONLY|unix.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return err
	}
	const overlap = 64 // longer than any ID
	r := io.LimitReader(f, maxProgram)
	buf, have := make([]byte, 1<<20), 0
	for {
		n, err := io.ReadFull(r, buf[have:])
		text := buf[:have+n]
		lowerASCII(text)
		for id := range ids {
			if bytes.Contains(text, []byte(id)) {
				held[id] = name
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
		have = copy(buf, text[len(text)-overlap:])
	}
}

func lowerASCII(b []byte) {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
}

// Replace puts the new IDs in the place of the old ones in text, in the case of
// each place. Only whole ones count, and short ones, a FAT serial number or the
// PARTUUID of an MBR, only where the text says that a UUID comes.
func (ids IDs) Replace(text string) string {
	out, lower := []byte(text), []byte(text)
	lowerASCII(lower)
	for id, fresh := range ids {
		if id == "" || len(fresh) != len(id) {
			continue
		}
		for at := 0; ; at += len(id) {
			i := bytes.Index(lower[at:], []byte(id))
			if i < 0 {
				break
			}
			at += i
			if !whole(lower, at, len(id)) || len(id) < 36 && !announced(lower[:at]) {
				continue
			}
			copy(out[at:], inCaseOf(text[at:at+len(id)], fresh))
		}
	}
	return string(out)
}

// whole reports whether what is at text[at:at+n] is no part of something
// longer. A hyphen may come before or behind a long one: GRUB's menu has
// "gnulinux-simple-" and the UUID.
func whole(text []byte, at, n int) bool {
	word := func(c byte) bool {
		return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' || c >= 0x80 || c == '-' && n < 36
	}
	return (at == 0 || !word(text[at-1])) && (at+n == len(text) || !word(text[at+n]))
}

// announced reports whether the text before an ID says that it is one: UUID=,
// by-uuid/, or GRUB's search command earlier in the line.
func announced(before []byte) bool {
	before = bytes.TrimRight(before, `"'\`)
	if bytes.HasSuffix(before, []byte("uuid=")) || bytes.HasSuffix(before, []byte("uuid/")) {
		return true
	}
	line := before[bytes.LastIndexByte(before, '\n')+1:]
	return bytes.Contains(line, []byte("search"))
}

func inCaseOf(old, fresh string) string {
	switch {
	case old != strings.ToUpper(old):
		return strings.ToLower(fresh)
	case old != strings.ToLower(old):
		return strings.ToUpper(fresh)
	}
	return fresh // digits alone: as blkid writes it
}
