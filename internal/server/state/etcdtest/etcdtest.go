// Package etcdtest runs the distribution's etcd for tests: a cluster that is
// not gild's own.
package etcdtest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/child"
)

// Member is one process of a cluster, on loopback.
type Member struct {
	Client string // URL
	args   []string
	life   *child.Process // nil: it does not run
}

// Start begins n members on free ports, which end with the test. more are
// further arguments of each. The test is skipped where there is no etcd.
func Start(t testing.TB, n int, more ...string) []*Member {
	t.Helper()
	return start(t, n, "http", more)
}

// StartTLS is Start with clients by https; more says with which certificates.
func StartTLS(t testing.TB, n int, more ...string) []*Member {
	t.Helper()
	return start(t, n, "https", more)
}

func start(t testing.TB, n int, scheme string, more []string) []*Member {
	t.Helper()
	if _, err := exec.LookPath("etcd"); err != nil {
		t.Skip("etcd is not installed (apt-get install etcd-server)")
	}
	members := make([]*Member, n)
	var names []string
	for i := range members {
		name, client, peer := fmt.Sprint("m", i), scheme+"://"+free(t), "http://"+free(t)
		names = append(names, name+"="+peer)
		members[i] = &Member{Client: client, args: slices.Concat([]string{
			"--name", name, "--data-dir", t.TempDir(), "--log-level", "error",
			"--listen-client-urls", client, "--advertise-client-urls", client,
			"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		}, more)}
	}
	for _, m := range members {
		m.args = append(m.args, "--initial-cluster", strings.Join(names, ","))
		m.Start(t)
		t.Cleanup(m.Kill)
	}
	return members
}

// free is an address of loopback whose port nobody has.
func free(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start begins the process, again after Kill: with the data that it had.
func (m *Member) Start(t testing.TB) {
	t.Helper()
	// Not the test's context: Kill ends it, after what else the test cleans up.
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "etcd", m.args...)
	var err error
	if m.life, err = child.Start(cmd); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the process as a crash does.
func (m *Member) Kill() {
	if m.life != nil {
		m.life.Kill()
		m.life = nil
	}
}

// Endpoints are the members' client URLs.
func Endpoints(members []*Member) []string {
	var urls []string
	for _, m := range members {
		urls = append(urls, m.Client)
	}
	return urls
}
