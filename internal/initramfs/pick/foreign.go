package pick

import (
	"io/fs"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/initramfs/kmod"
)

// maxForeign is the largest module from outside of the kernel that is taken, as
// it is stored, in bytes: beyond any driver of a network adapter or a
// controller, and below those of displays and accelerators.
const maxForeign = 8 << 20

// foreign returns the modules that came from outside of the kernel's own
// (updates/, extra/, weak-updates/) and have no namesake in it, so that no rule
// for a folder knows them, where their aliases say that they drive what leads
// to a network or a disk.
func (p *picker) foreign() []string {
	own := map[string]bool{}
	for _, m := range p.order {
		own[m.Name] = true
	}
	text, err := optional(p.dir, "modules.alias")
	if err != nil {
		return nil // the index has read it, and will say so
	}
	drives := map[string]bool{}
	for _, a := range kmod.ParseAlias(text) {
		if drivesHardware(a.Pattern) {
			drives[a.Module] = true
		}
	}
	var names []string
	for _, d := range p.index.Deps() {
		m := d.Module
		if strings.HasPrefix(m.Path, "kernel/") || own[m.Name] || !drives[m.Name] || slices.ContainsFunc(d.Needs, elsewhere) {
			continue
		}
		if info, err := fs.Stat(p.dir, m.Path); err != nil || info.Size() > maxForeign {
			p.sel.Report.Broken = append(p.sel.Report.Broken, m.Path+
				": from outside of the kernel, and too large for a driver that a flash needs, or not there")
			continue
		}
		names = append(names, m.Name)
		p.sel.Report.Foreign = append(p.sel.Report.Foreign, m.Name)
	}
	return names
}

// drivesHardware reports whether an alias is of a device that may be a network
// adapter, a controller of disks, or a bus that leads to one. Most name a maker
// and a model alone; a class that is given decides (PCI Code and ID Assignment,
// base classes; USB-IF class codes).
func drivesHardware(alias string) bool {
	bus, rest, ok := strings.Cut(alias, ":")
	if !ok {
		return false
	}
	class := ""
	switch bus {
	case "pci":
		_, class, _ = strings.Cut(rest, "bc")
		return class == "" || class[0] == '*' || slices.ContainsFunc([]string{
			"01", "02", // storage, network
			"06", "08", "0C", "0c", "FF", "ff", // bridges, system peripherals, serial buses, unassigned
		}, func(c string) bool { return strings.HasPrefix(class, c) })
	case "usb":
		_, class, _ = strings.Cut(rest, "ic")
		return class == "" || class[0] == '*' || slices.ContainsFunc([]string{"02", "08", "0A", "0a", "FF", "ff"},
			func(c string) bool { return strings.HasPrefix(class, c) })
	case "virtio", "vmbus", "xen", "of", "acpi", "acpi*", "platform", "mdio", "auxiliary", "nvme", "scsi", "ccw", "xenbus":
		return true
	}
	return false
}

// notOurs are modules that only drivers of other kinds need: wireless networks,
// displays, sound, cameras.
var notOurs = []string{
	"cfg80211", "mac80211", "lib80211", "bluetooth", "drm", "drm_kms_helper", "ttm", "snd", "snd_pcm", "snd_timer", "videodev", "media", "mc",
	"rc_core", "dvb_core", "nvidia", "parport", "joydev", "hwmon_vid", "hid",
}

func elsewhere(m kmod.Module) bool { return slices.Contains(notOurs, m.Name) }

// carry puts the modprobe.d of the image beside its modules, and says what of
// it nobody will do.
func (p *picker) carry(config *kmod.Config) {
	if config == nil {
		return
	}
	if text := config.Format(); text != nil {
		p.sel.Modules = slices.Insert(p.sel.Modules, 0, File{Name: kmod.ConfigFile, Data: text}) // before lib/modules
	}
	for name := range p.files {
		if install, ok := config.InstallOf(name); ok && !install.Understood {
			p.sel.Report.Undone = append(p.sel.Report.Undone, name)
		}
	}
	slices.Sort(p.sel.Report.Undone)
}
