package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/door/firmware"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/sniff"
)

// running is a server under test and its operator.
type running struct {
	Addrs
	operator *operatorclient.Client
	agents   *http.Client // trusts the server as agents do
	ca       []byte       // that they have
	stop     func() error
}

// served is a server with parts of the test's own.
type served struct {
	Server
	parts
}

// Run is that of the server.
func (s served) Run(ctx context.Context) error { return s.run(ctx, s.parts) }

// newServer has one image, and scripts that are easy to read. Whoever comes by
// loopback needs no token.
func newServer(t *testing.T, dir string) served {
	image := oneImage{machinestest.OneImage{Digest: golden.DigestOf([]byte("manifest"))}}
	return served{
		Server{State: State{DataDir: dir}, BootAddr: "127.0.0.1:0", OperatorAddr: "127.0.0.1:0"},
		parts{open: true, images: image, firmware: firmware.Door{
			Specs: image,
			Scripts: firmware.Scripts{
				Chain:     func(url string) ([]byte, error) { return []byte(url), nil },
				LocalDisk: func(why string) []byte { return []byte("local: " + why) },
				Boot: func(kernel, _, cmdline, _, _ string) ([]byte, error) {
					return []byte("boot: " + cmdline), nil
				},
			},
		}},
	}
}

func start(t *testing.T, s served) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ready, done := make(chan Addrs, 1), make(chan error, 1)
	s.Ready = func(a Addrs) { ready <- a }
	go func() { done <- s.Run(ctx) }()
	select {
	case a := <-ready:
		r := &running{
			Addrs: a, operator: &operatorclient.Client{BaseURL: "http://" + a.Operator}, agents: trusting(t, caOf(t, s)),
			ca: caOf(t, s),
		}
		r.stop = func() error { cancel(); err := <-done; done <- err; return err }
		t.Cleanup(func() {
			if err := r.stop(); err != nil {
				t.Errorf("Run = %v; want nil", err)
			}
		})
		return r
	case err := <-done:
		cancel()
		t.Fatalf("Run = %v; want a running server", err)
		return nil
	}
}

// caOf is the certificate that goes into the initramfs of a server that runs.
func caOf(t *testing.T, s served) []byte {
	t.Helper()
	ca, err := os.ReadFile(FileCA(s.State.DataDir))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func trusting(t *testing.T, ca []byte) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatalf("no certificate: %q", ca)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

// say posts as an agent of this server does and returns the status.
func (r *running) say(t *testing.T, path, body string) int {
	t.Helper()
	return postBy(t, r.agents, sniff.Base(r.BaseURL)+path, body)
}

func get(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(p)
}

// post sends JSON and returns the status.
func post(t *testing.T, url, body string) int {
	t.Helper()
	return postBy(t, http.DefaultClient, url, body)
}

func postBy(t *testing.T, c *http.Client, url, body string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
