// Package client is the HTTP side of package api for the one who asks.
//
// Every call is one attempt with its own time limit. Whether and when to ask
// again is the caller's knowledge: a boot step, a report queue and the flash
// engine each wait differently. StatusError.Permanent tells them what asking
// again cannot mend. Where a cluster has several servers, an attempt that one
// of them failed makes the next attempt go to another.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Limits of one attempt.
const (
	dialTimeout   = 10 * time.Second
	headerTimeout = 30 * time.Second
	callTimeout   = 60 * time.Second // of a whole call with a JSON body
)

// connections is how many idle connections are kept: the flash engine reads
// its ranges over about as many at a time.
const connections = 8

// Client talks to one server, or to one after the other of a cluster. Safe for
// concurrent use.
type Client struct {
	servers servers
	http    *http.Client
	// ca has signed for the servers, in PEM. Where there is one, content comes in
	// plain HTTP and everything else goes by TLS: digests, which came by TLS, say
	// that content is right.
	ca []byte
}

// New makes a client for the server at base, "http://host:port", or for those
// of a cluster, separated by commas, and checks no more than their spelling.
func New(base string) (*Client, error) { return open(base, nil) }

// Trusting makes a client for servers that a CA has signed for; ca is its
// certificate in PEM. Whatever the scheme of base, words go by TLS 1.3, and
// only the content of images, which is checked by digests that came so, by
// plain HTTP. Without a CA it is New's.
//
// The machine's clock is not asked: it may never have been set.
func Trusting(base string, ca []byte) (*Client, error) {
	if len(ca) == 0 {
		return New(base)
	}
	block, _ := pem.Decode(ca)
	if block == nil {
		return nil, errors.New("the CA of the servers is not in PEM: is the initramfs damaged?")
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the CA of the servers: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	c, err := open(base, &tls.Config{
		RootCAs: roots, MinVersion: tls.VersionTLS13,
		// What the CA signs is good from its own first day on.
		Time: func() time.Time { return root.NotBefore },
	})
	if err != nil {
		return nil, err
	}
	c.ca = ca
	for _, u := range c.servers.list {
		u.Scheme = "https"
	}
	return c, nil
}

func open(base string, secure *tls.Config) (*Client, error) {
	var all []*url.URL
	for one := range strings.SplitSeq(base, ",") {
		u, err := parseBase(one)
		if err != nil {
			return nil, err
		}
		all = append(all, u)
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: 10 * time.Second}
	return &Client{servers: servers{list: all}, http: &http.Client{Transport: &http.Transport{
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

// Servers are the addresses of all servers that are known by now, as New takes
// them: the one that the next call goes to comes first.
func (c *Client) Servers() string {
	var all []string
	for _, u := range c.servers.all() {
		all = append(all, u.String())
	}
	return strings.Join(all, ",")
}

// CA is the certificate that Trusting was given; nil: there is none.
func (c *Client) CA() []byte { return c.ca }

// Addresses are those of the servers that are named by one.
func (c *Client) Addresses() []netip.Addr {
	var all []netip.Addr
	for _, u := range c.servers.all() {
		if a, err := netip.ParseAddr(u.Hostname()); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// Reset drops idle connections, which have become useless when the machine's
// address or link changed.
func (c *Client) Reset() { c.http.CloseIdleConnections() }

// StatusError is an answer other than the one that was asked for.
type StatusError struct {
	Op         string // "POST /agent/v1/hello"
	Status     int
	Detail     string        // the server's own words, cleaned of nothing
	RetryAfter time.Duration // what the server asked to wait, 0 if it did not
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s: the server answered %d %s", e.Op, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Permanent reports that the same request will fail the same way: a refusal
// (4xx) other than those that ask for patience, or a redirect that is not
// followed.
func (e *StatusError) Permanent() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.Status >= 300 && e.Status < 500
}

// Hello says hello. date is the server's clock as it told it, zero if it did
// not.
func (c *Client) Hello(ctx context.Context, hello api.Hello) (answer api.Answer, date time.Time, err error) {
	header, err := c.post(ctx, api.PathHello, hello, &answer)
	if err != nil {
		return api.Answer{}, time.Time{}, err
	}
	c.servers.learn(answer.Servers)
	if date, err = http.ParseTime(header.Get("Date")); err != nil {
		date = time.Time{}
	}
	return answer, date, nil
}

// Ping reports whether the server can be spoken to at all. Any answer will do,
// also a refusal: something that speaks HTTP lives at that address.
func (c *Client) Ping(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, c.content(c.servers.current()).JoinPath("/v2/").String(), nil)
	if err != nil {
		return fmt.Errorf("HEAD /v2/: %w", err)
	}
	resp, err := c.do(req, http.StatusOK)
	if status := (*StatusError)(nil); errors.As(err, &status) {
		return nil
	}
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Report delivers events. After an error it is unknown whether they arrived;
// sending them again is harmless.
func (c *Client) Report(ctx context.Context, report api.Report) error {
	_, err := c.post(ctx, api.PathEvents, report, nil)
	return err
}

// Identity fetches what the clone is to be. A *StatusError of 409 says that
// the plan is not this session's any more.
func (c *Client) Identity(ctx context.Context, r api.IdentityRequest) (id api.Identity, err error) {
	_, err = c.post(ctx, api.PathIdentity, r, &id)
	return id, err
}

// post sends in as JSON and reads the answer's JSON into out unless that is
// nil.
func (c *Client) post(ctx context.Context, path string, in, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url(path), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.do(req, http.StatusOK, http.StatusNoContent)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if out == nil {
		return resp.Header, nil
	}
	answer, err := readBounded(resp.Body, api.MaxBody)
	if err == nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		return nil, fmt.Errorf("POST %s: reading the answer: %w", path, err)
	}
	return resp.Header, nil
}

func (c *Client) url(path string) string { return c.servers.current().JoinPath(path).String() }

// content is where the content of images is, at a server.
func (c *Client) content(server *url.URL) *url.URL {
	if len(c.ca) == 0 {
		return server
	}
	plain := *server
	plain.Scheme = "http"
	return &plain
}

// do sends req and returns the response if it has one of the wanted statuses.
// A server that could not answer is not asked next.
func (c *Client) do(req *http.Request, want ...int) (*http.Response, error) {
	op := req.Method + " " + req.URL.Path
	resp, err := c.http.Do(req)
	if err != nil {
		c.servers.failed(req.URL)
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
		c.servers.failed(req.URL)
	}
	e := &StatusError{Op: op, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	if to := resp.Header.Get("Location"); to != "" {
		e.Detail = fmt.Sprintf("it leads to %.200q, which is not followed: name that server itself if it is the right one", to)
	} else {
		e.Detail = detail(resp)
	}
	return nil, e
}

// detail finds the words of an error body: RFC 9457, or the OCI distribution
// specification's list of errors, or plain text. They are a courtesy: what
// cannot be read is left out.
func detail(resp *http.Response) string {
	body, err := readBounded(resp.Body, 64<<10)
	if err != nil {
		return ""
	}
	var known struct {
		api.Problem
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &known) == nil {
		if len(known.Errors) > 0 && known.Detail == "" {
			return known.Errors[0].Message
		}
		return known.Detail
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return line[:min(len(line), 200)]
}

// retryAfter reads the seconds form of Retry-After (RFC 9110, 10.2.3), at
// most an hour.
func retryAfter(h http.Header) time.Duration {
	var seconds int
	if _, err := fmt.Sscanf(h.Get("Retry-After"), "%d", &seconds); err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 3600)) * time.Second
}

func readBounded(r io.Reader, limit int64) ([]byte, error) {
	p, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(p)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return p, nil
}
