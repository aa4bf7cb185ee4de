// Package inspect finds in a golden image, without mounting it, what is needed
// to enter the system in it.
//
// Nothing in an image is trusted: every reader below is bounded, nothing of
// the image is ever run, and what is not found is a note that says which flag
// supplies it, not an error. An image in which nothing was found is still
// written byte for byte.
package inspect

import (
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/initramfs/kmod"
	"github.com/gild-dev/gild/internal/initramfs/pick"
)

// Given is what the operator supplies instead of what the image holds. Zero
// values mean: look.
type Given struct {
	Root    int      // number of the root partition
	Cmdline string   // the kernel's command line
	Handoff string   // golden.Boot.Handoff
	Kernel  []byte   // a kernel from elsewhere
	Modules fs.FS    // a root that holds lib/modules/RELEASE for that kernel
	Initrds []string // paths in the image, for kexec
	Entry   string   // of the boot loader's menu, instead of its default
}

// Finding is what an image turned out to hold.
type Finding struct {
	Disk     golden.Disk // but for ChunkSize and Hash
	Firmware []string
	Boot     *golden.Boot // nil when there is no kernel to enter it with
	Kernel   []byte
	Modules  *pick.Selection
	Notes    []Note
	Decided  []golden.Decision
	Doubts   []golden.Doubt
}

// Note says what was not found, or not understood, and what follows.
type Note struct {
	What string // a sentence
	Flag string // of `gild image add` that supplies it; may be empty
}

func (n Note) String() string {
	if n.Flag == "" {
		return n.What
	}
	return n.What + " (" + n.Flag + " supplies it)"
}

// Look inspects a disk of size bytes. An error means that what was given
// cannot be used; whatever the disk holds is no error.
func Look(disk io.ReaderAt, size int64, given Given) (*Finding, error) {
	l := &look{disk: disk, given: given, found: &Finding{}}
	l.table(size)
	finder{l}.probe()
	l.firmware()
	l.enter()
	if l.refused != nil {
		return nil, l.refused
	}
	return l.found, nil
}

// look is one inspection on its way.
type look struct {
	disk    io.ReaderAt
	given   Given
	found   *Finding
	volumes []volume
	mounts  map[int]string // of volumes by their numbers, where the root has them
	broken  bool           // the partition table cannot be read
	refused error          // the first thing given that cannot be used
}

// refuse notes that the value of a flag cannot be used. An operator who names
// a thing wants that and nothing else.
func (l *look) refuse(flag, format string, args ...any) {
	if l.refused == nil {
		l.refused = fmt.Errorf(flag+": "+format, args...)
	}
}

func (l *look) note(flag, format string, args ...any) {
	l.found.Notes = append(l.found.Notes, Note{fmt.Sprintf(format, args...), flag})
}

// doubt keeps a question that the image does not answer.
func (l *look) doubt(d golden.Doubt) {
	if len(l.found.Doubts) < maxDoubts {
		l.found.Doubts = append(l.found.Doubts, d)
	}
}

// maxDoubts bounds what a hostile image can make an operator read, and the
// config that it is stored in.
const maxDoubts = 32

// decide keeps what of the image answered a question.
func (l *look) decide(what, format string, args ...any) {
	l.found.Decided = append(l.found.Decided, golden.Decision{What: what, By: fmt.Sprintf(format, args...)})
}

// table reads the partition table.
func (l *look) table(size int64) {
	sector := 512 // an MBR does not tell; almost every disk has these
	switch sizes, sure := partition.SectorSizes(l.disk, size); {
	case len(sizes) > 0 && !sure:
		l.doubt(golden.Doubt{
			About: "the sector size", Alternatives: []string{fmt.Sprintf("%d bytes", sizes[1])},
			Why: fmt.Sprintf("there is a sound GPT for each of two, and the one of %d bytes is taken", sizes[0]),
		})
		fallthrough
	case len(sizes) > 0:
		sector = sizes[0]
	}
	l.found.Disk = golden.Disk{Size: size, SectorSize: sector, Scheme: string(partition.None)}
	t, err := partition.Read(l.disk, size, sector)
	if err != nil {
		l.broken = true
		l.note("", "the partition table cannot be read (%v): the image is written as it is and handed off by a reboot", err)
		return
	}
	for _, w := range t.Warnings {
		l.note("", "%s", w)
	}
	l.found.Disk.Scheme, l.found.Disk.ID = string(t.Scheme), t.DiskID
	for _, p := range t.Partitions {
		l.found.Disk.Partitions = append(l.found.Disk.Partitions, golden.Partition{
			Number: p.Number, Start: p.Start, Size: p.Size, Type: p.Type, TypeName: p.TypeName, Name: p.Name, PartUUID: p.GUID,
		})
	}
}

// enter finds the way into the image: root, kernel, command line, modules.
func (l *look) enter() {
	root, ok := finder{l}.root()
	if !ok {
		return
	}
	tree := finder{l}.join(root)
	entry, boot := l.entry(tree, root)
	kernel, boot := l.kernel(tree, entry, boot)
	if boot == nil {
		return
	}
	boot.Root = golden.Root{Partition: root.number, FileSystem: root.kind, UUID: root.uuid, Options: rootOptions(tree, boot.Cmdline)}
	boot.Init, boot.RootWork = l.init(tree, boot.Cmdline), rootWork(tree)
	boot.Initramfs = l.packing(tree, boot, kernel)
	l.servable(boot)
	l.found.Boot, l.found.Kernel = boot, kernel
	l.modules(tree, boot)
	boot.Instant, boot.Handoff = l.instant(tree, boot), l.given.Handoff
}

// modules chooses what the initramfs needs.
func (l *look) modules(tree fs.FS, boot *golden.Boot) {
	from := tree
	if l.given.Modules != nil {
		from = l.given.Modules
	}
	config, odd := kmod.LoadConfig(tree)
	for _, err := range odd {
		l.note("", "a part of modprobe.d is not obeyed: %v", err)
	}
	sel, err := pick.Select(from, boot.KernelRelease, pick.Generic(), config)
	switch {
	case err != nil && l.given.Modules != nil:
		l.refuse("--modules", "%w", err)
		return
	case err != nil:
		l.note("--modules", "no modules for kernel %s: the machine can only use drivers that are built in: %v", boot.KernelRelease, err)
		return
	}
	l.found.Modules, boot.Undone = sel, sel.Report.Undone
	if len(boot.Undone) > 0 {
		l.note("", "modprobe.d has commands for %s that only the image's own initrd runs: a machine that loads one of them is entered by kexec",
			strings.Join(boot.Undone, ", "))
	}
}
