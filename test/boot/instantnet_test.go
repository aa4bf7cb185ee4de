package boot

import (
	"testing"

	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/images"
)

// nameServer is what leases of these tests tell of.
const nameServer = "10.77.0.53"

// network is how a system with certain software has its network, and says so.
type network struct {
	by      images.NetworkSoftware
	restart string
	up      string            // waits for it
	says    map[string]string // what the system says of its network
}

func TestLongInstantIfUpDown(t *testing.T) {
	keepsItsNetwork(t, network{
		by: images.IfUpDown, restart: "systemctl restart networking", // which is up by an event of udev at first
		up: "for i in $(seq 100); do ls /run/dhclient.*.pid >/dev/null 2>&1 && echo active && break; sleep 0.5; done",
		says: map[string]string{
			"ifquery --state " + images.Card:                               images.Card + "=" + images.Card,
			"ls /run/dhclient.*.pid | wc -l":                               "1",
			"grep ^nameserver /etc/resolv.conf":                            "nameserver " + nameServer,
			"ip -4 -o address show " + images.Card + " | grep -c 10.77.0.": "1",
		},
	})
}

func TestLongInstantNetworkManager(t *testing.T) {
	keepsItsNetwork(t, network{
		by: images.NetworkManager, restart: "systemctl restart NetworkManager", up: "nm-online -q -t 60 && echo active",
		says: map[string]string{
			"nmcli -g GENERAL.STATE device show " + images.Card:            "100 (connected)",
			"nmcli -g GENERAL.CONNECTION device show " + images.Card:       "Wired connection 1",
			"nmcli -g IP4.DNS device show " + images.Card:                  nameServer,
			"ip -4 -o address show " + images.Card + " | grep -c 10.77.0.": "1",
		},
	})
}

// keepsItsNetwork has the link in use when the new system comes to set it up.
// Whatever software does that ends where it ends in a system from the disk,
// then starts the network anew, and more and more of the disk arrives all the
// while.
func keepsItsNetwork(t *testing.T, n network) {
	t.Helper()
	t.Parallel()
	room := lab.NewRoom(t)
	built, err := images.Networked(t.Context(), images.XFSBIOS().Lean(), n.by)
	if err != nil {
		t.Fatal(err)
	}
	room.Gild("image", "add", lab.Image, built)
	room.Serve("--dhcp", "server", "--dns", nameServer)
	arm(room, "--handoff", "instant", "--read-back", "off")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-N"}
	machine := directBoot(t, room, disk)
	g := powerOnPaced(t, room, machine)
	enteredEarly(t, room, g, machine)
	judge := func(when string) {
		t.Helper()
		if got := g.Run(n.up); got != "active" {
			t.Errorf("%s %s is not up: %q", when, n.by, got)
		}
		mustSay(t, g, n.says)
	}
	judge("after the handoff")
	g.Run(n.restart)
	judge("after a restart of the network")
	mustNotBoot(t, disk.Path)
	fetchedBefore := room.Machine(mac).Progress.Wire
	room.WaitFor(mac, "more of the disk", flashing, func(m lab.Machine) bool { return m.Live && m.Progress.Wire > fetchedBefore })
}
