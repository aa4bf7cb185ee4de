// Package bootcfg finds out how an operating system boots by reading its boot loader's configuration.
//
// It reads GRUB's grub.cfg, Boot Loader Specification entries, systemd-boot, extlinux and fstab from an [io/fs] tree of
// the image, executes nothing, and gives values. Paths in those values have the form of [io/fs]: "boot/vmlinuz-6.1" in
// the tree that was given, whatever partition the configuration named it from.
package bootcfg

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
)

const (
	maxConfig  = 1 << 20 // bytes of one configuration file
	maxEntries = 1000    // entries in all
	maxCmdline = 4096    // bytes; no architecture's COMMAND_LINE_SIZE is larger
)

// Where an entry was found.
const (
	SourceGRUB        = "grub.cfg"
	SourceBLS         = "BLS"
	SourceSystemdBoot = "systemd-boot"
	SourceUKI         = "UKI"
	SourceExtlinux    = "extlinux"
	// The last two are guesses for an image without a boot loader: the newest kernel with the command line that the
	// next update of the boot loader would take. The second has no root=.
	SourceKernelCmdline = "etc/kernel/cmdline"
	SourceDefaultGRUB   = "etc/default/grub"
)

// ErrNoEntry is wrapped when nothing tells how the tree boots.
var ErrNoEntry = errors.New("no boot entry found")

// Entry is one way to boot.
type Entry struct {
	Title   string
	ID      string
	Kernel  string   // for a UKI the whole PE file; [UKISection] gives the kernel in it
	Initrds []string // in the order of the boot loader
	Cmdline string   // without BOOT_IMAGE= and initrd=, which the boot loader adds
	Source  string   // one of the Source constants
	Default bool     // what the boot loader takes when nobody chooses; at most one entry
	Rescue  bool     // single user, recovery, rescue image
}

// Find reads every configuration it knows in fsys, which has the separate /boot and the EFI system partition, if there
// are any, in their places. The default comes first, guesses last. An entry whose kernel is not in the tree, or whose
// command line no kernel would take, is left out; if none remains, the error says why.
func Find(fsys fs.FS) ([]Entry, error) {
	f := &finder{fsys: fsys}
	f.grub()
	f.loader()
	f.uki()
	f.extlinux()
	f.guess()
	if len(f.entries) == 0 {
		return nil, errors.Join(append([]error{ErrNoEntry}, f.problems...)...)
	}
	first := slices.IndexFunc(f.entries, func(e Entry) bool { return e.Default })
	if first < 0 {
		first = max(0, slices.IndexFunc(f.entries, func(e Entry) bool { return !e.Rescue }))
	}
	chosen := f.entries[first]
	chosen.Default = true
	rest := slices.Delete(f.entries, first, first+1)
	for i := range rest {
		rest[i].Default = false
	}
	return append([]Entry{chosen}, rest...), nil
}

// finder collects entries, and the reasons for what it left out.
type finder struct {
	fsys     fs.FS
	entries  []Entry
	problems []error
	blsDirs  []string // directories of BLS entries that GRUB has shown already
}

// problem keeps why something was left out; the first few are enough for a message.
func (f *finder) problem(err error) {
	if len(f.problems) < 10 {
		f.problems = append(f.problems, err)
	}
}

// add checks entries of one configuration and takes the good ones. The paths in them are as the file has them; bases
// are the directories of the tree that they may be relative to.
func (f *finder) add(file string, entries []Entry, bases ...string) {
	for _, e := range entries {
		if len(f.entries) >= maxEntries {
			return
		}
		if err := f.complete(&e, bases); err != nil {
			f.problem(fmt.Errorf("%s: entry %q: %w", file, cmp.Or(e.Title, e.ID), err))
			continue
		}
		f.entries = append(f.entries, e)
	}
}

func (f *finder) complete(e *Entry, bases []string) error {
	kernel, err := f.resolve(e.Kernel, bases)
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	e.Kernel = kernel
	initrds := make([]string, 0, len(e.Initrds))
	for _, name := range e.Initrds {
		found, err := f.resolve(name, bases)
		if err != nil {
			return fmt.Errorf("initrd: %w", err)
		}
		initrds = append(initrds, found)
	}
	e.Initrds = initrds
	if e.Cmdline, err = cleanCmdline(e.Cmdline); err != nil {
		return err
	}
	e.Title, e.ID = printable(e.Title), printable(e.ID)
	words := strings.ToLower(e.Title + " " + e.ID + " " + path.Base(e.Kernel))
	e.Rescue = strings.Contains(words, "rescue") || strings.Contains(words, "recovery") ||
		slices.Contains(strings.Fields(e.Cmdline), "single")
	return nil
}

// resolve finds the file that a boot loader calls name. It knows its own partition only, and cannot say where that is
// mounted, so the bases are tried in order.
func (f *finder) resolve(name string, bases []string) (string, error) {
	if strings.HasPrefix(name, "(") { // (hd0,gpt2)/vmlinuz, ($root)/vmlinuz
		_, name, _ = strings.Cut(name, ")")
	}
	if name == "" {
		return "", errors.New("none named")
	}
	for _, base := range bases {
		candidate := strings.TrimPrefix(path.Join("/", base, path.Clean("/"+name)), "/")
		if !fs.ValidPath(candidate) {
			continue
		}
		if info, err := fs.Stat(f.fsys, candidate); err == nil && info.Mode().IsRegular() {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("%q: %w", name, fs.ErrNotExist)
}

// read reads a configuration file; one that is absent is none.
func (f *finder) read(name string) ([]byte, bool) {
	file, err := f.fsys.Open(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.problem(err)
		}
		return nil, false
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	switch {
	case err != nil:
		f.problem(fmt.Errorf("read %s: %w", name, err))
		return nil, false
	case len(data) > maxConfig:
		f.problem(fmt.Errorf("read %s: larger than %d bytes", name, maxConfig))
		return nil, false
	}
	return data, true
}

// cleanCmdline drops what the boot loader itself puts on the command line, and refuses what no kernel takes.
func cleanCmdline(s string) (string, error) {
	var words []string
	for _, w := range strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == '\t' }) {
		if !strings.HasPrefix(w, "BOOT_IMAGE=") && !strings.HasPrefix(w, "initrd=") {
			words = append(words, w)
		}
	}
	s = strings.Join(words, " ")
	if len(s) > maxCmdline {
		return "", fmt.Errorf("command line of %d bytes; at most %d", len(s), maxCmdline)
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return "", fmt.Errorf("control character %#02x in the command line", s[i])
		}
	}
	return s, nil
}

// printable keeps titles fit for a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if len(s) > 256 {
		s = strings.ToValidUTF8(s[:256], "")
	}
	return s
}
