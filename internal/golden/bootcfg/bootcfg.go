// Package bootcfg finds out how an operating system boots, by doing what its
// own boot loader would do with its configuration.
//
// It reads the file systems of an image: GRUB's scripts (by [grub]),
// systemd-boot's directories and unified kernel images, extlinux, and fstab.
// Nothing of an image is run, and what it does not decide is a [golden.Doubt],
// never a guess in silence.
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

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/printable"
)

const (
	maxConfig  = 1 << 20 // bytes of one configuration file
	maxEntries = 1000    // entries of one boot loader
	maxCmdline = 4096    // bytes; no architecture's COMMAND_LINE_SIZE is larger
)

// Where an entry was found.
const (
	SourceGRUB        = "grub.cfg"
	SourceBLS         = "BLS"
	SourceSystemdBoot = "systemd-boot"
	SourceUKI         = "UKI"
	SourceExtlinux    = "extlinux"
	SourceFirmware    = "the firmware" // which starts a kernel without any boot loader
	// The last three are guesses for an image without a boot loader: the newest
	// kernel with the command line that the next update of the boot loader would
	// take. Only the first has a root=.
	SourceKernelCmdline = "etc/kernel/cmdline"
	SourceDefaultGRUB   = "etc/default/grub"
	SourceNewest        = "the newest kernel"
)

// SettleEntry is the flag that names the entry, instead of the boot loader's
// default.
const SettleEntry = "--entry"

// Disk is what a boot loader finds.
type Disk struct {
	Volumes  []Volume // in the order of the partition table
	BootCode []byte   // the first 512 bytes; empty when nothing is known of them
	// Root is the index of the volume with the system, and Tree the system with
	// what it mounts.
	Root int
	Tree fs.FS
}

// Volume is a partition, or the whole disk.
type Volume struct {
	Number      int    // of the partition; 0 is the whole disk
	GPT         bool   // the partition is one of a GPT
	Type        string // of the partition: a GUID, or 0xNN
	Kind        string // of the file system, as blkid names it
	UUID, Label string
	FS          fs.FS // nil when it cannot be read
	// Mount is where the system has the volume, as io/fs writes paths: "." is the
	// root; empty means nowhere.
	Mount string
}

func (v *Volume) place(name string) string {
	if v.Mount != "" {
		return path.Join("/", v.Mount, name)
	}
	return fmt.Sprintf("%s on partition %d", path.Join("/", name), v.Number)
}

// Entry is one way to boot.
type Entry struct {
	Title string
	ID    string
	// Kernel is the path in the system, such as "boot/vmlinuz-6.1"; empty when the
	// volume that it lies on is not mounted there. For a UKI it is the whole PE
	// file; [UKISection] gives the kernel in it.
	Kernel  string
	Initrds []string // in the order of the boot loader; paths as of Kernel
	Cmdline string   // without BOOT_IMAGE= and initrd=, which the boot loader adds
	Source  string   // one of the Source constants

	volume *Volume
	file   string // of the kernel, on volume
	loose  []string
}

// Open opens the kernel's file, wherever it lies.
func (e *Entry) Open() (fs.File, error) { return e.volume.FS.Open(e.file) }

// File is the path of the kernel's file on its volume.
func (e *Entry) File() string { return e.file }

// Place names the kernel's file for an operator.
func (e *Entry) Place() string { return e.volume.place(e.file) }

// Found is what is known of the way in which an image boots.
type Found struct {
	Entry   *Entry // nil when the boot loader would start no Linux that can be read
	Doubts  []golden.Doubt
	Decided []golden.Decision
	// Why tells why there is no entry, where that is no doubt.
	Why error
}

// ErrNoEntry is wrapped when nothing tells how the image boots.
var ErrNoEntry = errors.New("no boot entry found")

// Find says what the image's own boot loader would start. want, if it is not
// empty, names the entry that is taken instead of its default, as that boot
// loader would have it.
func Find(d *Disk, want string) *Found {
	f := &finder{disk: d, want: want}
	outcome := f.choose()
	found := &Found{Entry: outcome.entry, Doubts: outcome.doubts, Decided: outcome.decided}
	if outcome.entry == nil && len(outcome.doubts) == 0 {
		found.Why = errors.Join(append([]error{ErrNoEntry}, f.problems...)...)
	}
	return found
}

// finder collects the reasons for what it left out.
type finder struct {
	disk     *Disk
	want     string
	problems []error
	strange  string // what UEFI firmware starts, where that is nothing that is read
}

// problem keeps why something was left out; the first few are enough for a
// message.
func (f *finder) problem(err error) {
	if len(f.problems) < 10 {
		f.problems = append(f.problems, err)
	}
}

// outcome is what one boot loader would do.
type outcome struct {
	loader  string // its name
	entry   *Entry // nil: no Linux
	instead string // what is started when it is no Linux
	doubts  []golden.Doubt
	decided []golden.Decision
}

