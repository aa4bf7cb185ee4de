package cluster

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A server that moved is asked next, whatever it said of its scheme, and the
// list does not grow.
func TestMoved(t *testing.T) {
	c, err := Open("https://a:1,https://b:1")
	if err != nil {
		t.Fatal(err)
	}
	if !c.Moved("http://c:1") || next(c) != "https://c:1" {
		t.Errorf("next server %s; want https://c:1", next(c))
	}
	for _, base := range []string{"https://a:1", "http://c:1", "c:1", "ftp://d:1", ""} {
		if c.Moved(base) || next(c) != "https://c:1" {
			t.Errorf("Moved(%q): the next server is %s", base, next(c))
		}
	}
	for i := range 2 * maxServers {
		c.Moved("http://host" + string(rune('a'+i)) + ":1")
	}
	if n := len(c.known.list); n != maxServers {
		t.Errorf("%d servers are known; want %d", n, maxServers)
	}
	if first := c.known.list[0].Host; first != "a:1" {
		t.Errorf("the first server is %s; want that of the command line", first)
	}
}

// A refusal is an answer, a connection that is refused is none.
func TestSilent(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	c, err := Open(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL("/"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := c.Do(req, http.StatusOK); err == nil {
			resp.Body.Close()
		}
	}
	if ask(); c.Silent() != 0 {
		t.Errorf("silent for %v after a refusal; want 0", c.Silent())
	}
	addr := s.Listener.Addr().String()
	s.Close()
	if ask(); c.Silent() == 0 {
		t.Error("not silent although nobody listens")
	}
	before := c.known.dumb
	if ask(); c.known.dumb != before {
		t.Error("silence begins anew with each failure")
	}
	again := httptest.NewUnstartedServer(http.NotFoundHandler())
	again.Listener.Close()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	again.Listener = l
	again.Start()
	defer again.Close()
	if ask(); c.Silent() != 0 {
		t.Errorf("silent for %v after an answer; want 0", c.Silent())
	}
}
