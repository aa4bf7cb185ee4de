package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootcfg"
	"github.com/gild-dev/gild/internal/golden/fsread"
	"github.com/gild-dev/gild/internal/golden/fsread/probe"
	"github.com/gild-dev/gild/internal/golden/fstab"
)

// volume is a partition, or the whole disk, with the file system on it.
type volume struct {
	number     int // of the partition; 0 is the whole disk
	kind       string
	uuid       string
	label      string
	partUUID   string
	partLabel  string
	fs         *fsread.FS // nil when it cannot be read
	unreadable error
}

// finder finds the volumes of a disk, and the one with the system.
type finder struct{ *look }

// probe looks at what is on every partition.
func (l finder) probe() {
	parts := l.found.Disk.Partitions
	for i := range parts {
		p := &parts[i]
		v := volume{}
		if !partition.Extended(p.Type) {
			v = l.open(io.NewSectionReader(l.disk, p.Start, p.Size), *p)
		}
		v.number, v.partUUID, v.partLabel = p.Number, p.PartUUID, p.Name
		p.FileSystem, p.FSUUID, p.FSLabel = v.kind, v.uuid, v.label
		l.volumes = append(l.volumes, v)
	}
	if len(parts) == 0 && !l.broken {
		v := l.open(l.disk, golden.Partition{Size: l.found.Disk.Size})
		if v.kind == "" {
			l.note("", "there is no partition table and no file system that gild knows: the image is written as it is and handed off by a reboot")
			return
		}
		l.note("", "there is no partition table: %s covers the whole disk, which no last partition can grow into", v.kind)
		l.volumes = append(l.volumes, v)
	}
}

func (l finder) open(r io.ReaderAt, p golden.Partition) volume {
	sig, err := probe.Find(r, p.Size)
	if err != nil {
		return volume{unreadable: err}
	}
	v := volume{kind: sig.Kind, uuid: sig.UUID, label: sig.Label}
	v.fs, v.unreadable = fsread.Open(r, p.Size)
	l.settle(&v, sig, p)
	l.replayed(&v, p)
	return v
}

// replayed says how far what is read can be trusted of a file system that was
// not cleanly unmounted. FAT has no journal, and says that of itself often.
func (l finder) replayed(v *volume, p golden.Partition) {
	switch {
	case v.fs == nil || v.fs.Kind() == "vfat" || !v.fs.Dirty():
	case v.fs.Replayed():
		l.note("", "%s (%s) was not cleanly unmounted: it is read as its journal leaves it", place(p.Number), v.fs.Kind())
	default:
		l.doubt(golden.Doubt{
			About: place(p.Number),
			Why: "its " + v.fs.Kind() +
				" was not cleanly unmounted, and its journal is not replayed: what a boot would find in it may be newer than what was read",
		})
	}
}

// settle decides what a volume is whose signatures contradict each other: by
// what the operator says, else by the type of its partition. Otherwise it is
// nothing that a machine may mount, while what can be read in it still tells of
// the system.
func (l finder) settle(v *volume, sig probe.Signature, p golden.Partition) {
	container := partition.Container(p.Type)
	switch {
	case len(sig.Rivals) == 0, l.given.Root != 0 && l.given.Root == p.Number:
	case slices.Contains(sig.Rivals, container):
		v.kind, v.uuid, v.label = container, "", ""
		// The halves of a mirror whose super block is at the end read as what they
		// mirror.
		if container != "linux_raid_member" {
			v.fs, v.unreadable = nil, &fsread.UnsupportedError{Kind: container}
		}
	default:
		v.kind, v.uuid, v.label = "", "", ""
		l.doubt(golden.Doubt{
			About: place(p.Number), Alternatives: append([]string{sig.Kind}, sig.Rivals...), Settle: l.rootFlag(v),
			Why: "it has the signatures of several formats, of which one is alive; all of it is stored, and no machine mounts it",
		})
	}
}

