package identity

import (
	"fmt"
	"slices"
)

// enabled reports whether a unit is started at boot.
func (t *tree) enabled(unit string) bool {
	for _, target := range []string{"multi-user.target", "network-online.target", "sysinit.target"} {
		names, err := t.list("/etc/systemd/system/" + target + ".wants")
		if err != nil {
			continue
		}
		for _, name := range names {
			if name == unit {
				return true
			}
		}
	}
	return false
}

// enable starts a unit of the image at boot.
func (t *tree) enable(unit, target string) error {
	for _, dir := range []string{"/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		if t.exists(dir + unit) {
			return t.link(dir+unit, "/etc/systemd/system/"+target+".wants/"+unit)
		}
	}
	return fmt.Errorf("the image has no unit %s", unit)
}

// masks reports whether a file stands for another one of its name and says
// nothing: it is empty, or a link to /dev/null.
func (t *tree) masks(name string) bool {
	text, err := t.text(name)
	return err != nil || text == ""
}

// masked reports whether a file below /usr is masked already.
func (t *tree) masked(name string) bool {
	names, err := t.list("/etc/systemd/network")
	return err == nil && slices.Contains(names, name) && t.masks("/etc/systemd/network/"+name)
}
