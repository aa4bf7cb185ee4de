package sniff

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

type door struct {
	addr    string
	trusted *http.Client
	refused chan error
}

// serve answers with how a request came, or with a file.
func serve(t *testing.T, h http.Handler) *door {
	t.Helper()
	// Borrowed: a certificate for 127.0.0.1 and a client that trusts it.
	lender := httptest.NewTLSServer(nil)
	t.Cleanup(lender.Close)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{addr: l.Addr().String(), trusted: lender.Client(), refused: make(chan error, 10)}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 500 * time.Millisecond}
	Secure(s)
	cfg := &tls.Config{Certificates: lender.TLS.Certificates, MinVersion: tls.VersionTLS13}
	go func() {
		_ = s.Serve(&Listener{Listener: l, TLS: cfg, Refused: func(_ net.Addr, err error) { d.refused <- err }})
	}()
	t.Cleanup(func() { s.Close() })
	return d
}

func how(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprintf(w, "%s, TLS %v", r.URL.Path, r.TLS != nil && r.TLS.HandshakeComplete && r.TLS.Version == tls.VersionTLS13)
}

func ask(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	p, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(p)
}

func TestBothOnOnePort(t *testing.T) {
	d := serve(t, http.HandlerFunc(how))
	for range 3 { // over one connection each
		if got := ask(t, d.trusted, "https://"+d.addr+"/a"); got != "/a, TLS true" {
			t.Errorf("by TLS: %q", got)
		}
		if got := ask(t, http.DefaultClient, "http://"+d.addr+"/b"); got != "/b, TLS false" {
			t.Errorf("by plain HTTP: %q", got)
		}
	}
}

func TestFilesOverBoth(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	d := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, name) }))
	for scheme, c := range map[string]*http.Client{"http": http.DefaultClient, "https": d.trusted} {
		if got := ask(t, c, scheme+"://"+d.addr+"/"); got != string(content) {
			t.Errorf("%s: %d bytes; want the file of %d", scheme, len(got), len(content))
		}
	}
}

// files counts what reaches the connection whole: that is what sendfile needs.
type files struct {
	net.Conn
	n int64
}

func (f *files) ReadFrom(r io.Reader) (int64, error) {
	n, err := io.Copy(io.Discard, r)
	f.n += n
	return n, err
}

func TestPlainFilesGoToTheKernel(t *testing.T) {
	below := &files{}
	if _, err := (&conn{Conn: below}).ReadFrom(strings.NewReader("all of it")); err != nil || below.n != 9 {
		t.Errorf("%d bytes, %v; want the connection below to be given the source", below.n, err)
	}
}

// A client that does not trust the server says so, and the server can tell.
func TestRefusedIsTold(t *testing.T) {
	d := serve(t, http.HandlerFunc(how))
	stranger := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
		RootCAs:    x509.NewCertPool(),
		MinVersion: tls.VersionTLS13,
	}}}
	if got := ask(t, stranger, "https://"+d.addr+"/"); !strings.Contains(got, "unknown authority") {
		t.Errorf("a client that trusts nobody: %q", got)
	}
	err := <-d.refused
	if alert, ok := errors.AsType[*net.OpError](err); !ok || alert.Op != "remote error" {
		t.Errorf("told %v; want the client's alert", err)
	}
}

// Who sends nothing, half a handshake or rubbish is let go of, and nobody waits
// for them.
func TestSilentAndBroken(t *testing.T) {
	d := serve(t, http.HandlerFunc(how))
	var left []net.Conn
	for _, begin := range []string{"", "\x16", "\x16\x03\x01\x02\x00\x01\x00", "\x16\x03\x01\xff\xff" + strings.Repeat("x", 1000), "G"} {
		c, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", d.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, begin); err != nil {
			t.Fatal(err)
		}
		left = append(left, c)
	}
	if got := ask(t, d.trusted, "https://"+d.addr+"/a"); got != "/a, TLS true" {
		t.Errorf("beside them: %q", got)
	}
	for i, c := range left {
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("connection %d is still open", i)
		}
	}
}

// What makes room for others must reach the socket, not say farewell.
func TestNetConn(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	l := &Listener{Listener: &one{a}}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if below := c.(interface{ NetConn() net.Conn }).NetConn(); below != a {
		t.Errorf("NetConn = %v; want the connection below", below)
	}
	c.Close()
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after Close the other end reads %v; want the end", err)
	}
}

type one struct{ c net.Conn }

func (o *one) Accept() (net.Conn, error) { return o.c, nil }
func (o *one) Close() error              { return nil }
func (o *one) Addr() net.Addr            { return o.c.LocalAddr() }
