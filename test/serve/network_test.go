package serve

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/server/netlab"
)

// The server's address changes while it runs: what it leases and where it sends
// machines is of the new one, what it knew it still knows, and it is as
// confined as it was.
func TestAddressChanges(t *testing.T) {
	t.Parallel()
	const mac = "52:54:00:77:00:03"
	l := netlab.New(t)
	s := start(t, l, "--dhcp", "server")
	s.gild("machine", "add", "web-1", "--mac", mac)
	ack := lease(t, l, mac)
	within(t, "10.77.0.0/24", ack.YourIPAddr)

	netlab.IP(t, "-n "+l.Server+" addr flush dev br0")
	netlab.IP(t, "-n "+l.Server+" addr add 10.77.5.1/24 dev br0")
	s.says("beginning anew")
	s.says("ready: ")
	ack = lease(t, l, mac)
	within(t, "10.77.5.0/24", ack.YourIPAddr)
	if who := ack.ServerIdentifier().String(); who != "10.77.5.1" {
		t.Errorf("the lease names the server %s", who)
	}
	if file := ack.BootFileNameOption(); !strings.Contains(file, "http://10.77.5.1:8080/") {
		t.Errorf("iPXE is sent to %q", file)
	}
	netlab.IP(t, "-n "+l.Client+" addr add "+ack.YourIPAddr.String()+"/24 dev c0")
	if script := fetch(t, l, "http://10.77.5.1:8080/machine.ipxe?mac="+mac); !strings.HasPrefix(script, "#!ipxe") {
		t.Errorf("the script is %.200q", script)
	}
	if out := s.gild("machine", "ls"); !strings.Contains(out, "web-1") {
		t.Errorf("machine ls:\n%s", out)
	}
	confined(t, s, "0000000000002400")
}

// Another server that leases addresses is an alarm, and an event in the log of
// what was done.
func TestAnotherServerIsAnEvent(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("dnsmasq"); err != nil {
		t.Skip(err)
	}
	l := netlab.New(t)
	s := start(t, l, "--dhcp", "server")
	cmd := netlab.Command(t, l.Other, "dnsmasq", "-k", "-C", "/dev/null", "-p", "0", "-i", "o0", "--bind-interfaces",
		"--dhcp-range=10.77.0.50,10.77.0.90,1h", "--user=root", "--pid-file=", "--dhcp-leasefile="+t.TempDir()+"/leases")
	child.For(t, cmd)
	s.says("alarm: DHCP server 10.77.0.2 leases addresses on br0 too")
	s.eventually("other-dhcp: DHCP server 10.77.0.2 leases addresses", "events", "--audit")
	if out := s.gild("servers"); !strings.Contains(out, "10.77.0.2") {
		t.Errorf("servers does not show the alarm:\n%s", out)
	}
}

// Machines of a network behind a router, whose relay is dnsmasq's, get
// addresses of their own network and boot by them.
func TestRelayedNetwork(t *testing.T) {
	t.Parallel()
	l := netlab.New(t)
	netlab.IP(t, "-n "+l.Other+" link add r0 type veth peer name r1 netns "+l.Client)
	netlab.IP(t, "-n "+l.Other+" addr add 10.88.0.1/24 dev r0")
	netlab.IP(t, "-n "+l.Other+" link set r0 up")
	netlab.IP(t, "-n "+l.Client+" link set r1 up")
	netlab.IP(t, "-n "+l.Server+" route add 10.88.0.0/24 via 10.77.0.2")
	if out, err := netlab.Command(t, l.Other, "sysctl", "-qw", "net.ipv4.ip_forward=1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := start(t, l, "--dhcp", "server", "--networks", "10.88.0.1/24")
	relay := netlab.Command(t, l.Other, "dnsmasq", "-k", "-C", "/dev/null", "-p", "0", "--dhcp-relay=10.88.0.1,10.77.0.1", "--user=root",
		"--pid-file=")
	child.For(t, relay)
	const mac = "52:54:00:77:00:04"
	ack := leaseOn(t, l, "r1", mac)
	within(t, "10.88.0.128/25", ack.YourIPAddr)
	if router := ack.Router(); len(router) != 1 || router[0].String() != "10.88.0.1" {
		t.Errorf("the router is %v; want the relay", router)
	}
	netlab.IP(t, "-n "+l.Client+" addr add "+ack.YourIPAddr.String()+"/24 dev r1")
	netlab.IP(t, "-n "+l.Client+" route add default via 10.88.0.1")
	if script := fetch(t, l, "http://10.77.0.1:8080/machine.ipxe?mac="+mac); !strings.HasPrefix(script, "#!ipxe") {
		t.Errorf("the script is %.200q", script)
	}
	s.eventually(mac, "machine", "ls")
	within(t, "10.77.0.128/25", lease(t, l, "52:54:00:77:00:05").YourIPAddr)
}
