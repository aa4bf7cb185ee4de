package bootca

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func newCA(t *testing.T) *CA {
	t.Helper()
	kept, err := New()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := kept.Open()
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// shake makes one connection from a client that trusts ca to a server of cfg.
func shake(t *testing.T, ca *CA, cfg *tls.Config, listen, name string, at time.Time, most uint16) error {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_ = tls.Server(c, cfg).HandshakeContext(t.Context())
	}()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.PEM())
	d := &tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name, Time: func() time.Time { return at }, MaxVersion: most}}
	c, err := d.DialContext(t.Context(), "tcp", l.Addr().String())
	if err == nil {
		c.Close()
	}
	l.Close()
	<-done
	return err
}

func TestWhoIsTrusted(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	cfg, err := ca.Server("10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	named, err := ca.Server("gild.example")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, tt := range []struct {
		what   string
		trusts *CA
		server *tls.Config
		listen string
		name   string
		at     time.Time
		most   uint16
		ok     bool
	}{
		{"the name that machines are sent to", ca, cfg, "127.0.0.1:0", "10.0.0.1", now, 0, true},
		{"the address that was spoken to", ca, cfg, "127.0.0.1:0", "127.0.0.1", now, 0, true},
		{"an address that came later", ca, cfg, "127.0.0.2:0", "127.0.0.2", now, 0, true},
		{"an IPv6 address", ca, cfg, "[::1]:0", "::1", now, 0, true},
		{"a host name", ca, named, "127.0.0.1:0", "gild.example", now, 0, true},
		{"another address", ca, cfg, "127.0.0.1:0", "10.0.0.2", now, 0, false},
		{"another host name", ca, named, "127.0.0.1:0", "evil.example", now, 0, false},
		{"another CA", other, cfg, "127.0.0.1:0", "127.0.0.1", now, 0, false},
		{"a clock of 1970", ca, cfg, "127.0.0.1:0", "127.0.0.1", time.Unix(1, 0), 0, true},
		{"a clock of 2046", ca, cfg, "127.0.0.1:0", "127.0.0.1", time.Date(2046, 1, 1, 0, 0, 0, 0, time.UTC), 0, true},
		{"TLS 1.2", ca, cfg, "127.0.0.1:0", "127.0.0.1", now, tls.VersionTLS12, false},
	} {
		if err := shake(t, tt.trusts, tt.server, tt.listen, tt.name, tt.at, tt.most); (err == nil) != tt.ok {
			t.Errorf("%s: %v; want success %v", tt.what, err, tt.ok)
		}
	}
}

// What is signed once is not signed again for each connection, and a host of
// very many addresses fills no memory.
func TestLeavesAreKept(t *testing.T) {
	ca := newCA(t)
	l := &leaves{ca: ca, name: "a.example", key: ca.key, made: map[netip.Addr]*tls.Certificate{}}
	at := netip.MustParseAddr("10.0.0.1")
	first, err := l.leaf(at)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := l.leaf(at); again != first {
		t.Error("a second certificate for one address")
	}
	for range 3 * maxLeaves {
		at = at.Next()
		if _, err := l.leaf(at); err != nil || len(l.made) > maxLeaves {
			t.Fatalf("%d certificates are kept, %v; want at most %d", len(l.made), err, maxLeaves)
		}
	}
}

func TestDamaged(t *testing.T) {
	a, err := New()
	if err != nil {
		t.Fatal(err)
	}
	b, err := New()
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]Stored{
		"nothing":           {},
		"no key":            {Certificate: a.Certificate},
		"another's key":     {a.Certificate, b.Key},
		"the wrong way":     {a.Key, a.Certificate},
		"cut":               {a.Certificate[:100], a.Key},
		"no certificate":    {strings.Replace(a.Certificate, "MII", "AAA", 1), a.Key},
		"a key of no curve": {a.Certificate, strings.Replace(a.Key, "MI", "AA", 1)},
	} {
		if _, err := s.Open(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// OpenSSL judges by the letter of RFC 5280, as Python does since 3.13.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl")
	}
	ca := newCA(t)
	l := &leaves{ca: ca, name: "10.0.0.1", key: ca.key, made: map[netip.Addr]*tls.Certificate{}}
	c, err := l.leaf(netip.MustParseAddr("10.0.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	roots, leaf := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "leaf.der")
	if err := errors.Join(os.WriteFile(roots, ca.PEM(), 0o600), os.WriteFile(leaf, c.Certificate[0], 0o600)); err != nil {
		t.Fatal(err)
	}
	for _, epoch := range []string{"1", "2400000000"} {
		for _, ip := range []string{"10.0.0.1", "10.0.0.2"} {
			out, err := exec.CommandContext(t.Context(), openssl, "verify", "-x509_strict", "-purpose", "sslserver",
				"-attime", epoch, "-verify_ip", ip, "-CAfile", roots, leaf).CombinedOutput()
			if err != nil {
				t.Errorf("at %s for %s: %v\n%s", epoch, ip, err, out)
			}
		}
	}
}