func (o *outcome) decide(what, format string, args ...any) {
	o.decided = append(o.decided, golden.Decision{What: what, By: short(fmt.Sprintf(format, args...))})
}

// text is the outcome as an alternative has it.
func (o *outcome) text() string {
	if o.entry == nil {
		return cmp.Or(o.instead, "nothing")
	}
	return short(o.entry.Place() + " " + o.entry.Cmdline)
}

func (o *outcome) same(p *outcome) bool {
	if o.entry == nil || p.entry == nil {
		return o.entry == nil && p.entry == nil && o.instead == p.instead
	}
	return o.entry.volume == p.entry.volume && o.entry.file == p.entry.file && o.entry.Cmdline == p.entry.Cmdline &&
		slices.Equal(o.entry.Initrds, p.entry.Initrds)
}

// nothing says that a boot loader would start no Linux, and why.
func (o *outcome) nothing(why string, alternatives ...string) {
	o.instead = short(why)
	o.doubts = append(o.doubts, golden.Doubt{
		About: "the default entry", Why: o.loader + " would start " + o.instead + ", so no kernel is taken",
		Alternatives: alternatives, Settle: SettleEntry,
	})
}

// complete turns an entry's paths into those of the system and checks its
// command line.
func (f *finder) complete(e *Entry) error {
	cmdline, err := cleanCmdline(e.Cmdline)
	if err != nil {
		return err
	}
	e.Cmdline = cmdline
	e.Kernel = f.inSystem(e.volume, e.file)
	e.Title, e.ID = printableTitle(e.Title), printableTitle(e.ID)
	e.Initrds = []string{}
	for _, name := range e.loose {
		if p := f.inSystem(e.volume, name); p != "" {
			e.Initrds = append(e.Initrds, p)
		}
	}
	return nil
}

// inSystem is the path of a volume's file in the system; empty when it is not
// there, or another mount hides it.
func (f *finder) inSystem(v *Volume, name string) string {
	if v.Mount == "" {
		return ""
	}
	p := path.Join(v.Mount, name)
	here, err := fs.Stat(v.FS, name)
	there, err2 := fs.Stat(f.disk.Tree, p)
	if err != nil || err2 != nil || here.Size() != there.Size() || !here.ModTime().Equal(there.ModTime()) {
		return ""
	}
	return p
}

// read reads a configuration file of a volume; one that is absent is none.
func (f *finder) read(v *Volume, name string) (string, bool) {
	data, err := readFile(v.FS, name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.problem(fmt.Errorf("read %s: %w", v.place(name), err))
		}
		return "", false
	}
	return string(data), true
}

func readFile(fsys fs.FS, name string) ([]byte, error) {
	file, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxConfig+1))
	if err == nil && len(data) > maxConfig {
		err = fmt.Errorf("larger than %d bytes", maxConfig)
	}
	return data, err
}

// isFile reports whether a volume has a regular file of that name.
func (v *Volume) isFile(name string) bool {
	if v.FS == nil || !fs.ValidPath(name) {
		return false
	}
	info, err := fs.Stat(v.FS, name)
	return err == nil && info.Mode().IsRegular()
}

// list are the files of a directory whose names end in suffix, in whatever
// case, with their paths.
func (v *Volume) list(dir, suffix string) []string {
	entries, err := fs.ReadDir(v.FS, dir)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		if n := e.Name(); len(n) > len(suffix) && strings.EqualFold(n[len(n)-len(suffix):], suffix) && len(names) < maxEntries {
			names = append(names, path.Join(dir, n))
		}
	}
	return names
}

// onVolume is a path of a configuration as io/fs has it: absolute, and with the
// separators of firmware turned.
func onVolume(name string) string {
	return cmp.Or(strings.TrimPrefix(path.Clean("/"+strings.ReplaceAll(name, `\`, "/")), "/"), ".")
}

// cleanCmdline drops what the boot loader itself puts on the command line, and
// refuses what no kernel takes.
func cleanCmdline(s string) (string, error) {
	var words []string
	for _, w := range cutWords(s) {
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

// cutWords cuts a command line at blanks, but not within double quotes
// (lib/cmdline.c of the kernel).
func cutWords(s string) []string {
	var words []string
	quoted, start := false, -1
	for i := 0; i <= len(s); i++ {
		if i == len(s) || !quoted && strings.IndexByte(" \t\n", s[i]) >= 0 {
			if start >= 0 {
				words, start = append(words, s[start:i]), -1
			}
			continue
		}
		if s[i] == '"' && (i == 0 || s[i-1] != '\\') {
			quoted = !quoted
		}
		if start < 0 {
			start = i
		}
	}
	return words
}

// printableTitle keeps titles fit for a terminal.
func printableTitle(s string) string { return short(printable.Drop(s)) }

// short keeps what an image says within a line or two.
func short(s string) string {
	if len(s) > 256 {
		s = strings.ToValidUTF8(s[:253], "") + "..."
	}
	return s
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
