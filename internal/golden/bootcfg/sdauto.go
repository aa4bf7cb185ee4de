package bootcfg

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// automatic are the entries that systemd-boot makes of programs that it finds
// (src/boot/boot.c, config_load_all_entries).
var automatic = []struct{ id, file string }{
	{"auto-osx", "System/Library/CoreServices/boot.efi"},
	{"auto-windows", "EFI/Microsoft/Boot/bootmgfw.efi"},
	{"auto-efi-shell", "shellx64.efi"},
	{"auto-efi-shell", "shellaa64.efi"},
	{"auto-efi-default", "EFI/BOOT/BOOTX64.EFI"},
	{"auto-efi-default", "EFI/BOOT/BOOTAA64.EFI"},
}

// autoEntries stand last in the menu, and start only where loader.conf names
// them. That the firmware has a setup to enter, for one of them, is not in an
// image: it is taken to have one.
func autoEntries(esp *Volume, conf map[string]string) []bootEntry {
	var entries []bootEntry
	add := func(id, instead string) {
		entries = append(entries, bootEntry{id: id, left: -1, volume: esp, instead: instead})
	}
	for _, a := range automatic {
		if !isOff(conf["auto-entries"]) && esp.isFile(a.file) && identify(esp, a.file).kind != isSystemdBoot {
			add(a.id, "the program "+esp.place(a.file))
		}
	}
	if !isOff(conf["auto-firmware"]) {
		add("auto-reboot-to-firmware-setup", "the firmware's setup")
	}
	for _, key := range []string{"auto-poweroff", "auto-reboot"} {
		if conf[key] != "" && !isOff(conf[key]) {
			add(key, "no system, by "+key)
		}
	}
	return entries
}

// isOff reads a value of loader.conf that is a boolean (src/boot/util.c,
// parse_boolean).
func isOff(value string) bool {
	return slices.Contains([]string{"0", "no", "n", "false", "f", "off"}, strings.ToLower(value))
}

// runs reports whether the systemd-boot of an ESP lists an entry for that
// architecture: its own alone. One whose program is not there may be of any.
func (f sdBoot) runs(esp *Volume, e *bootEntry) bool {
	if e.architecture == "" {
		return true
	}
	known := false
	for _, name := range append(esp.list("EFI/BOOT", ".efi"), esp.list("EFI/systemd", ".efi")...) {
		base := strings.ToLower(strings.TrimSuffix(strings.ToLower(path.Base(name)), ".efi"))
		for _, prefix := range []string{"systemd-boot", "boot"} {
			if arch, ok := strings.CutPrefix(base, prefix); ok && identify(esp, name).kind == isSystemdBoot {
				if known = true; arch == e.architecture {
					return true
				}
				break
			}
		}
	}
	if !known && slices.Contains([]string{"x64", "aa64"}, e.architecture) {
		return true
	}
	f.problem(fmt.Errorf("%s is for the architecture %q", e.id, e.architecture))
	return false
}
