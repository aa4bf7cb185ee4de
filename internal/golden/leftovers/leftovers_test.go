package leftovers

import (
	"fmt"
	"io/fs"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestLook(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
	used := fstest.MapFS{
		"etc/machine-id":           file("0123456789abcdef0123456789abcdef\n"),
		"var/lib/dbus/machine-id":  {Data: []byte("/etc/machine-id"), Mode: fs.ModeSymlink | 0o777},
		"etc/ssh/ssh_host_rsa_key": file("secret"), "etc/ssh/ssh_host_rsa_key.pub": file("public"), "etc/ssh/sshd_config": file(""),
		"etc/udev/rules.d/70-persistent-net.rules": file("# made by hand\nSUBSYSTEM==\"net\", NAME=\"eth0\"\n"),
		"etc/netplan/50-cloud-init.yaml": file("network:\n  ethernets:\n    a:\n      match:\n        " +
			"macaddress: 52:54:00:00:00:01\n"),
		"etc/NetworkManager/system-connections/eth.nmconnection": file("[ethernet]\nmac-address=52:54:00:00:00:01\n"),
		"etc/sysconfig/network-scripts/ifcfg-eth0":               file("DEVICE=eth0\n  HWADDR=52:54:00:00:00:01\n"),
		"var/lib/dhcp/dhclient.leases":                           file("lease {\n}\n"),
	}
	var paths []string
	for _, l := range Look(used) {
		if paths = append(paths, l.Path); l.Why == "" || l.Remedy == "" {
			t.Errorf("%s: %+v; want why, and what to do", l.Path, l)
		}
	}
	want := []string{
		"/etc/machine-id", "/etc/ssh/ssh_host_rsa_key", "/etc/udev/rules.d/70-persistent-net.rules", "/etc/sysconfig/network-scripts/ifcfg-eth0",
		"/etc/NetworkManager/system-connections/eth.nmconnection", "/etc/netplan/50-cloud-init.yaml", "/var/lib/dhcp/dhclient.leases",
	}
	if diff := cmp.Diff(want, paths); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for name, text := range map[string]string{"empty": "", "a line end": "\n", "as mkosi leaves it": "uninitialized\n"} {
		if got := Look(fstest.MapFS{"etc/machine-id": file(text)}); len(got) > 0 {
			t.Errorf("a machine-id that is %s: %+v; want nothing", name, got)
		}
	}
	tidy := fstest.MapFS{
		"etc/netplan/all.yaml":                     file("network:\n  ethernets:\n    all:\n      match: {name: \"e*\"}\n"),
		"etc/udev/rules.d/70-persistent-net.rules": file("# nothing\n\n"),
		"var/lib/dhcp/dhclient.leases":             file(""),
	}
	if got := Look(tidy); len(got) > 0 {
		t.Errorf("a tidy image: %+v; want nothing", got)
	}
	many := fstest.MapFS{}
	for i := range 100 {
		many[fmt.Sprintf("etc/ssh/ssh_host_%d_key", i)] = file("x")
	}
	if got := Look(many); len(got) != maxFound {
		t.Errorf("%d of a hundred keys are told; want %d", len(got), maxFound)
	}
}
