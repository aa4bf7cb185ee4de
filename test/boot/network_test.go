package boot

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/vm"
	"github.com/gild-dev/gild/test/lab"
	"github.com/gild-dev/gild/test/lab/host"
	"github.com/gild-dev/gild/test/lab/images"
)

// Beside a DHCP server that knows nothing of network boot, gild adds the boot
// files only, and is reached by the name that the network's own DNS has for it.
// The machine goes the second way into its system: the running kernel starts
// the one that is on the disk, with the disk's own initramfs and command line.
func TestProxyDHCPServerByNameKexec(t *testing.T) { entersByKexec(t, images.XFSBIOS().Lean()) }

// The same with all of Debian's modules, which are three times the bytes of the
// lean image.
func TestLongWholeDebian(t *testing.T) { entersByKexec(t, images.XFSBIOS()) }

func entersByKexec(t *testing.T, spec images.Spec) {
	t.Helper()
	t.Parallel()
	room := lab.NewRoom(t)
	golden, err := images.Golden(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	room.Gild("image", "add", lab.Image, golden, "--cmdline", "root=UUID="+spec.RootUUID+" ro console=tty0 console=ttyS0,115200 "+vm.Steady)
	host.Need(t, "dnsmasq")
	dnsmasq(t, room, "gild.lab")
	room.Serve("--dhcp", "auto", "--advertise", "gild.lab")
	arm(room, "--handoff", "kexec", "--read-back", "off")
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-4"}
	g := room.PowerOn(netBoot(room, disk))

	handedOffBy(t, room, "kexec")
	said := room.ServerLog()
	if !strings.Contains(said, "(proxy)") {
		t.Errorf("the server did not choose to be a proxy beside dnsmasq:\n%s", said)
	}
	if want := "gild.server=https://gild.lab:8080"; !strings.Contains(g.Console.Transcript(), want) {
		t.Errorf("the agent's command line has no %q", want)
	}
	g.LogIn()
	if resets, kernels := g.Starts(); resets != 0 || kernels != 2 {
		t.Errorf("%d resets, %d kernels started; want 0 and 2", resets, kernels)
	}
	flashedSystem{root: "/dev/vda2", fsType: "xfs"}.judge(t, g, spec)
	if got := addresses(g); !strings.Contains(got, "10.77.0.5") {
		t.Errorf("addresses of the golden system: %q; want one of dnsmasq's, 10.77.0.50 to .59", got)
	}
}

// dnsmasq runs a plain DHCP and DNS server on a computer of its own in the
// room's network.
func dnsmasq(t *testing.T, room *lab.Room, name string) {
	t.Helper()
	host, err := room.Net.Host(t.Context(), "10.77.0.2/24")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "ip", "netns", "exec", host, "dnsmasq",
		"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root", "--interface=eth0",
		"--pid-file="+filepath.Join(room.Dir, "dnsmasq.pid"), "--dhcp-leasefile="+filepath.Join(room.Dir, "dnsmasq.leases"),
		"--dhcp-range=10.77.0.50,10.77.0.59,1h", "--address=/"+name+"/"+room.Net.Addr.Addr().String(),
		"--log-dhcp", "--log-facility="+filepath.Join(room.Logs, "dnsmasq.log"))
	child.For(t, cmd)
}

// A rescue shell is on the console of a machine that the server gives the agent
// to, and nothing is written.
func TestRescueShell(t *testing.T) {
	t.Parallel()
	room := lab.RoomFor(t, images.XFSBIOS().Lean())
	room.Serve("--dhcp", "server", "--rescue-shell")
	arm(room)
	disk := vm.Disk{Path: room.Disk("disk", diskSize), Serial: "GOLD-8"}
	g := room.PowerOn(netBoot(room, disk))

	const prompt = "gild:/# "
	g.Expect(prompt)
	for command, want := range map[string]string{
		"ip addr":           "inet 10.77.0.",
		"ls /bin":           "busybox",
		"cat /proc/1/comm":  "init",
		"ls /sys/block/vda": "size",
	} {
		if err := g.Console.Send(command); err != nil {
			t.Fatal(err)
		}
		if got := g.Expect(prompt); !strings.Contains(got, want) {
			t.Errorf("%s in the rescue shell: %q; want %q in it", command, got, want)
		}
	}
	time.Sleep(2 * time.Second) // what would be written would be on its way
	if !isZero(t, disk.Path, diskSize) {
		t.Error("the disk was written in rescue mode")
	}
	if m := room.Machine(mac); m.State == api.MachineHandingOff || m.Armed == nil {
		t.Errorf("a rescue boot used the permission up: %q", m.State)
	}
}
