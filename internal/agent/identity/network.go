package identity

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// network writes the settings in the form that the system's own network
// manager reads. What the image came with under names of its own stays.
func (w *writer) network() error {
	id := &w.Identity
	if len(id.Network) == 0 {
		if len(id.DNS)+len(id.Search) > 0 {
			w.note("name servers without a network interface are not written")
		}
		return nil
	}
	links := make([]api.Link, len(id.Network))
	for i, l := range id.Network {
		if l.MAC == "" && l.Name == "" {
			l.MAC = w.MAC
		}
		links[i] = l
	}
	switch {
	case w.exists("/etc/netplan") && w.firstOf("/usr/sbin/netplan", "/usr/bin/netplan") != "":
		return w.netplan(links)
	case w.enabled("NetworkManager.service") && w.exists("/usr/sbin/NetworkManager"):
		return w.networkManager(links)
	case w.firstOf("/sbin/ifup", "/usr/sbin/ifup") != "" && w.exists("/etc/network"):
		return w.ifupdown(links)
	case w.firstOf("/lib/systemd/systemd-networkd", "/usr/lib/systemd/systemd-networkd") != "":
		return w.networkd(links)
	}
	return fmt.Errorf("the image has none of netplan, NetworkManager, ifupdown and systemd-networkd: write the settings as files")
}

