// Package kmod answers, from the text files that depmod leaves in
// lib/modules/RELEASE, which kernel modules a device or a name needs, in the
// order in which they load.
//
// It is pure: bytes or an [fs.FS] in, values out. The machine uses it to load
// drivers, the server to choose which drivers a machine is given, so both reach
// the same answer. Module names are compared as the kernel does, with '-' and
// '_' equal; everything here returns them with '_'.
package kmod

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// EarlyList is the file of an initramfs, without a leading slash, that names
// modules to be loaded beside the drivers, one a line (modules-load.d(5)).
const EarlyList = "etc/modules-load.d/gild.conf"

// Module is one loadable module.
type Module struct {
	Name string // with '_' for '-', without suffix: "virtio_net"
	Path string // below lib/modules/RELEASE: "kernel/drivers/net/virtio_net.ko.xz"
}

// CanonicalName returns name as the kernel compares it: every '-' as '_'.
func CanonicalName(name string) string { return strings.ReplaceAll(name, "-", "_") }

// NameOf returns the canonical module name of a module's file, and whether the
// file is one at all: its base name must hold ".ko", alone or followed by the
// suffix of a compressor.
func NameOf(file string) (name string, ok bool) {
	base := path.Base(file)
	for _, suffix := range [...]string{".ko", ".ko.xz", ".ko.zst", ".ko.gz"} {
		if stem, found := strings.CutSuffix(base, suffix); found && stem != "" {
			return CanonicalName(stem), true
		}
	}
	return "", false
}

// moduleOf turns a path of modules.dep or modules.order into a Module. Paths
// that leave the release's folder are refused here, so that nobody further down
// joins one to a real root.
func moduleOf(file string) (Module, error) {
	if !fs.ValidPath(file) || strings.ContainsAny(file, "\x00\\") {
		return Module{}, fmt.Errorf("%.100q is not a path below the release's folder", file)
	}
	name, ok := NameOf(file)
	if !ok {
		return Module{}, fmt.Errorf("%.100q is not a kernel module", file)
	}
	return Module{Name: name, Path: file}, nil
}
