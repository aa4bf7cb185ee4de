package bootcfg

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/bootcfg/grub"
)

// grubStart is the file that a GRUB reads first.
type grubStart struct {
	volume   *Volume
	config   string // path on volume
	platform string // "efi", "pc"
	by       string // what tells that
}

// grubFinder finds what a GRUB would start.
type grubFinder struct{ *finder }

// grub runs GRUB from that file on. Where the system may have one of several
// kinds of GRUB, they have to agree.
func (f grubFinder) grub(start grubStart) outcome {
	var first outcome
	for i, flavour := range f.system().flavours(f.usesBLS(start)) {
		o := f.grubAs(start, flavour)
		if i == 0 {
			first = o
			continue
		}
		if !first.same(&o) {
			first.doubts = append(first.doubts, golden.Doubt{
				About: "the default entry", Settle: SettleEntry, Alternatives: []string{o.text()},
				Why: "which release's GRUB reads " + start.volume.place(start.config) + " is not known, and they take different entries",
			})
		}
	}
	return first
}

// usesBLS reports whether a configuration, or the one that it leads to, asks
// for blscfg.
func (f grubFinder) usesBLS(start grubStart) bool {
	r := grub.Decide(f.machine(start, grub.RedHat9))
	for _, name := range r.Read {
		v, file := f.atDevice(name)
		if v == nil {
			continue
		}
		if text, ok := f.read(v, file); ok && strings.Contains(text, "blscfg") {
			return true
		}
	}
	return false
}

// atDevice finds a file by GRUB's name for it.
func (f grubFinder) atDevice(name string) (*Volume, string) {
	dev, file, ok := strings.Cut(strings.TrimPrefix(name, "("), ")")
	if !ok {
		return nil, ""
	}
	for i := range f.disk.Volumes {
		v := &f.disk.Volumes[i]
		d := f.device(v)
		if d.Name() == dev && v.FS != nil {
			return v, onVolume(file)
		}
	}
	return nil, ""
}

func (f grubFinder) device(v *Volume) grub.Device {
	d := grub.Device{Number: v.Number, Scheme: "msdos", UUID: v.UUID, Label: v.Label, Kind: v.Kind, FS: v.FS}
	if v.GPT {
		d.Scheme = "gpt"
	}
	return d
}

func (f grubFinder) machine(start grubStart, flavour grub.Flavour) *grub.Machine {
	m := &grub.Machine{Platform: start.platform, CPU: "x86_64", Flavour: flavour, Entry: f.want}
	if start.platform == "pc" {
		m.CPU = "i386"
	} else if f.isARM() {
		m.CPU = "arm64"
	}
	at := 0
	whole := false
	for i := range f.disk.Volumes {
		whole = whole || f.disk.Volumes[i].Number == 0
	}
	if !whole {
		m.Devices = append(m.Devices, grub.Device{})
	}
	for i := range f.disk.Volumes {
		v := &f.disk.Volumes[i]
		if v == start.volume {
			at = len(m.Devices)
		}
		m.Devices = append(m.Devices, f.device(v))
	}
	m.Config = grub.File{Device: &m.Devices[at], Path: "/" + start.config}
	m.Prefix = grub.File{Device: &m.Devices[at], Path: path.Dir("/" + start.config)}
	m.Cmdpath = m.Prefix.String()
	return m
}

// isARM reports whether the image's firmware is one for arm64.
func (f grubFinder) isARM() bool {
	for i := range f.disk.Volumes {
		if v := &f.disk.Volumes[i]; v.isESP() && v.isFile("EFI/BOOT/BOOTAA64.EFI") && !v.isFile("EFI/BOOT/BOOTX64.EFI") {
			return true
		}
	}
	return false
}

// grubAs runs one kind of GRUB.
func (f grubFinder) grubAs(start grubStart, flavour grub.Flavour) outcome {
	m := f.machine(start, flavour)
	r := grub.Decide(m)
	o := outcome{loader: "GRUB"}
	o.decide("boot loader", "GRUB, %s", start.by)
	if len(r.Read) > 0 {
		o.decide("configuration", "%s", strings.Join(f.places(r.Read), ", "))
	}
	if r.Chosen != "" {
		o.decide("default entry", "%s", f.inPlaces(r.Chosen))
	}
	f.takeGRUB(&o, &r.Outcome, menuTitles(r.Menu, r.ID, r.Title))
	for i, q := range r.Asked {
		d := golden.Doubt{About: "the default entry", Why: f.inPlaces(short(q.String())) + ", which the image does not tell", Settle: SettleEntry}
		if i == 0 {
			for _, other := range r.Others {
				alternative := outcome{loader: "GRUB"}
				f.takeGRUB(&alternative, &other, nil)
				d.Alternatives = append(d.Alternatives, alternative.text())
			}
		}
		if o.doubts = append(o.doubts, d); i == 3 {
			break
		}
	}
	for _, q := range r.Remarks {
		o.doubts = append(o.doubts, golden.Doubt{About: "the default entry", Why: f.inPlaces(short(q.String())), Settle: SettleEntry})
	}
	return o
}

