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
// manager reads, and sees to it that what the image brings for the same manager
// does not win over them: such files are set aside, and a note names them.
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
	if err := w.noOtherSource(); err != nil {
		return err
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

// networkd writes systemd.network(5) files. The first that matches a link is
// the link's, in the order of their names.
func (w *writer) networkd(links []api.Link) error {
	if err := w.setAside("/etc/systemd/network", func(name string) bool {
		return own(name) || strings.HasSuffix(name, ".network") && name < networkdFile(0) && !w.masks("/etc/systemd/network/"+name)
	}); err != nil {
		return err
	}
	for _, dir := range []string{"/usr/lib/systemd/network", "/usr/local/lib/systemd/network"} {
		names, err := w.list(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".network") && name < networkdFile(0) && !w.masked(name) {
				// Links of this name in /etc stand for those in /usr.
				if err := w.link("/dev/null", "/etc/systemd/network/"+name); err != nil {
					return err
				}
				w.note("network: %s/%s does not count any more: it would go before the identity's settings", dir, name)
			}
		}
	}
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
		if !onLink(l) {
			line(&b, "Gateway", l.Gateway)
		}
		if i == 0 {
			for _, d := range w.Identity.DNS {
				line(&b, "DNS", d)
			}
			line(&b, "Domains", strings.Join(w.Identity.Search, " "))
		}
		if onLink(l) {
			b.WriteString("\n[Route]\nGateway=" + l.Gateway + "\nGatewayOnLink=yes\n")
		}
		if err := w.write("/etc/systemd/network/"+networkdFile(i), b.String(), 0o644, root); err != nil {
			return err
		}
	}
	if w.enabled("systemd-networkd.service") {
		return nil
	}
	return w.enable("systemd-networkd.service", "multi-user.target")
}

// networkdFile names the settings of a link. Few files go before it.
func networkdFile(i int) string { return fmt.Sprintf("00-gild-%d.network", i) }

// onLink reports whether a gateway lies outside of every network that the
// link's addresses are in, as with a /32: it must then be said that it is on
// the link all the same. Addresses of other families say nothing of it.
func onLink(l api.Link) bool {
	gateway, err := netip.ParseAddr(l.Gateway)
	if err != nil || gateway.IsLinkLocalUnicast() {
		return false
	}
	same := 0
	for _, text := range l.Addresses {
		p, err := netip.ParsePrefix(text)
		if err != nil || p.Addr().Is4() != gateway.Is4() {
			continue
		}
		if same++; p.Contains(gateway) {
			return false
		}
	}
	return same > 0
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

// netplan writes one file. JSON is YAML, and quotes what must be quoted. Two
// files that mean one link by two names make two settings of it, of which the
// one with the lower name is taken.
func (w *writer) netplan(links []api.Link) error {
	if err := w.setAside("/etc/netplan", func(name string) bool { return strings.HasSuffix(name, ".yaml") }); err != nil {
		return err
	}
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
			route := map[string]any{"to": to, "via": l.Gateway}
			if onLink(l) {
				route["on-link"] = true
			}
			e["routes"] = []any{route}
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

// networkManager writes keyfiles (nm-settings-keyfile(5)). Of several profiles
// for one link the one with the highest priority is taken; 999 is the highest
// there is. What interfaces(5) names is not its business where it reads that.
func (w *writer) networkManager(links []api.Link) error {
	if err := w.onlyLoopback(); err != nil {
		return err
	}
	if err := w.setAside("/etc/NetworkManager/system-connections", own); err != nil {
		return err
	}
	w.unmanaged()
	for i, l := range links {
		var b strings.Builder
		fmt.Fprintf(&b, "[connection]\nid=gild-%d\ntype=ethernet\nautoconnect-priority=999\n", i)
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
	if err := w.setAside("/etc/network/interfaces.d",
		func(name string) bool { return w.defines("/etc/network/interfaces.d/" + name) }); err != nil {
		return err
	}
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