// rootFlag is the flag that makes a volume the root, where it may be one.
func (l finder) rootFlag(v *volume) string {
	if v.fs == nil {
		return ""
	}
	return "--root"
}

// place names a partition, or the whole disk.
func place(number int) string {
	if number == 0 {
		return "the disk"
	}
	return fmt.Sprintf("partition %d", number)
}

// deviceLinks are udev's names for what KEY=VALUE says too.
var deviceLinks = strings.NewReplacer(
	"/dev/disk/by-uuid/", "UUID=", "/dev/disk/by-label/", "LABEL=",
	"/dev/disk/by-partuuid/", "PARTUUID=", "/dev/disk/by-partlabel/", "PARTLABEL=",
)

// firstDisks are the names that a machine's only disk has, each with what
// stands between it and the number of a partition.
var firstDisks = []string{"/dev/sda", "/dev/vda", "/dev/xvda", "/dev/hda", "/dev/nvme0n1p", "/dev/mmcblk0p"}

// is reports whether a spec of fstab or root= means this volume.
func (v volume) is(spec string) bool {
	for _, disk := range firstDisks {
		if number, ok := strings.CutPrefix(spec, disk); ok {
			return v.number != 0 && number == strconv.Itoa(v.number)
		}
	}
	key, value, ok := strings.Cut(deviceLinks.Replace(spec), "=")
	if !ok {
		return false
	}
	value = strings.Trim(value, `"`)
	if value == "" {
		return false
	}
	switch key {
	case "UUID":
		return strings.EqualFold(value, v.uuid)
	case "LABEL":
		return value == v.label
	case "PARTUUID":
		return strings.EqualFold(value, v.partUUID)
	case "PARTLABEL":
		return value == v.partLabel
	}
	return false
}

// systemFiles tell that a file system is the root of an installed system.
var systemFiles = []string{"etc/os-release", "usr/lib/os-release", "etc/fstab"}

func (v volume) holdsSystem() bool {
	return v.fs != nil && slices.ContainsFunc(systemFiles, func(name string) bool {
		_, err := fs.Stat(v.fs, name)
		return err == nil
	})
}

// root decides which volume is the root file system.
func (l finder) root() (volume, bool) {
	if l.given.Root != 0 {
		for _, v := range l.volumes {
			if v.number == l.given.Root {
				l.decide("root", "--root")
				return v, true
			}
		}
		l.refuse("--root", "the image has no partition %d", l.given.Root)
		return volume{}, false
	}
	var systems []volume
	for _, v := range l.volumes {
		if v.holdsSystem() {
			systems = append(systems, v)
		}
	}
	switch len(systems) {
	case 0:
		l.noRoot()
		return volume{}, false
	case 1:
		l.decide("root", "partition %d, the only one with a system", systems[0].number)
		return systems[0], true
	}
	// Each of two installed systems boots itself, but where only one has a
	// boot loader, or one boots the other, there is no doubt.
	booted := map[int]volume{}
	for _, system := range systems {
		spec, _ := argument(l.firstCmdline(system), "root")
		for _, v := range systems {
			if v.is(spec) {
				booted[v.number] = v
			}
		}
	}
	if len(booted) == 1 {
		for _, v := range booted {
			l.decide("root", "root= of the boot loader's command line")
			return v, true
		}
	}
	d := golden.Doubt{
		About: "the root", Settle: "--root",
		Why: fmt.Sprintf("%d partitions hold a system of their own, and partition %d is taken", len(systems), systems[0].number),
	}
	for _, v := range systems[1:] {
		d.Alternatives = append(d.Alternatives, fmt.Sprintf("partition %d", v.number))
	}
	l.doubt(d)
	return systems[0], true
}