// enabled reports whether a unit is started at boot.
func (w *writer) enabled(unit string) bool {
	for _, target := range []string{"multi-user.target", "network-online.target", "sysinit.target"} {
		names, err := w.list("/etc/systemd/system/" + target + ".wants")
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
func (w *writer) enable(unit, target string) error {
	for _, dir := range []string{"/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		if w.exists(dir + unit) {
			return w.link(dir+unit, "/etc/systemd/system/"+target+".wants/"+unit)
		}
	}
	return fmt.Errorf("the image has no unit %s", unit)
}

// networkd writes systemd.network(5) files.
func (w *writer) networkd(links []api.Link) error {
	for i, l := range links {
		var b strings.Builder
		b.WriteString("[Match]\n")
		line(&b, "PermanentMACAddress", l.MAC)
		line(&b, "Name", l.Name)
		if l.MTU > 0 {
			fmt.Fprintf(&b, "\n[Link]\nMTUBytes=%d\n", l.MTU)
		}
		b.WriteString("\n[Network]\nDHCP=" + yesNo(l.DHCP) + "\n")
		for _, a := range l.Addresses {
			line(&b, "Address", a)
		}
		line(&b, "Gateway", l.Gateway)
		if i == 0 {
			for _, d := range w.Identity.DNS {
				line(&b, "DNS", d)
			}
			line(&b, "Domains", strings.Join(w.Identity.Search, " "))
		}
		if err := w.write(fmt.Sprintf("/etc/systemd/network/10-gild-%d.network", i), b.String(), 0o644, root); err != nil {
			return err
		}
	}
	if w.enabled("systemd-networkd.service") {
		return nil
	}
	return w.enable("systemd-networkd.service", "multi-user.target")
}

func line(b *strings.Builder, key, value string) {
	if value != "" {
		b.WriteString(key + "=" + value + "\n")
	}
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// netplan writes one file. JSON is YAML, and quotes what must be quoted.
func (w *writer) netplan(links []api.Link) error {
	ethernets := map[string]any{}
	for i, l := range links {
		e := map[string]any{"dhcp4": l.DHCP}
		name := l.Name
		if name == "" {
			name = fmt.Sprintf("gild%d", i)
			e["match"] = map[string]string{"macaddress": l.MAC}
		}
		if len(l.Addresses) > 0 {
			e["addresses"] = l.Addresses
		}
		if l.Gateway != "" {
			to := "0.0.0.0/0"
			if strings.Contains(l.Gateway, ":") {
				to = "::/0"
			}
			e["routes"] = []map[string]string{{"to": to, "via": l.Gateway}}
		}
		if l.MTU > 0 {
			e["mtu"] = l.MTU
		}
		if i == 0 && len(w.Identity.DNS)+len(w.Identity.Search) > 0 {
			e["nameservers"] = map[string][]string{"addresses": w.Identity.DNS, "search": w.Identity.Search}
		}
		ethernets[name] = e
	}
	text, err := json.MarshalIndent(map[string]any{"network": map[string]any{"version": 2, "ethernets": ethernets}}, "", "  ")
	if err != nil {
		return err
	}
	// netplan warns of files that others can read.
	return w.write("/etc/netplan/90-gild.yaml", string(text)+"\n", 0o600, root)
}

// networkManager writes keyfiles (nm-settings-keyfile(5)).
func (w *writer) networkManager(links []api.Link) error {
	for i, l := range links {
		var b strings.Builder
		fmt.Fprintf(&b, "[connection]\nid=gild-%d\ntype=ethernet\nautoconnect-priority=10\n", i)
		line(&b, "interface-name", l.Name)
		b.WriteString("\n[ethernet]\n")
		line(&b, "mac-address", strings.ToUpper(l.MAC))
		if l.MTU > 0 {
			fmt.Fprintf(&b, "mtu=%d\n", l.MTU)
		}
		for _, family := range []string{"ipv4", "ipv6"} {
			b.WriteString("\n[" + family + "]\n" + w.keyfileFamily(l, family, i == 0))
		}
		// NetworkManager ignores keyfiles that others can read.
		if err := w.write(fmt.Sprintf("/etc/NetworkManager/system-connections/gild-%d.nmconnection", i), b.String(), 0o600, root); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) keyfileFamily(l api.Link, family string, first bool) string {
	six := family == "ipv6"
	own := func(list []string) (out []string) {
		for _, s := range list {
			if strings.Contains(s, ":") == six {
				out = append(out, s)
			}
		}
		return out
	}
	var b strings.Builder
	addresses := own(l.Addresses)
	method := "manual"
	switch {
	case len(addresses) > 0:
	case l.DHCP || six:
		method = "auto"
	default:
		method = "disabled"
	}
	b.WriteString("method=" + method + "\n")
	for n, a := range addresses {
		line(&b, fmt.Sprintf("address%d", n+1), a)
	}
	if gateways := own([]string{l.Gateway}); len(gateways) > 0 && l.Gateway != "" && len(addresses) > 0 {
		line(&b, "gateway", l.Gateway)
	}
	if first {
		line(&b, "dns", strings.Join(own(w.Identity.DNS), ";"))
		if method != "disabled" {
			line(&b, "dns-search", strings.Join(w.Identity.Search, ";"))
		}
	}
	return b.String()
}

// ifupdown writes interfaces(5). It knows interfaces by name only, so one that
// is given by its address gets a name from systemd.link(5).
func (w *writer) ifupdown(links []api.Link) error {
	text := "# Written by gild.\nauto lo\niface lo inet loopback\n"
	for i, l := range links {
		name := l.Name
		if name == "" {
			name = fmt.Sprintf("net%d", i)
			rule := "[Match]\nPermanentMACAddress=" + l.MAC + "\n\n[Link]\nName=" + name + "\n"
			if err := w.write(fmt.Sprintf("/etc/systemd/network/10-gild-%d.link", i), rule, 0o644, root); err != nil {
				return err
			}
		}
		text += "\nauto " + name + "\n" + w.stanzas(name, l, i == 0)
	}
	return w.write("/etc/network/interfaces", text+"\nsource /etc/network/interfaces.d/*\n", 0o644, root)
}

// stanzas are those of one interface: DHCP or each fixed address.
func (w *writer) stanzas(name string, l api.Link, first bool) string {
	var b strings.Builder
	if l.DHCP {
		b.WriteString("iface " + name + " inet dhcp\n")
		if l.MTU > 0 {
			fmt.Fprintf(&b, "\tpost-up ip link set dev %s mtu %d\n", name, l.MTU)
		}
	}
	for n, a := range l.Addresses {
		family := "inet"
		if p, err := netip.ParsePrefix(a); err == nil && p.Addr().Is6() {
			family = "inet6"
		}
		fmt.Fprintf(&b, "iface %s %s static\n\taddress %s\n", name, family, a)
		if l.Gateway != "" && strings.Contains(l.Gateway, ":") == (family == "inet6") && n == firstOf(l.Addresses, family) {
			b.WriteString("\tgateway " + l.Gateway + "\n")
		}
		if l.MTU > 0 {
			fmt.Fprintf(&b, "\tmtu %d\n", l.MTU)
		}
		if first && n == 0 {
			// For resolvconf; the C library reads resolv.conf alone.
			if len(w.Identity.DNS) > 0 {
				b.WriteString("\tdns-nameservers " + strings.Join(w.Identity.DNS, " ") + "\n")
			}
			if len(w.Identity.Search) > 0 {
				b.WriteString("\tdns-search " + strings.Join(w.Identity.Search, " ") + "\n")
			}
		}
	}
	if !l.DHCP && len(l.Addresses) == 0 {
		b.WriteString("iface " + name + " inet manual\n")
	}
	return b.String()
}

// firstOf is the index of the first address of a family.
func firstOf(addresses []string, family string) int {
	for i, a := range addresses {
		if strings.Contains(a, ":") == (family == "inet6") {
			return i
		}
	}
	return -1
}

// unitPath is where a unit that is made here goes.
func unitPath(unit string) string { return path.Join("/etc/systemd/system", unit) }
