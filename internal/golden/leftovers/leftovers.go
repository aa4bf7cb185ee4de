// Package leftovers finds what an image carries of the one machine that it was
// made on.
package leftovers

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
)

// Leftover is something that every clone would have in common, or that only
// fits the first machine.
type Leftover struct {
	Path     string // absolute, in the image
	Why      string // what follows from it
	Identity bool   // an identity replaces it at each flash
	Remedy   string // in the image
}

// maxRead bounds in bytes what is read of a file.
const maxRead = 64 << 10

// maxFound bounds what is told of each kind.
const maxFound = 4

// kind is one sort of leftover: files, and what in them matters.
type kind struct {
	files   string            // pattern of path.Match, without a leading slash
	matters func([]byte) bool // nil: that the file is there
	left    Leftover
}

var kinds = []kind{
	{
		"etc/machine-id", isMachineID,
		Leftover{
			Why: "every clone has the same machine-id: journals, DHCP leases and D-Bus take them for one machine", Identity: true,
			Remedy: ": > /etc/machine-id",
		},
	},
	{"var/lib/dbus/machine-id", isMachineID, Leftover{
		Why: "D-Bus knows every clone by one ID", Identity: true,
		Remedy: "ln -sf /etc/machine-id /var/lib/dbus/machine-id",
	}},
	{"etc/ssh/ssh_host_*_key", nil, Leftover{
		Why: "every clone has the same SSH host key, which whoever has one of them knows", Identity: true,
		Remedy: "rm /etc/ssh/ssh_host_*",
	}},
	{"etc/udev/rules.d/*persistent-net.rules", hasLines, Leftover{
		Why:    "network cards are named by the addresses of the first machine's",
		Remedy: "remove the file",
	}},
	{
		"etc/sysconfig/network-scripts/ifcfg-*", hasAny("HWADDR", "UUID="),
		Leftover{Why: "a connection is tied to one network card", Remedy: "take HWADDR and UUID out"},
	},
	{
		"etc/NetworkManager/system-connections/*", hasAny("mac-address=", "interface-name="),
		Leftover{Why: "a connection is tied to one network card or its name", Remedy: "remove it, or match by type"},
	},
	{"etc/netplan/*.yaml", hasAny("macaddress:", "set-name:"), Leftover{
		Why:    "a network card is matched by its address",
		Remedy: "match by name or driver, or give an identity a network",
	}},
	{"var/lib/systemd/random-seed", nil, Leftover{Why: "every clone starts with one random seed", Remedy: "rm /var/lib/systemd/random-seed"}},
	{"var/lib/dhcp/*.leases", hasLines, Leftover{Why: "every clone asks for the first machine's address", Remedy: "remove the file"}},
	{"var/lib/NetworkManager/*.lease", hasLines, Leftover{Why: "every clone asks for the first machine's address", Remedy: "remove the file"}},
	{"etc/cloud/cloud-init.disabled", nil, Leftover{
		Why:    "cloud-init is switched off: an identity that uses it does nothing",
		Remedy: "remove the file, if it is to run",
	}},
}

// Look finds the leftovers of a root file system. What cannot be read is not
// told: what the image is worth is decided elsewhere.
func Look(root fs.FS) (found []Leftover) {
	for _, k := range kinds {
		n := 0
		for _, name := range glob(root, k.files) {
			if k.matters != nil && !k.matters(read(root, name)) {
				continue
			}
			if n++; n > maxFound {
				break
			}
			l := k.left
			l.Path = "/" + name
			found = append(found, l)
		}
	}
	return found
}

// glob lists the regular files of a pattern whose last element only may hold
// wildcards. fs.Glob would read every directory on the way.
func glob(root fs.FS, pattern string) (names []string) {
	dir, last := path.Split(pattern)
	entries, err := fs.ReadDir(root, path.Clean(dir))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if ok, _ := path.Match(last, e.Name()); ok && e.Type().IsRegular() {
			names = append(names, dir+e.Name())
		}
	}
	return names
}

func read(root fs.FS, name string) []byte {
	f, err := root.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	p, err := io.ReadAll(io.LimitReader(f, maxRead))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil
	}
	return p
}

// isMachineID reports whether systemd takes a file for an ID that is set
// (machine-id(5)); empty and "uninitialized" are not.
func isMachineID(p []byte) bool {
	id := strings.TrimSpace(string(p))
	return id != "" && id != "uninitialized"
}

// hasLines reports whether a file says anything but comments.
func hasLines(p []byte) bool {
	for line := range bytes.Lines(p) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			return true
		}
	}
	return false
}

// hasAny reports whether a line of a file begins with one of the words.
func hasAny(words ...string) func([]byte) bool {
	return func(p []byte) bool {
		for line := range bytes.Lines(p) {
			for _, w := range words {
				if bytes.HasPrefix(bytes.TrimSpace(line), []byte(w)) {
					return true
				}
			}
		}
		return false
	}
}
