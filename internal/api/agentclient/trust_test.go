package agentclient

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// authority signs for servers of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, from, until time.Time) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: until, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// server answers hellos by TLS and gives a blob by plain HTTP, on one address.
func (a *authority) server(t *testing.T, ip string, h http.Handler) *httptest.Server {
	t.Helper()
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: a.cert.NotBefore, NotAfter: a.cert.NotAfter,
		IPAddresses: []net.IP{net.ParseIP(ip)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: a.key}}}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

var (
	epoch  = time.Unix(0, 0)
	always = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
)

func TestTrusting(t *testing.T) {
	ours, foreign := newAuthority(t, epoch, always), newAuthority(t, epoch, always)
	// The dates of what was signed long ago, or is to be good one day: a
	// machine whose clock is wrong sees any certificate so.
	past := newAuthority(t, epoch, time.Date(1971, 1, 1, 0, 0, 0, 0, time.UTC))
	future := newAuthority(t, time.Date(2046, 1, 1, 0, 0, 0, 0, time.UTC), always)
	// While one CA takes another's place, agents trust both.
	both := &authority{pem: append(append([]byte("the old one:\n"), ours.pem...), foreign.pem...)}
	answer := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"action":"wait"}`)) })
	for _, tt := range []struct {
		name   string
		trusts *authority
		server *httptest.Server
		ok     bool
	}{
		{"ours", ours, ours.server(t, "127.0.0.1", answer), true},
		{"the first of two", both, ours.server(t, "127.0.0.1", answer), true},
		{"the second of two", both, foreign.server(t, "127.0.0.1", answer), true},
		{"neither of two", both, future.server(t, "127.0.0.1", answer), false},
		{"another CA", ours, foreign.server(t, "127.0.0.1", answer), false},
		{"another name", ours, ours.server(t, "127.0.0.2", answer), false},
		{"over long ago", past, past.server(t, "127.0.0.1", answer), true},
		{"not yet begun", future, future.server(t, "127.0.0.1", answer), true},
	} {
		// The kernel command line may be of a script that knew no TLS.
		for _, scheme := range []string{"https://", "http://"} {
			c, err := Trusting(scheme+tt.server.Listener.Addr().String(), tt.trusts.pem)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = c.Hello(t.Context(), api.Hello{})
			if (err == nil) != tt.ok {
				t.Errorf("%s, %s: %v; want success %v", tt.name, scheme, err, tt.ok)
			}
			if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); err != nil && !untrusted {
				t.Errorf("%s, %s: %v; want an error of the certificate", tt.name, scheme, err)
			}
		}
	}
}

// An agent with a CA sends no word to a server that speaks plain HTTP.
func TestNoWordInPlain(t *testing.T) {
	var heard atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { heard.Add(1) }))
	defer s.Close()
	c, err := Trusting(s.URL, newAuthority(t, epoch, always).pem)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = c.Hello(t.Context(), api.Hello{})
	if err == nil || heard.Load() > 0 {
		t.Errorf("Hello = %v, and %d requests came; want an error and none", err, heard.Load())
	}
	if _, err := c.Identity(t.Context(), api.IdentityRequest{}); err == nil || heard.Load() > 0 {
		t.Errorf("Identity = %v, and %d requests came", err, heard.Load())
	}
}

// TLS 1.2 is no longer spoken.
func TestOldTLS(t *testing.T) {
	ours := newAuthority(t, epoch, always)
	s := ours.server(t, "127.0.0.1", http.NotFoundHandler())
	s.TLS.MaxVersion = tls.VersionTLS12
	c, err := Trusting(s.URL, ours.pem)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Hello(t.Context(), api.Hello{}); err == nil || !strings.Contains(err.Error(), "version") {
		t.Errorf("Hello by TLS 1.2 = %v; want a refusal", err)
	}
}

func TestDamagedCA(t *testing.T) {
	for _, ca := range []string{"x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := Trusting("https://10.0.0.1:8080", []byte(ca)); err == nil {
			t.Errorf("Trusting with %q: no error", ca)
		}
	}
	if c, err := Trusting("http://10.0.0.1:8080", nil); err != nil || c.Bases() != "http://10.0.0.1:8080" {
		t.Errorf("Trusting without a CA = %v; want plain HTTP", err)
	}
}
