package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/gild-dev/gild/test/lab"
)

// linkName is a kind of connection between a tool and what it is served by.
type linkName string

const (
	loopback linkName = "loopback"
	gigabit  linkName = "1gbit"
)

// network is a server's side and, behind a link of 1 Gbit/s, a client's.
type network struct {
	lab    *lab.Network
	client string // namespace behind the link
	server *http.Server
	base   string // URL of the peers' files
}

const (
	peersPort = 8090
	gildPort  = 8080
	// serverPort is the bridge's port of the first further host; the queue on it
	// shapes what the server sends.
	serverPort = "host1"
	clientPort = "eth0"
)

// newNetwork serves dir to both sides.
func newNetwork(ctx context.Context, dir string) (*network, error) {
	l, err := lab.NewNetwork(ctx)
	if err != nil {
		return nil, err
	}
	n := &network{lab: l}
	if n.client, err = l.Host(ctx, "10.77.0.2/24"); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	for _, end := range []struct{ namespace, port string }{{l.Namespace, serverPort}, {n.client, clientPort}} {
		// A burst of two milliseconds: enough for a timer that is late, too little to
		// be faster than the line.
		_, err := output(ctx, "ip", "netns", "exec", end.namespace,
			"tc", "qdisc", "replace", "dev", end.port, "root", "tbf", "rate", "1gbit", "burst", "256kb", "latency", "20ms")
		if err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	address := net.JoinHostPort(l.Addr.Addr().String(), strconv.Itoa(peersPort))
	var listener net.Listener
	if err := l.Do(func() error {
		listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		return err
	}); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	n.base = "http://" + address
	n.server = &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: time.Minute}
	go func() { _ = n.server.Serve(listener) }() // ends with Close
	return n, nil
}

func (n *network) Close() error { return errors.Join(n.server.Close(), n.lab.Close()) }

// gildBase is the server's address as `gild write` takes it.
func (n *network) gildRef() string {
	return fmt.Sprintf("oci+http://%s/golden/%s", net.JoinHostPort(n.lab.Addr.Addr().String(), strconv.Itoa(gildPort)), gildImage)
}

// command is a program on the client's side of a link.
func (n *network) command(ctx context.Context, link linkName, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", n.namespace(link), name}, args...)...)
}

func (n *network) namespace(link linkName) string {
	if link == gigabit {
		return n.client
	}
	return n.lab.Namespace
}

// received is how many bytes the client's side of a link has taken in, headers
// included. On loopback that side takes in what it sends, too: requests and
// acknowledgements, below one in a hundred.
func (n *network) received(ctx context.Context, link linkName) (int64, error) {
	port := "lo"
	if link == gigabit {
		port = clientPort
	}
	out, err := output(ctx, "ip", "netns", "exec", n.namespace(link), "cat", "/sys/class/net/"+port+"/statistics/rx_bytes")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(out)), 10, 64)
}