// noRoot says why no root was found, as far as that can be seen.
func (l finder) noRoot() {
	for _, v := range l.volumes {
		if errors.Is(v.unreadable, fsread.ErrCorrupt) {
			l.note("", "no root file system was found; %s holds %s that cannot be read: %v", place(v.number), v.kind, v.unreadable)
			return
		}
	}
	for _, v := range l.volumes {
		unsupported := (*fsread.UnsupportedError)(nil)
		if v.kind != "" && errors.As(v.unreadable, &unsupported) {
			l.note("--root with --kernel, --modules and --cmdline",
				"no root file system was found; %s holds %s, which cannot be read without mounting it", place(v.number), unsupported.Kind)
			return
		}
	}
	l.note("--root", "no partition holds the root of a Linux system: the image is handed off by a reboot")
}

// firstCmdline returns the command line that the system on v would boot with.
func (l finder) firstCmdline(v volume) string {
	tree := l.join(v)
	if found := bootcfg.Find(l.bootDisk(tree, v), l.given.Entry); found.Entry != nil {
		return found.Entry.Cmdline
	}
	return ""
}

// join puts the volumes where the root's fstab has them: boot configuration
// often lies on a separate /boot or on the EFI system partition.
func (l finder) join(root volume) fs.FS {
	l.mounts = map[int]string{}
	if root.fs == nil {
		return emptyFS{}
	}
	l.mounts[root.number] = "."
	tree := fsread.NewTree(root.fs)
	mounts, odd := fstab.Parse(readOptional(root.fs, "etc/fstab"))
	for _, err := range odd {
		l.note("", "/etc/fstab: %v", err)
	}
	joined := map[int]bool{root.number: true}
	for _, m := range mounts {
		if m.File == "/" || !strings.HasPrefix(m.File, "/") {
			continue
		}
		for _, v := range l.volumes {
			if v.fs == nil || joined[v.number] || !v.is(m.Spec) {
				continue
			}
			joined[v.number] = true
			if err := tree.Mount(fsread.Rel(m.File), v.fs); err != nil {
				l.note("", "%s of fstab cannot be joined: %v", m.File, err)
				continue
			}
			l.mounts[v.number] = fsread.Rel(m.File)
		}
	}
	l.discover(tree, joined)
	return tree
}

// Types of partitions that are mounted without fstab (UAPI group,
// "Discoverable Partitions Specification"), 0xef being the MBR's ESP.
var discoverable = map[string][]string{
	"bc13c2ff-59e6-4262-a352-b275fd6f7172": {"boot"}, // extended boot loader partition
	"c12a7328-f81f-11d2-ba4b-00a0c93ec93b": {"efi", "boot/efi", "boot"},
	"0xef":                                 {"efi", "boot/efi", "boot"},
}

// discover mounts the boot partitions that fstab does not mention where
// systemd-gpt-auto-generator(8) would: on a directory that is empty.
func (l finder) discover(tree *fsread.Tree, joined map[int]bool) {
	for i, p := range l.found.Disk.Partitions {
		v := l.volumes[i]
		if v.fs == nil || joined[v.number] {
			continue
		}
		for _, dir := range discoverable[p.Type] {
			if entries, err := fs.ReadDir(tree, dir); err != nil || len(entries) > 0 {
				continue
			}
			if err := tree.Mount(dir, v.fs); err == nil {
				l.mounts[v.number] = dir
				break
			}
		}
	}
}

// rootOptions returns the options that the system's own boot gives to /: those
// of fstab, and rootflags= of the command line, of which some, such as quotas,
// count at the first mount only.
func rootOptions(tree fs.FS, cmdline string) string {
	var options []string
	mounts, _ := fstab.Parse(readOptional(tree, "etc/fstab"))
	for _, m := range mounts {
		if m.File == "/" {
			options = m.Options
			break
		}
	}
	if flags, ok := argument(cmdline, "rootflags"); ok {
		options = slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == "defaults" })
		for flag := range strings.SplitSeq(strings.Trim(flags, `"`), ",") {
			if flag != "" && !slices.Contains(options, flag) {
				options = append(options, flag)
			}
		}
	}
	return strings.Join(options, ",")
}

// emptyFS is the tree of an image whose root cannot be read.
type emptyFS struct{}

func (emptyFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
