package agentclient

import (
	"encoding/json"
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
}

func newNode(t *testing.T) *node {
	n := &node{}
	n.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.asked.Add(1)
		switch {
		case n.status.Load() != 0:
			w.WriteHeader(int(n.status.Load()))
		case r.URL.Path == api.PathHello:
			_ = json.NewEncoder(w).Encode(api.Answer{Action: api.ActionWait, Servers: n.peers})
		default:
			w.WriteHeader(http.StatusNotFound)
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
	a, b := newNode(t), newNode(t)
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
	first, _, _ := strings.Cut(c.Bases(), ",")
	return first
}