// takeGRUB makes an entry of what GRUB boots.
func (f grubFinder) takeGRUB(o *outcome, g *grub.Outcome, menu []string) {
	v := f.volumeOf(g.Kernel)
	if g.Instead != "" || v == nil {
		o.nothing(f.inPlaces(cmp.Or(g.Instead, "nothing")), menu...)
		return
	}
	e := &Entry{Title: g.Title, ID: g.ID, Cmdline: g.Cmdline, Source: SourceGRUB, volume: v, file: onVolume(g.Kernel.Path)}
	if g.BLS {
		e.Source = SourceBLS
	}
	for _, i := range g.Initrds {
		if iv := f.volumeOf(i); iv == v {
			e.loose = append(e.loose, onVolume(i.Path))
		} else if iv != nil {
			o.doubts = append(o.doubts, golden.Doubt{
				About: "the initrds", Why: i.String() + " lies on another partition than the kernel",
				Settle: "--initrd",
			})
		}
	}
	if err := f.complete(e); err != nil {
		o.nothing(fmt.Sprintf("the entry %q, which no kernel takes: %v", e.Title, err), menu...)
		return
	}
	o.decide("kernel and command line", "%s", f.inPlaces(g.At.String()))
	o.entry = e
}

func (f grubFinder) volumeOf(file grub.File) *Volume {
	if file.Device == nil {
		return nil
	}
	for i := range f.disk.Volumes {
		if v := &f.disk.Volumes[i]; v.Number == file.Device.Number && v.FS != nil {
			return v
		}
	}
	return nil
}

// inPlaces writes GRUB's names of files as the system has them.
func (f grubFinder) inPlaces(s string) string {
	for i := range f.disk.Volumes {
		v := &f.disk.Volumes[i]
		if d := f.device(v); v.Mount != "" {
			s = strings.ReplaceAll(s, "("+d.Name()+")/", strings.TrimSuffix(path.Join("/", v.Mount), "/")+"/")
		}
	}
	return s
}

func (f grubFinder) places(names []string) []string {
	list := make([]string, 0, len(names))
	for _, n := range names {
		list = append(list, f.inPlaces(n))
	}
	return list
}

// menuTitles are the entries that an operator may name instead of the given
// one.
func menuTitles(menu []grub.Item, id, title string) []string {
	var titles []string
	for _, it := range menu {
		if len(titles) == 8 {
			break
		}
		if it.ID == id && it.Title == title {
			continue
		}
		titles = append(titles, fmt.Sprintf("%q", cmp.Or(printableTitle(it.ID), printableTitle(it.Title))))
	}
	return titles
}

// grubDirs are the places of a grub.cfg on a volume of Linux.
var grubDirs = []string{"boot/grub", "boot/grub2", "grub", "grub2"}

// grubStarts are the configurations on the volumes of the system, that of a
// separate /boot first.
func (f grubFinder) grubStarts(platform string) []grubStart {
	var starts []grubStart
	collect := func(v *Volume) {
		for _, dir := range grubDirs {
			file := path.Join(dir, "grub.cfg")
			if !v.isFile(file) || v.Kind == "vfat" && !strings.HasPrefix(v.Mount, "boot") {
				continue
			}
			starts = append(starts, grubStart{v, file, platform, "by " + v.place(file)})
		}
	}
	for _, mounted := range []func(m string) bool{
		func(m string) bool { return m == "boot" },
		func(m string) bool { return m == "." },
		func(m string) bool { return m != "" && m != "boot" && m != "." },
		func(m string) bool { return m == "" },
	} {
		for i := range f.disk.Volumes {
			v := &f.disk.Volumes[i]
			if v.FS == nil || !mounted(v.Mount) || v.Mount == "" && len(starts) > 0 || v.foreign() {
				continue
			}
			collect(v)
		}
	}
	return starts
}

// foreign reports whether a volume is the root of another system.
func (v *Volume) foreign() bool {
	return v.Mount == "" && (v.isFile("etc/fstab") || v.isFile("etc/os-release") || v.isFile("usr/lib/os-release"))
}

// exists reports whether a volume has a directory with anything in it.
func (v *Volume) exists(dir string) bool {
	entries, err := fs.ReadDir(v.FS, dir)
	return err == nil && len(entries) > 0
}
