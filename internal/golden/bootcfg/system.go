package bootcfg

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/golden/bootcfg/grub"
)

// system is what os-release(5) tells of a distribution.
type system struct {
	ids     []string // ID, then ID_LIKE
	version int      // leading number of VERSION_ID; 0 when there is none
}

func (f *finder) system() system {
	var s system
	data, err := readFile(f.disk.Tree, "etc/os-release")
	if err != nil {
		data, err = readFile(f.disk.Tree, "usr/lib/os-release")
	}
	if err != nil {
		return s
	}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		value = strings.Trim(value, `"'`)
		switch key {
		case "ID":
			s.ids = append([]string{value}, s.ids...)
		case "ID_LIKE":
			s.ids = append(s.ids, strings.Fields(value)...)
		case "VERSION_ID":
			number, _, _ := strings.Cut(value, ".")
			s.version, _ = strconv.Atoi(number)
		}
	}
	return s
}

func (s system) is(names ...string) bool {
	return slices.ContainsFunc(s.ids, func(id string) bool { return slices.Contains(names, id) })
}

// flavours are the kinds of GRUB that the system may have, the likeliest first.
// One that nothing is known of has Red Hat's if its configuration asks for
// blscfg, which others got late and seldom use.
func (s system) flavours(blscfg bool) []grub.Flavour {
	switch {
	case len(s.ids) > 0 && s.ids[0] == "fedora":
		if s.version > 43 {
			return []grub.Flavour{grub.RedHat10}
		}
		return []grub.Flavour{grub.RedHat9}
	case s.is("rhel", "centos", "rocky", "almalinux", "ol", "fedora"):
		switch {
		case s.version >= 10 && s.version < 100:
			return []grub.Flavour{grub.RedHat10}
		case s.version == 8:
			return []grub.Flavour{grub.RedHat8}
		case s.version != 0 && s.version < 8:
			return []grub.Flavour{grub.Upstream}
		}
		return []grub.Flavour{grub.RedHat9}
	case s.is("debian", "ubuntu", "arch", "alpine", "gentoo", "nixos"), !blscfg:
		return []grub.Flavour{grub.Upstream}
	}
	return []grub.Flavour{grub.RedHat9, grub.RedHat8}
}
