// Package cluster asks one server by HTTP, or one after the other of a cluster.
//
// Every request is one attempt: an attempt that one server failed makes the
// next attempt go to another.
package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of one attempt.
const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 30 * time.Second
	ackWithin     = 10 * time.Second
)

// connections is how many idle connections are kept: the flash engine reads
// its ranges over about as many at a time.
const connections = 8

// Servers are one server, or those of a cluster. Safe for concurrent use.
type Servers struct {
	known servers
	http  *http.Client
	// ca has signed for the servers, in PEM. Where there is one, content comes in
	// plain HTTP and everything else goes by TLS: digests, which came by TLS, say
	// that content is right.
	ca []byte
}

// Open takes the address of a server, "http://host:port", or those of a
// cluster, separated by commas, and checks no more than their spelling.
func Open(base string) (*Servers, error) { return open(base, nil) }

// Trusting takes the addresses of servers that one of several CAs has signed
// for; ca is their certificates in PEM. Whatever the scheme of base, words go
// by TLS 1.3, and only the content of images, which is checked by digests that
// came so, by plain HTTP. Without a CA it is Open.
//
// The machine's clock is not asked: it may never have been set.
func Trusting(base string, ca []byte) (*Servers, error) {
	if len(ca) == 0 {
		return Open(base)
	}
	roots, begin, err := trusted(ca)
	if err != nil {
		return nil, err
	}
	s, err := open(base, &tls.Config{
		RootCAs: roots, MinVersion: tls.VersionTLS13,
		Time: func() time.Time { return begin },
	})
	if err != nil {
		return nil, err
	}
	s.ca = ca
	for _, u := range s.known.list {
		u.Scheme = "https"
	}
	return s, nil
}

// trusted reads the certificates of CAs, and the first day on which all of them
// are good: what they sign is good from their own first day on.
func trusted(ca []byte) (roots *x509.CertPool, begin time.Time, err error) {
	roots = x509.NewCertPool()
	block, rest := pem.Decode(ca)
	if block == nil {
		return nil, begin, errors.New("the CA of the servers is not in PEM: is the initramfs damaged?")
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		root, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, begin, fmt.Errorf("the CA of the servers: %w", err)
		}
		roots.AddCert(root)
		if root.NotBefore.After(begin) {
			begin = root.NotBefore
		}
	}
	return roots, begin, nil
}

func open(base string, secure *tls.Config) (*Servers, error) {
	var all []*url.URL
	for one := range strings.SplitSeq(base, ",") {
		u, err := parseBase(one)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: 10 * time.Second, Control: impatient}
	return &Servers{known: servers{list: all}, http: &http.Client{Transport: &http.Transport{
		// No proxy from the environment: a machine asks the server it was
		// booted by. No transparent compression: a range of a blob is
		// counted in the bytes that are stored.
		DialContext:           dialer.DialContext,
		TLSClientConfig:       secure,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		MaxIdleConnsPerHost:   connections,
		IdleConnTimeout:       time.Minute,
		DisableCompression:    true,
	}, CheckRedirect: follow}}, nil
}

// impatient ends a connection whose peer acknowledges nothing any more (tcp(7),
// TCP_USER_TIMEOUT): a server that is busy does, one whose address is gone does
// not, which takes a quarter of an hour to show otherwise.
func impatient(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(ackWithin/time.Millisecond))
	})
}

func parseBase(base string) (*url.URL, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("server address %.200q: %w", base, errors.Unwrap(err))
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.RawQuery != "" || u.User != nil {
		return nil, fmt.Errorf("server address %.200q is not of the form http://host:port", base)
	}
	return u, nil
}

// Bases are the addresses of all servers that are known by now, as Open takes
// them: the one that the next request goes to comes first.
func (s *Servers) Bases() string {
	var all []string
	for _, u := range s.known.all() {
		all = append(all, u.String())
	}
	return strings.Join(all, ",")
}

// CA is the certificate that Trusting was given; nil: there is none.
func (s *Servers) CA() []byte { return s.ca }

// Addresses are those of the servers that are named by one.
func (s *Servers) Addresses() []netip.Addr {
	var all []netip.Addr
	for _, u := range s.known.all() {
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// Reset drops idle connections, which have become useless when the machine's
// address or link changed.
func (s *Servers) Reset() { s.http.CloseIdleConnections() }

// Learn adds the servers of the cluster that one of them names.
func (s *Servers) Learn(bases []string) { s.known.learn(bases) }

// Failed says that the server which u was asked of has failed: the next request
// goes to another.
func (s *Servers) Failed(u *url.URL) { s.known.failed(u) }

// URL is where path is, at the server that is asked next.
func (s *Servers) URL(path string) string { return s.known.current().JoinPath(path).String() }

// ContentURL is where path, of an image's content, is at that server.
func (s *Servers) ContentURL(path string) string {
	return s.content(s.known.current()).JoinPath(path).String()
}

// content is where the content of images is, at a server.
func (s *Servers) content(server *url.URL) *url.URL {
	if len(s.ca) == 0 {
		return server
	}
	plain := *server
	plain.Scheme = "http"
	return &plain
}

// Do sends req and returns the response if it has one of the wanted statuses;
// any other is a *StatusError. A server that could not answer is not asked
// next.
func (s *Servers) Do(req *http.Request, want ...int) (*http.Response, error) {
	op := req.Method + " " + req.URL.Path
	resp, err := s.http.Do(req)
	s.known.heard(err)
	if err != nil {
		s.known.failed(req.URL)
		// The library's own wrapping repeats method and address.
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	for _, status := range want {
		if resp.StatusCode == status {
			return resp, nil
		}
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusInternalServerError {
		s.known.failed(req.URL)
	}
	e := &StatusError{Op: op, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	if to := resp.Header.Get("Location"); to != "" {
		e.Detail = fmt.Sprintf("it leads to %.200q, which is not followed: name that server itself if it is the right one", to)
	} else {
		e.Detail = detail(resp)
	}
	return nil, e
}

// ReadBounded reads all of r, which is an error when it is more than limit
// bytes.
func ReadBounded(r io.Reader, limit int64) ([]byte, error) {
	p, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(p)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return p, nil
}
