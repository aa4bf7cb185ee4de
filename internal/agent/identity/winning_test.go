package identity

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/tier"
)

// hostAddress is a machine with one address and a gateway outside of it.
var hostAddress = api.Identity{Network: []api.Link{{Addresses: []string{"203.0.113.9/32"}, Gateway: "203.0.113.1"}}}

func TestOnLink(t *testing.T) {
	for _, tt := range []struct {
		addresses []string
		gateway   string
		want      bool
	}{
		{[]string{"203.0.113.9/32"}, "203.0.113.1", true},
		{[]string{"203.0.113.9/24"}, "203.0.113.1", false},
		{[]string{"198.51.100.9/32", "203.0.113.9/24"}, "203.0.113.1", false},
		{[]string{"203.0.113.9/24"}, "198.51.100.1", true},
		{[]string{"2001:db8::9/128"}, "2001:db8::1", true},
		{[]string{"2001:db8::9/64", "203.0.113.9/32"}, "203.0.113.1", true},
		{[]string{"2001:db8::9/128"}, "fe80::1", false},
		{[]string{"2001:db8::9/128"}, "203.0.113.1", false},
		{nil, "203.0.113.1", false},
		{[]string{"203.0.113.9/32"}, "", false},
	} {
		if got := onLink(api.Link{Addresses: tt.addresses, Gateway: tt.gateway}); got != tt.want {
			t.Errorf("onLink(%v by %s) = %v; want %v", tt.addresses, tt.gateway, got, tt.want)
		}
	}
}

