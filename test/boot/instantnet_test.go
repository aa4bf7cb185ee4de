package boot

import (
	"testing"

	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
)

// The link is in use when the new system comes to set it up. Whatever software does that ends where it ends in a
// system from the disk, then starts the network anew, and more and more of the disk arrives all the while.
func TestInstantNetworks(t *testing.T) {
	const name = "10.77.0.53" // of the name server that leases tell of
	for _, tt := range []struct {
		by      lab.NetworkSoftware
		restart string
		up      string            // waits for it
		says    map[string]string // what the system says of its network
	}{
		{
			by: lab.IfUpDown, restart: "systemctl restart networking", // which is up by an event of udev at first
			up: "for i in $(seq 100); do ls /run/dhclient.*.pid >/dev/null 2>&1 && echo active && break; sleep 0.5; done",
			says: map[string]string{
				"ifquery --state " + lab.Card:                               lab.Card + "=" + lab.Card,
				"ls /run/dhclient.*.pid | wc -l":                            "1",
				"grep ^nameserver /etc/resolv.conf":                         "nameserver " + name,
				"ip -4 -o address show " + lab.Card + " | grep -c 10.77.0.": "1",
			},
		},
		{
			by: lab.NetworkManager, restart: "systemctl restart NetworkManager", up: "nm-online -q -t 60 && echo active",
			says: map[string]string{
				"nmcli -g GENERAL.STATE device show " + lab.Card:            "100 (connected)",
				"nmcli -g GENERAL.CONNECTION device show " + lab.Card:       "Wired connection 1",
				"nmcli -g IP4.DNS device show " + lab.Card:                  name,
				"ip -4 -o address show " + lab.Card + " | grep -c 10.77.0.": "1",
			},
		},
	} {
		t.Run(string(tt.by), func(t *testing.T) {
			spec := lab.XFSBIOS()
			room := lab.NewRoom(t)
			image, err := lab.Networked(t.Context(), spec, tt.by)
			if err != nil {
				t.Fatal(err)
			}
			room.Gild("image", "add", lab.Image, image)
			room.Serve("--dhcp", "server", "--dns", name)
			arm(room, "--handoff", "instant", "--read-back", "off")
			disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-N"}
			machine := netBoot(room, disk)
			g := powerOnPaced(t, room, machine, "16mbit") // a slow host must be through before the disk is complete
			enteredEarly(t, room, g, disk)
			judge := func(when string) {
				t.Helper()
				if got := g.Run(tt.up); got != "active" {
					t.Errorf("%s %s is not up: %q", when, tt.by, got)
				}
				mustSay(t, g, tt.says)
			}
			judge("after the handoff")
			g.Run(tt.restart)
			judge("after a restart of the network")
			mustNotBoot(t, disk.Path)
			fetchedBefore := room.Machine(mac).Progress.Wire
			room.WaitFor(mac, "more of the disk", flashing, func(m lab.Machine) bool { return m.Live && m.Progress.Wire > fetchedBefore })
		})
	}
}
