package inspect

import (
	"bytes"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootcfg"
	"github.com/gild-dev/gild/internal/golden/fsread"
)

// entry decides how the image boots by itself: its boot loader's default.
func (l *look) entry(tree fs.FS, root volume) bootcfg.Entry {
	var entry bootcfg.Entry
	entries, err := bootcfg.Find(tree)
	if err != nil {
		if l.given.Kernel == nil {
			l.note("--kernel", "no kernel was found, so the image is written as it is and handed off by a reboot: %v", err)
		}
	} else {
		entry = absolute(entries[0])
	}
	if len(l.given.Initrds) > 0 {
		entry.Initrds = l.givenInitrds(tree)
	}
	switch {
	case l.given.Cmdline != "":
		entry.Cmdline, entry.Source = l.given.Cmdline, "--cmdline"
	case entry.Cmdline == "" && root.uuid != "":
		entry.Cmdline, entry.Source = "root=UUID="+root.uuid+" ro", "the root file system"
		if entry.Kernel != "" || l.given.Kernel != nil {
			l.note("--cmdline", "no kernel command line was found, %q is taken", entry.Cmdline)
		}
	}
	return entry
}

// givenInitrds checks what the operator named; what an entry names is there, or
// bootcfg would have left the entry out.
func (l *look) givenInitrds(tree fs.FS) []string {
	var initrds []string
	for _, name := range l.given.Initrds {
		info, err := fs.Stat(tree, fsread.Rel(name))
		if _, unreadable := tree.(emptyFS); !unreadable && (err != nil || !info.Mode().IsRegular()) {
			l.refuse("--initrd", "%.120q is no file in the image", name)
		}
		initrds = append(initrds, "/"+fsread.Rel(name))
	}
	return initrds
}

// absolute writes the paths of an entry as the running system has them.
func absolute(e bootcfg.Entry) bootcfg.Entry {
	e.Kernel = "/" + e.Kernel
	e.Initrds = slices.Clone(e.Initrds)
	for i := range e.Initrds {
		e.Initrds[i] = "/" + e.Initrds[i]
	}
	return e
}

// readKernel reads the kernel of an entry; in a unified kernel image it is a
// section of the file.
func readKernel(tree fs.FS, e bootcfg.Entry) ([]byte, error) {
	p, err := readFile(tree, e.Kernel, golden.MaxKernelSize)
	if err != nil || e.Source != bootcfg.SourceUKI {
		return p, err
	}
	section, err := bootcfg.UKISection(bytes.NewReader(p), ".linux")
	if err != nil {
		return nil, err
	}
	return io.ReadAll(section)
}

// init returns the first program of the system, or nothing where it can be
// seen that there is none.
func (l *look) init(tree fs.FS, cmdline string) string {
	// In the kernel's own order (init/main.c, kernel_init), but that an init=
	// which is not there makes it panic.
	paths := []string{"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"}
	if path, ok := argument(cmdline, "init"); ok {
		paths = []string{path}
	}
	if _, unreadable := tree.(emptyFS); unreadable {
		return paths[0]
	}
	for _, path := range paths {
		if _, err := fs.Stat(tree, fsread.Rel(path)); err == nil {
			return path
		}
	}
	l.note("", "there is no %s: the root cannot be switched to", paths[0])
	return ""
}

// firmware decides what can boot the disk by itself. It is advice for the
// operator: the handoff does not depend on it.
func (l *look) firmware() {
	for _, v := range l.volumes {
		if v.fs == nil || v.kind != "vfat" {
			continue
		}
		if _, err := fs.Stat(v.fs, "EFI"); err == nil {
			l.found.Firmware = append(l.found.Firmware, "uefi")
			break
		}
	}
	// The boot code ends where the disk signature begins, which is there
	// without any boot loader.
	var code [440]byte
	if _, err := l.disk.ReadAt(code[:], 0); err == nil && code != [440]byte{} {
		l.found.Firmware = append(l.found.Firmware, "bios")
	}
	if len(l.found.Firmware) == 0 {
		l.note("", "there is no boot loader that BIOS or UEFI firmware would start: after power-on the machine needs the network")
	}
}

// argument returns the value of the last name=value of a command line.
func argument(cmdline, name string) (value string, ok bool) {
	for word := range strings.FieldsSeq(cmdline) {
		if v, found := strings.CutPrefix(word, name+"="); found {
			value, ok = v, true
		}
	}
	return value, ok
}

func readFile(tree fs.FS, path string, limit int64) ([]byte, error) {
	f, err := tree.Open(fsread.Rel(path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(p)) > limit {
		err = fsread.ErrTooLarge
	}
	return p, err
}

// readOptional returns a small file, or nothing.
func readOptional(tree fs.FS, name string) []byte {
	p, err := readFile(tree, name, 1<<20)
	if err != nil {
		return nil
	}
	return p
}
