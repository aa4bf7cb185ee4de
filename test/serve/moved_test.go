package serve

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/agent"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/server/netlab"
)

// envAgent tells this program to be the agent of a machine.
const envAgent = "GILD_TEST_AGENT"

// played is a machine whose links are those of its network namespace.
type played struct {
	MAC, Server, Ticket, CA, Disk, ResolvConf string
}

// TestPlayedAgent is the process of a machine.
func TestPlayedAgent(t *testing.T) {
	var p played
	if json.Unmarshal([]byte(os.Getenv(envAgent)), &p) != nil {
		t.Skip("run by TestAgentFollowsTheServer")
	}
	err := agent.Rehearse(t.Context(), agent.Rehearsal{
		Servers: p.Server, Ticket: p.Ticket, CA: []byte(p.CA), Disk: p.Disk, ResolvConf: p.ResolvConf, Console: os.Stdout,
		Drive: api.Disk{Name: "sda", Serial: "D1", Model: "FILE", Transport: "sata"},
		Inventory: api.Inventory{
			MAC: p.MAC, Firmware: "uefi", Kernel: "6.1.0", Arch: "amd64", CPUs: 1, Memory: 1 << 30,
			NICs: []api.NIC{{Name: "c0", MAC: p.MAC, Carrier: true}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// diskSize is of a machine's disk and of the golden one, bytes.
const diskSize = 16 << 20

// goldenDisk stores a disk as "golden" that is the root of a system, mostly of
// random bytes, and has no table.
func goldenDisk(t *testing.T, s *server) []byte {
	t.Helper()
	dir := t.TempDir()
	tree, path := filepath.Join(dir, "tree"), filepath.Join(dir, "golden.raw")
	noise := make([]byte, diskSize/2)
	_, _ = rand.Read(noise)
	for name, content := range map[string][]byte{"etc/os-release": []byte("x"), "sbin/init": []byte("x"), "noise": noise} {
		name = filepath.Join(tree, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, content, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-d", tree, path, fmt.Sprintf("%dk", diskSize>>10)).CombinedOutput()
	if err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	s.gild("image", "add", "golden", path, "--level", "fast", "--keep-free", "--kernel", clitest.KernelFile(t))
	disk, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return disk
}

// An agent that waits, or is in the midst of a flash, finds its server where it
// is now: elsewhere in the same network, or in another one, of which it then
// takes an address.
func TestAgentFollowsTheServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, to, mac string
		waits         bool // it is armed when the server has moved
	}{
		{"waiting", "10.77.0.9", "52:54:00:77:01:01", true},
		{"flashing", "10.77.5.1", "52:54:00:77:01:02", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			followed(t, tt.mac, tt.to, tt.waits)
		})
	}
}

func followed(t *testing.T, mac, to string, waits bool) {
	l := netlab.New(t)
	netlab.IP(t, "-n "+l.Client+" link set c0 address "+mac)
	s := start(t, l, "--dhcp", "server", "--discover", "golden")
	disk := goldenDisk(t, s)
	arm := func() { s.gild("flash", mac, "--image", "golden", "--handoff", "reboot", "--yes", "--unseen") }
	if !waits {
		arm()
		// The flash takes some seconds.
		out, err := netlab.Command(t, l.Server, "tc", "qdisc", "add", "dev", "p-c0", "root", "tbf", "rate", "6mbit", "burst", "64k", "latency",
			"2s").CombinedOutput()
		if err != nil {
			t.Fatalf("the network cannot be slowed down: %v: %s", err, out)
		}
	}
	p := boots(t, l, mac)
	ended := powerOn(t, l, p)
	if waits {
		s.eventually("discovered, waiting", "machine", "show", mac)
	} else {
		s.eventually("writing the image", "events", "--machine", mac)
	}

	netlab.IP(t, "-n "+l.Server+" addr flush dev br0")
	netlab.IP(t, "-n "+l.Server+" addr add "+to+"/24 dev br0")
	s.says("beginning anew")
	s.says("ready: ")
	if waits {
		arm()
	}
	a := <-ended
	if a.err != nil {
		t.Fatalf("the agent: %v", a.err)
	}
	if found := "one says that it is at http://" + to + ":8080"; !strings.Contains(a.said, found) {
		t.Errorf("the agent did not say %q:\n%s", found, a.said)
	}
	written, err := os.ReadFile(p.Disk)
	if err != nil || string(written) != string(disk) {
		t.Errorf("the disk is not the image (%v)", err)
	}
}

// boots is a machine after its firmware and iPXE have asked for everything.
func boots(t *testing.T, l netlab.Lab, mac string) played {
	t.Helper()
	dir := t.TempDir()
	p := played{MAC: mac, Disk: filepath.Join(dir, "disk"), ResolvConf: filepath.Join(dir, "resolv.conf")}
	blank, err := os.Create(p.Disk)
	if err == nil {
		err = errors.Join(blank.Truncate(diskSize), blank.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	addr := lease(t, l, mac).YourIPAddr.String() + "/24"
	netlab.IP(t, "-n "+l.Client+" addr add "+addr+" dev c0")
	defer netlab.IP(t, "-n "+l.Client+" addr del "+addr+" dev c0")
	for word := range strings.FieldsSeq(fetch(t, l, "http://10.77.0.1:8080/machine.ipxe?platform=efi&mac="+mac)) {
		switch key, value, _ := strings.Cut(word, "="); key {
		case "gild.server":
			p.Server = value
		case "gild.ticket":
			p.Ticket = value
		}
	}
	p.CA = fetch(t, l, "http://10.77.0.1:8080/boot/ca.pem")
	return p
}

// ending is how the agent of a machine ended, and what stood on its console.
type ending struct {
	err  error
	said string
}

// powerOn starts the agent of a machine, and tells how it ended.
func powerOn(t *testing.T, l netlab.Lab, p played) <-chan ending {
	t.Helper()
	role, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := netlab.Command(t, l.Client, self, "-test.run=^TestPlayedAgent$", "-test.v", "-test.timeout=4m")
	cmd.Env = append(os.Environ(), envAgent+"="+string(role))
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan ending, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := cmd.Wait()
		ended <- ending{err, out.String()}
	}()
	t.Cleanup(func() {
		<-done // the test's context is over
		if t.Failed() {
			t.Logf("the agent said:\n%s", out.String())
		}
	})
	return ended
}
