package client

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gild-dev/gild/internal/api"
)

// node is one server of a cluster that can be made to fail.
type node struct {
	*httptest.Server
	asked  atomic.Int64
	status atomic.Int64 // 0: answer
	peers  []string
	blob   string
}

func newNode(t *testing.T, blob string) *node {
	n := &node{blob: blob}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.asked.Add(1)
		switch {
		case n.status.Load() != 0:
			w.WriteHeader(int(n.status.Load()))
		case r.URL.Path == api.PathHello:
			_ = json.NewEncoder(w).Encode(api.Answer{Action: api.ActionWait, Servers: n.peers})
		case n.blob == "":
			w.WriteHeader(http.StatusNotFound)
		default:
			_, _ = io.WriteString(w, n.blob)
		}
	}))
	t.Cleanup(n.Close)
	return n
}

func hello(t *testing.T, c *Client, want bool) {
	t.Helper()
	if _, _, err := c.Hello(t.Context(), api.Hello{}); (err == nil) != want {
		t.Errorf("Hello by %s = %v; want success %v", next(c), err, want)
	}
}

// A server that dies, or answers that it cannot, is left for the next one,
// which its own answer has named; nobody is given up.
func TestFailOver(t *testing.T) {
	a, b := newNode(t, ""), newNode(t, "")
	a.peers = []string{a.URL, b.URL, "ftp://odd", "https://other.example"}
	c, err := New(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	hello(t, c, true)
	a.status.Store(503)
	hello(t, c, false)
	hello(t, c, true)
	if got := b.asked.Load(); got != 1 {
		t.Errorf("the second server was asked %d times; want 1", got)
	}
	a.status.Store(0)
	hello(t, c, true) // stays where it is well
	if next(c) != b.URL {
		t.Errorf("next server %s; want %s", next(c), b.URL)
	}
	b.Close()
	hello(t, c, false)
	hello(t, c, true)
	a.status.Store(409) // a refusal is an answer
	hello(t, c, false)
	if next(c) != a.URL {
		t.Errorf("after a refusal next server %s; want %s", next(c), a.URL)
	}
}

// next is the server that the next call of c goes to.
func next(c *Client) string {
	first, _, _ := strings.Cut(c.Servers(), ",")
	return first
}

// A client that is made of what another one knows goes on where that one is.
func TestServersAreHandedOver(t *testing.T) {
	c, err := New("http://a:1,http://b:1")
	if err != nil {
		t.Fatal(err)
	}
	c.servers.learn([]string{"http://c:1"})
	c.servers.failed(c.servers.current())
	const want = "http://b:1,http://c:1,http://a:1"
	if got := c.Servers(); got != want {
		t.Errorf("Servers() = %s; want %s", got, want)
	}
	if heir, err := New(c.Servers()); err != nil || heir.Servers() != want {
		t.Errorf("a client made of that knows %s (%v); want %s", heir.Servers(), err, want)
	}
}

// Calls that fail together go on by one server, not by one each.
func TestFailTogether(t *testing.T) {
	c, err := New("http://a:1,http://b:1,http://c:1")
	if err != nil {
		t.Fatal(err)
	}
	u := c.servers.current()
	for range 8 {
		c.servers.failed(u)
	}
	if next(c) != "http://b:1" {
		t.Errorf("next server %s; want http://b:1", next(c))
	}
}

// An image that one server has not got is another's.
func TestImageElsewhere(t *testing.T) {
	const repo, digest = "golden/x", "sha256:dd63dafcbd4d5b28badfcaf86fb6fcdbf02a1fb9ae4f0e9c31a0c9f08efd27a1"
	a, b := newNode(t, ""), newNode(t, "0123456789")
	c, err := New(a.URL + "," + b.URL)
	if err != nil {
		t.Fatal(err)
	}
	body, err := c.Ranges(repo, digest, 10).ReadRange(t.Context(), 0, 10)
	if err != nil {
		t.Fatalf("ReadRange = %v; want what the second server has", err)
	}
	if p, err := io.ReadAll(body); string(p) != "0123456789" || err != nil {
		t.Errorf("read %q, %v", p, err)
	}
	b.status.Store(404)
	if _, err := c.Manifest(t.Context(), repo, digest, 100); !isMissing(err) {
		t.Errorf("Manifest that nobody has = %v; want 404", err)
	}
	b.Close()
	if _, err := c.Manifest(t.Context(), repo, digest, 100); err == nil || isMissing(err) {
		t.Errorf("Manifest that a dead server may have = %v; want its error, so that the caller asks again", err)
	}
}
