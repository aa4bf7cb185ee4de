package room

import (
	"context"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/test/reliability"
)

// inCluster is how many machines two servers share.
const inCluster = 50

// TestOneOfTwoServersIsLost has two servers on one etcd cluster. Half of the
// machines begin with each; one of the two is killed in the middle of their
// flashes and never comes back. All must end with the other.
func TestOneOfTwoServersIsLost(t *testing.T) {
	needRoom(t)
	began := time.Now()
	endpoint := etcd(t)
	bridge(t, "gild1", "10.61.1.1/24")
	bridge(t, "gild2", "10.61.2.2/24")
	stays := newServer(t, "gild1", "10.61.1.1", "--etcd", endpoint)
	goes := newServer(t, "gild2", "10.61.2.2", "--etcd", endpoint)
	disk, needed := golden(t, data(inCluster), stays, goes)
	r := newRoom(t, inCluster, disk, stays, goes)
	f := figures{agents: inCluster, kills: 1, needed: needed * inCluster}

	r.register(t)
	r.powerOn(t)
	armed := time.Now()
	r.arm(t)
	r.waitFor(t, 1) // the others are in every phase, between firmware and agent too
	goes.kill()
	under := inCluster - r.follower.count(api.MachineHandingOff, api.MachineRunning)
	if under < inCluster/4 {
		t.Fatalf("only %d machines were under way at the loss of their server", under)
	}
	r.waitFor(t, inCluster)
	f.took = time.Since(armed)
	r.powerOff(t)
	r.judge(t, &f)
	stays.kill()
	f.peak, f.cpu = stays.peak, stays.cpu
	t.Logf("one of two servers lost with %d machines under way; the other's figures:\n%d events compared in %.1f s, %d MiB resident "+
		"at most, %.1f s of processor time",
		under, f.events, f.took.Seconds(), f.peak/mib, f.cpu.Seconds())
	reliability.Record(t, reliability.Row{
		Group: reliability.Room, What: "one of two servers on one etcd cluster lost for good in the middle of the flashes",
		Count: inCluster, Unit: "machines",
		Result: fmt.Sprintf("%d of them under way; all ended well with the other, each flashed once; %d events, none lost, none twice, in order",
			under, f.events),
		Took:    time.Since(began),
		Command: "go test ./test/room -timeout 0 -run '^TestOneOfTwoServersIsLost$'",
	})
}

// etcd runs the operator's own etcd, of the distribution, and returns its
// address.
func etcd(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Skip("etcd is not installed (apt-get install etcd-server)")
	}
	const endpoint = "http://127.0.0.1:2379"
	cmd := exec.Command("etcd", "--data-dir", t.TempDir(), "--log-level", "error",
		"--listen-client-urls", endpoint, "--advertise-client-urls", endpoint)
	child.For(t, cmd)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if _, err := get(ctx, endpoint+"/health"); err == nil {
			return endpoint
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("etcd does not start")
		}
	}
}

// bridge makes a network of its own for a server.
func bridge(t *testing.T, name, address string) {
	t.Helper()
	run(t, "", "ip", "link", "add", name, "type", "bridge")
	run(t, "", "ip", "address", "add", address, "dev", name)
	run(t, "", "ip", "link", "set", name, "up")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
}
