package identity

import (
	"path"
	"slices"
	"strings"
)

// saved is what a file is called that was set aside. No network manager reads
// a name that ends so.
const saved = ".before-gild"

// own reports whether a file is one that an earlier flash wrote.
func own(name string) bool {
	return slices.ContainsFunc([]string{"00-gild-", "10-gild-", "90-gild.", "gild-"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// setAside renames what in a directory would go before the identity's own
// settings.
func (w *writer) setAside(dir string, which func(name string) bool) error {
	names, err := w.list(dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, saved) || !which(name) {
			continue
		}
		if own(name) {
			if err := w.remove(path.Join(dir, name)); err != nil {
				return err
			}
			continue
		}
		if err := w.rename(dir, name, name+saved); err != nil {
			return err
		}
		w.note("network: %s is set aside, so that the identity's settings count", path.Join(dir, name))
	}
	return nil
}

// noOtherSource keeps cloud-init from writing network settings of its own at
// the first boot, unless the identity gives it some, and names other programs
// that set up links by themselves.
func (w *writer) noOtherSource() error {
	for _, unit := range []string{"dhcpcd.service", "connman.service", "wicked.service"} {
		if w.enabled(unit) {
			w.note("network: %s starts at boot and may set up links in its own way: disable it in the image", unit)
		}
	}
	if c := w.Identity.CloudInit; !w.exists("/etc/cloud") || c != nil && c.NetworkConfig != "" {
		return nil
	}
	return w.write("/etc/cloud/cloud.cfg.d/99-gild-network.cfg",
		"# Written by gild: the network is set up already.\nnetwork: {config: disabled}\n", 0o644, root)
}

// defines reports whether a file of interfaces(5) sets up a link beside the
// loopback.
func (w *writer) defines(name string) bool {
	text, err := w.text(name)
	if err != nil {
		return false
	}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "iface" && f[1] != "lo" {
			return true
		}
	}
	return false
}

// onlyLoopback takes links out of interfaces(5).
func (w *writer) onlyLoopback() error {
	const name = "/etc/network/interfaces"
	if err := w.setAside("/etc/network/interfaces.d",
		func(base string) bool { return w.defines("/etc/network/interfaces.d/" + base) }); err != nil {
		return err
	}
	if !w.defines(name) {
		return nil
	}
	if err := w.setAside("/etc/network", func(base string) bool { return base == "interfaces" }); err != nil {
		return err
	}
	return w.write(name, "# Written by gild: NetworkManager has the links.\nauto lo\niface lo inet loopback\n", 0o644, root)
}

// unmanaged says where NetworkManager is told to leave links alone.
func (w *writer) unmanaged() {
	files := []string{"/etc/NetworkManager/NetworkManager.conf"}
	for _, dir := range []string{"/usr/lib/NetworkManager/conf.d", "/etc/NetworkManager/conf.d"} {
		names, err := w.list(dir)
		if err != nil {
			continue
		}
		for _, name := range names {
			// A file in /etc stands for one of the same name in /usr.
			if dir != "/usr/lib/NetworkManager/conf.d" || !w.exists("/etc/NetworkManager/conf.d/"+name) {
				files = append(files, path.Join(dir, name))
			}
		}
	}
	for _, name := range files {
		text, err := w.text(name)
		if err != nil {
			continue
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), "unmanaged-devices") {
				w.note("network: %s has %q: NetworkManager may leave the identity's links alone", name, strings.TrimSpace(line))
			}
		}
	}
}
