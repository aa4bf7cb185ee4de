package door

import (
	"bufio"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/server/door/doortest"
	"github.com/gild-dev/gild/internal/server/door/reply"
)

// behind serves a handler with the limits of a listener.
func behind(t *testing.T, gate *Gate, h http.Handler) (addr string) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.Config = NewServer(h, gate, slog.New(slog.DiscardHandler))
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func dial(t *testing.T, addr, from, say string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, say); err != nil {
		t.Fatal(err)
	}
	return c
}

// gone waits until the server has closed a connection.
func gone(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the server still holds a connection: %v", err)
	}
}

func answered(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("no answer: %v, %v", resp, err)
	}
	resp.Body.Close()
}

const ask = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

// Connections that say nothing go in the order in which they came, however
// many there are, and who asks is answered.
func TestGateSilent(t *testing.T) {
	shed := make(chan struct{}, 1000)
	gate := &Gate{Max: 20, Shed: func() { shed <- struct{}{} }}
	addr := behind(t, gate, http.HandlerFunc(ok))
	asks := dial(t, addr, "127.0.0.2", ask)
	answered(t, asks)
	var silent []net.Conn
	for range 200 {
		silent = append(silent, dial(t, addr, "127.0.0.3", "GET / HTTP/1.1\r\n"))
	}
	for _, c := range silent[:180] {
		gone(t, c)
	}
	answered(t, dial(t, addr, "127.0.0.2", ask))
	if n := gate.Len(); n > 20 {
		t.Errorf("%d connections are open; want at most 20", n)
	}
	if len(shed) < 180 {
		t.Errorf("%d were counted as shed; want at least 180", len(shed))
	}
}

func TestGateOfOneAddress(t *testing.T) {
	gate := &Gate{Max: 1000, MaxSilent: 5}
	addr := behind(t, gate, http.HandlerFunc(ok))
	other := dial(t, addr, "127.0.0.2", ask)
	answered(t, other)
	var silent []net.Conn
	for range 50 {
		silent = append(silent, dial(t, addr, "127.0.0.3", ""))
	}
	for _, c := range silent[:45] {
		gone(t, c)
	}
	if _, err := io.WriteString(other, ask); err != nil {
		t.Fatal(err)
	}
	answered(t, other)
}

// When every connection has a request under way, who has most of them loses.
func TestGateAllBusy(t *testing.T) {
	gate := &Gate{Max: 10}
	busy, end := make(chan struct{}, 100), make(chan struct{})
	defer close(end)
	addr := behind(t, gate, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			ok(w, r)
			return
		}
		busy <- struct{}{}
		<-end
	}))
	const long = "GET /long HTTP/1.1\r\nHost: a\r\n\r\n"
	var many []net.Conn
	for range 10 {
		many = append(many, dial(t, addr, "127.0.0.3", long))
		<-busy
	}
	answered(t, dial(t, addr, "127.0.0.2", ask))
	gone(t, many[0])
}

// Bodies that do not come: read by the handler, never read, and refused.
func TestBodyThatDoesNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, h := range map[string]http.HandlerFunc{
			"ignored": ok,
			"read":    func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); ok(w, r) },
			"refused": func(w http.ResponseWriter, _ *http.Request) { reply.Problem(w, http.StatusUnauthorized, "no") },
			"json": func(w http.ResponseWriter, r *http.Request) {
				var v any
				if reply.ReadJSON(w, r, 1<<20, &v) == nil {
					t.Error("half a body passed")
				}
			},
		} {
			s := NewServer(h, &Gate{}, slog.New(slog.DiscardHandler))
			client, server := net.Pipe()
			l := doortest.One(server)
			go func() { _ = s.Serve(l) }()
			start := time.Now()
			go func() {
				_, _ = io.WriteString(client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{")
			}()
			if _, err := io.Copy(io.Discard, client); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(start); took > bodyWithin+time.Second {
				t.Errorf("%s: the connection was held %v; want at most %v", name, took, bodyWithin)
			}
			client.Close()
			s.Close()
		}
	})
}

// The deadline of a body must not end the answer, or the next request.
func TestDeadlineEndsWithTheBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			select {
			case <-time.After(3 * bodyWithin):
				ok(w, r)
			case <-r.Context().Done():
				t.Error("the request ended while it was worked on")
			}
		}
		s := NewServer(http.HandlerFunc(h), &Gate{}, slog.New(slog.DiscardHandler))
		client, server := net.Pipe()
		l := doortest.One(server)
		go func() { _ = s.Serve(l) }()
		in := bufio.NewReader(client)
		for range 2 {
			go func() { _, _ = io.WriteString(client, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}") }()
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(err)
			}
			if p, _ := io.ReadAll(resp.Body); string(p) != "ok" || resp.Close {
				t.Errorf("answer %q, closing %v", p, resp.Close)
			}
		}
		client.Close()
		s.Close()
	})
}

// What is asked of the server as a whole goes to the handler like anything
// else: nothing is answered past the guard.
func TestGeneralOptions(t *testing.T) {
	refused := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	for _, at := range []string{"*", "/", "/api/v1/machines"} {
		c := dial(t, behind(t, OperatorGate(true), refused), "127.0.0.1", "OPTIONS "+at+" HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("OPTIONS %s = %d; want the handler's 401", at, resp.StatusCode)
		}
	}
}

// scarce has no descriptor for a connection as long as one is held too many.
type scarce struct {
	net.Listener
	gate *Gate
	most int
}

func (l *scarce) Accept() (net.Conn, error) {
	if l.gate.Len() >= l.most {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return l.Listener.Accept()
}

// Where no connection can be accepted for want of descriptors, one that is
// silent goes, and who asks is answered.
func TestGateWithoutDescriptors(t *testing.T) {
	gate := &Gate{Max: 1000}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(http.HandlerFunc(ok), gate, slog.New(slog.DiscardHandler))
	go func() { _ = s.Serve(gate.Listener(&scarce{l, gate, 5})) }()
	t.Cleanup(func() { s.Close() })
	addr := l.Addr().String()
	var silent []net.Conn
	for range 20 {
		silent = append(silent, dial(t, addr, "127.0.0.3", "GET / HTTP/1.1\r\n"))
	}
	answered(t, dial(t, addr, "127.0.0.2", ask))
	for _, c := range silent[:15] {
		gone(t, c)
	}
}