// What an image brings for its network manager does not win over the identity,
// and each file is named.
func TestIdentityWins(t *testing.T) {
	for name, tt := range map[string]struct {
		files  map[string]string
		gone   []string // from their places
		stay   []string
		notes  []string
		config string // a file that must be there
	}{
		"networkd": {
			files: map[string]string{
				"lib/systemd/systemd-networkd": "", "lib/systemd/system/systemd-networkd.service": "",
				"etc/systemd/network/00-all.network": "[Match]\nName=*\n", "etc/systemd/network/20-wired.network": "[Match]\nName=e*\n",
				"etc/systemd/network/10-gild-3.network": "of an earlier flash", "etc/systemd/network/00-x.link": "",
				"usr/lib/systemd/network/00-default.network": "[Match]\nName=*\n",
			},
			gone:  []string{"etc/systemd/network/00-all.network", "etc/systemd/network/10-gild-3.network"},
			stay:  []string{"etc/systemd/network/20-wired.network", "etc/systemd/network/00-x.link"},
			notes: []string{"/etc/systemd/network/00-all.network is set aside", "00-default.network does not count"},
		},
		"netplan": {
			files: map[string]string{
				"etc/netplan/50-cloud-init.yaml": "network: {version: 2, ethernets: {eth0: {dhcp4: true}}}\n", "usr/sbin/netplan": "",
				"etc/netplan/notes.txt": "", "etc/cloud/cloud.cfg": "",
			},
			gone: []string{"etc/netplan/50-cloud-init.yaml"}, stay: []string{"etc/netplan/notes.txt"},
			notes: []string{"50-cloud-init.yaml is set aside"}, config: "etc/cloud/cloud.cfg.d/99-gild-network.cfg",
		},
		"ifupdown": {
			files: map[string]string{
				"sbin/ifup": "", "etc/network/interfaces": "auto eth0\niface eth0 inet dhcp\n",
				"etc/network/interfaces.d/50-cloud-init":                    "auto eth0\niface eth0 inet dhcp\n",
				"etc/network/interfaces.d/lo":                               "iface lo inet6 loopback\n",
				"etc/systemd/system/multi-user.target.wants/dhcpcd.service": "",
			},
			gone: []string{"etc/network/interfaces.d/50-cloud-init"}, stay: []string{"etc/network/interfaces.d/lo"},
			notes: []string{"50-cloud-init is set aside", "dhcpcd.service starts at boot"},
		},
		"NetworkManager": {
			files: map[string]string{
				"usr/sbin/NetworkManager": "", "etc/systemd/system/multi-user.target.wants/NetworkManager.service": "",
				"etc/network/interfaces": "auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 " +
					"inet dhcp\n",
				"etc/NetworkManager/NetworkManager.conf":                    "[keyfile]\nunmanaged-devices=*\n",
				"usr/lib/NetworkManager/conf.d/10-globally.conf":            "[keyfile]\nunmanaged-devices=*,except:type:wifi\n",
				"etc/NetworkManager/conf.d/10-globally.conf":                "",
				"etc/NetworkManager/system-connections/gild-5.nmconnection": "of an earlier flash",
			},
			gone:   []string{"etc/NetworkManager/system-connections/gild-5.nmconnection"},
			notes:  []string{"/etc/network/interfaces is set aside", `NetworkManager.conf has "unmanaged-devices=*"`},
			config: "etc/network/interfaces.before-gild",
		},
	} {
		dir := image(t, tt.files)
		notes := strings.Join(apply(t, dir, hostAddress), "\n")
		for _, file := range tt.gone {
			if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
				t.Errorf("%s: %s is still there", name, file)
			}
		}
		if tt.config != "" {
			tt.stay = append(tt.stay, tt.config)
		}
		for _, file := range tt.stay {
			if _, err := os.Stat(filepath.Join(dir, file)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for _, want := range tt.notes {
			if !strings.Contains(notes, want) {
				t.Errorf("%s: notes are\n%s\nwant %q", name, notes, want)
			}
		}
		if n := strings.Count(notes, "\n") + 1; n != len(tt.notes) {
			t.Errorf("%s: %d notes; want %d:\n%s", name, n, len(tt.notes), notes)
		}
		// The same identity again finds nothing to set aside.
		if again := apply(t, dir, hostAddress); strings.Contains(strings.Join(again, "\n"), "set aside") {
			t.Errorf("%s: the second time: %q", name, again)
		}
	}
}

// systemd-networkd, with a file of the image that would match the link too,
// sets the address and a default route by a gateway outside of it.
func TestNetworkdTakesIt(t *testing.T) {
	tier.Root(t, "network namespaces need root")
	const networkd = "/lib/systemd/systemd-networkd"
	if _, err := os.Stat(networkd); err != nil {
		t.Skip("no systemd-networkd as a judge")
	}
	dir := image(t, map[string]string{
		"lib/systemd/systemd-networkd": "", "lib/systemd/system/systemd-networkd.service": "",
		"etc/systemd/network/00-all.network": "[Match]\nName=*\n[Network]\nAddress=192.0.2.1/24\n",
	})
	apply(t, dir, api.Identity{Network: []api.Link{{
		Name: "c0", Addresses: hostAddress.Network[0].Addresses,
		Gateway: hostAddress.Network[0].Gateway,
	}}})
	ns := fmt.Sprintf("gi-%d", os.Getpid())
	ip := func(args ...string) string {
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	ip("netns", "add", ns)
	remove, err := child.AtEnd("ip", "netns", "delete", ns)
	must(t, err)
	t.Cleanup(func() { must(t, remove()) })
	ip("-n", ns, "link", "add", "c0", "type", "veth", "peer", "name", "c1")
	ip("-n", ns, "link", "set", "c1", "up")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	routes := exec.CommandContext(ctx, "ip", "-n", ns, "monitor", "route")
	told, err := routes.StdoutPipe()
	must(t, err)
	child.For(t, routes)
	// no udev has seen the link
	setUp := "mount --bind " + filepath.Join(dir, "etc/systemd/network") + " /etc/systemd/network && mount -o remount,ro /sys" +
		" && mount -t tmpfs none /run/systemd && install -d -o systemd-network -g systemd-network /run/systemd/netif && exec " + networkd
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", ns, "unshare", "-m", "sh", "-c", setUp)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	child.For(t, cmd)
	var heard []byte
	for buf := make([]byte, 4096); !bytes.Contains(heard, []byte("default via 203.0.113.1")); {
		n, err := told.Read(buf)
		if heard = append(heard, buf[:n]...); err != nil {
			t.Fatalf("networkd set no default route: %s\nroutes: %s", &said, heard)
		}
	}
	if got := ip("-n", ns, "-4", "addr", "show", "dev", "c0"); !strings.Contains(got, "203.0.113.9/32") || strings.Contains(got, "192.0.2.1") {
		t.Errorf("c0 has\n%s\nwant the identity's address alone", got)
	}
}
