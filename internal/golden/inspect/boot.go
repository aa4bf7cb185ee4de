package inspect

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootcfg"
	"github.com/gild-dev/gild/internal/golden/fsread"
	"github.com/gild-dev/gild/internal/golden/vmlinuz"
)

// entry decides how the image boots by itself: what its boot loader would
// start. It is nil when that is no Linux, or cannot be told.
func (l *look) entry(tree fs.FS, root volume) (*bootcfg.Entry, *golden.Boot) {
	found := bootcfg.Find(l.bootDisk(tree, root), l.given.Entry)
	for _, d := range found.Doubts {
		if !l.settled(d.Settle) {
			l.doubt(d)
		}
	}
	l.found.Decided = append(l.found.Decided, found.Decided...)
	boot := &golden.Boot{}
	if e := found.Entry; e != nil {
		boot.Cmdline, boot.CmdlineFrom, boot.Initrds = e.Cmdline, e.Source, absolute(e.Initrds)
	} else if l.given.Kernel == nil && found.Why != nil {
		l.note("--kernel", "no kernel was found, so the image is written as it is and handed off by a reboot: %v", found.Why)
	}
	if len(l.given.Initrds) > 0 {
		boot.Initrds = l.givenInitrds(tree)
	}
	l.cmdline(boot, root, found.Entry)
	return found.Entry, boot
}

// settled reports whether the operator has given the flag that settles a doubt.
func (l *look) settled(flag string) bool {
	switch flag {
	case bootcfg.SettleEntry:
		return l.given.Kernel != nil && l.given.Cmdline != ""
	case "--cmdline":
		return l.given.Cmdline != ""
	case "--initrd":
		return len(l.given.Initrds) > 0
	}
	return false
}

// cmdline completes the command line: with that of the operator, or with root=
// where the image's own initrd, which a kexec starts, would have nothing to
// find the root by.
func (l *look) cmdline(boot *golden.Boot, root volume, entry *bootcfg.Entry) {
	_, hasRoot := argument(boot.Cmdline, "root")
	switch {
	case l.given.Cmdline != "":
		boot.Cmdline, boot.CmdlineFrom = l.given.Cmdline, "--cmdline"
		return
	case root.uuid == "":
	case boot.Cmdline == "":
		boot.Cmdline, boot.CmdlineFrom = "root=UUID="+root.uuid+" ro", "the root file system"
		if entry != nil || l.given.Kernel != nil {
			l.note("--cmdline", "no kernel command line was found, %q is taken", boot.Cmdline)
		}
	case !hasRoot && (boot.CmdlineFrom == bootcfg.SourceDefaultGRUB || boot.CmdlineFrom == bootcfg.SourceNewest):
		boot.Cmdline = "root=UUID=" + root.uuid + " ro " + boot.Cmdline
	}
	l.rootAgrees(boot.Cmdline, root)
}

// rootAgrees says when the command line names a partition of the image that is
// not the one with the system.
func (l *look) rootAgrees(cmdline string, root volume) {
	spec, ok := argument(cmdline, "root")
	if !ok || root.is(spec) {
		return
	}
	if l.nowhere(spec) && root.uuid != "" {
		l.doubt(golden.Doubt{
			About: "the root", Settle: "--cmdline", Alternatives: []string{place(root.number)},
			Why: fmt.Sprintf("the command line has root=%.80s, which no partition of the image has, and the system was found on %s", spec,
				place(root.number)),
		})
		return
	}
	for _, v := range l.volumes {
		if v.is(spec) {
			l.doubt(golden.Doubt{
				About: "the root", Settle: "--root", Alternatives: []string{place(v.number)},
				Why: fmt.Sprintf("the command line has root=%.80s, and the system was found on %s", spec, place(root.number)),
			})
			return
		}
	}
}

// nowhere reports whether a root is named by what is on a partition, and none
// of the image's is it. PARTUUID= may count on from a partition.
func (l *look) nowhere(spec string) bool {
	key, value, _ := strings.Cut(deviceLinks.Replace(spec), "=")
	return slices.Contains([]string{"UUID", "PARTUUID", "LABEL", "PARTLABEL"}, key) && !strings.ContainsAny(value, `/\`) &&
		!slices.ContainsFunc(l.volumes, func(v volume) bool { return v.is(spec) })
}

// bootDisk is the disk as a boot loader sees it.
func (l *look) bootDisk(tree fs.FS, root volume) *bootcfg.Disk {
	d := &bootcfg.Disk{Tree: tree, BootCode: make([]byte, 512)}
	if _, err := l.disk.ReadAt(d.BootCode, 0); err != nil {
		d.BootCode = nil
	}
	for i, v := range l.volumes {
		b := bootcfg.Volume{
			Number: v.number, GPT: l.found.Disk.Scheme == string(partition.GPT), Kind: v.kind, UUID: v.uuid, Label: v.label,
			Mount: l.mounts[v.number],
		}
		if v.fs != nil {
			b.FS = v.fs
		}
		if i < len(l.found.Disk.Partitions) {
			b.Type = l.found.Disk.Partitions[i].Type
		}
		if v.number == root.number {
			d.Root = i
		}
		d.Volumes = append(d.Volumes, b)
	}
	return d
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

// absolute writes paths as the running system has them.
func absolute(names []string) []string {
	list := make([]string, 0, len(names))
	for _, n := range names {
		list = append(list, "/"+n)
	}
	return list
}

// readKernel reads the kernel of an entry; in a unified kernel image it is a
// section of the file.
func readKernel(e *bootcfg.Entry) ([]byte, error) {
	f, err := e.Open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := vmlinuz.Read(f)
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
		l.note("", "no BIOS or UEFI boot loader found: the machine will only boot over the network")
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
