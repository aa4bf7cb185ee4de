package server

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/local"
	"github.com/gild-dev/gild/internal/server/state/backup"
	"github.com/gild-dev/gild/internal/server/state/etcd"
)

// A new token is made beside a running server: from then on the old one opens
// nothing, nor does a login that was made with it. So it goes also when the
// server keeps its state in a cluster.
func TestNewTokenWhileServing(t *testing.T) {
	for name, cluster := range map[string]func(*testing.T) *etcd.Cluster{
		"data directory": func(*testing.T) *etcd.Cluster { return nil },
		"cluster":        foreignEtcd,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := newServer(t, dir)
			s.OperatorAddr, s.State.Etcd = "0.0.0.0:0", cluster(t)
			r := start(t, s)
			_, port, _ := strings.Cut(r.Operator, "]:")
			base := "http://127.0.0.1:" + port
			status := func(token string) int {
				t.Helper()
				_, err := (&operatorclient.Client{BaseURL: base, Token: token}).Machines(t.Context(), "")
				if said, ok := errors.AsType[*operatorclient.ProblemError](err); ok {
					return said.Status
				}
				if err != nil {
					t.Fatal(err)
				}
				return http.StatusOK
			}
			old := r.NewToken
			if got := status(old); got != http.StatusOK {
				t.Fatalf("the first token: status %d; want 200", got)
			}
			cookie := login(t, base, old)
			if got := withCookie(t, base, cookie); got != http.StatusOK {
				t.Fatalf("a login with the first token: status %d; want 200", got)
			}

			var token string
			var err error
			for range 100 { // the socket opens a moment after the listeners
				other := State{DataDir: dir}
				if token, err = (&local.Client{Dir: dir}).NewToken(t.Context()); err == nil {
					token, err = other.NewToken(t.Context())
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			if err != nil || token == "" || token == old {
				t.Fatalf("NewToken while serving = %q, %v; want a new one", token, err)
			}
			if got := status(token); got != http.StatusOK {
				t.Errorf("the new token: status %d; want 200", got)
			}
			if got := status(old); got != http.StatusUnauthorized {
				t.Errorf("the old token: status %d; want 401", got)
			}
			if got := withCookie(t, base, cookie); got != http.StatusUnauthorized {
				t.Errorf("the old login: status %d; want 401", got)
			}

			// A backup comes the same way.
			var kept bytes.Buffer
			if err := (State{DataDir: dir}).Backup(t.Context(), &kept); err != nil {
				t.Errorf("Backup while serving = %v", err)
			}
			if _, problems, err := backup.Check(&kept); err != nil || len(problems) > 0 {
				t.Errorf("Check of that backup = %q, %v; want nothing", problems, err)
			}
		})
	}
}

// Without a server on it the directory itself is changed.
func TestNewTokenStopped(t *testing.T) {
	dir := t.TempDir()
	r := start(t, newServer(t, dir))
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	second, err := (State{DataDir: dir}).NewToken(t.Context())
	if err != nil || second == r.NewToken {
		t.Errorf("NewToken = %q, %v; want another than %q", second, err, r.NewToken)
	}
	if r := start(t, newServer(t, dir)); r.NewToken != "" {
		t.Error("a start made a token though there was one")
	}
}

// A token for a state that no server has would open nothing, and whoever made
// it would take the one that has leaked for dead.
func TestNewTokenForNobody(t *testing.T) {
	for name, cluster := range map[string]func(*testing.T) *etcd.Cluster{
		"data directory": func(*testing.T) *etcd.Cluster { return nil },
		"cluster":        foreignEtcd,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := State{DataDir: dir, Etcd: cluster(t), Prefix: "/another/"}
			token, err := s.NewToken(t.Context())
			hint, ok := errors.AsType[interface {
				error
				Hint() string
			}](err)
			if token != "" || !ok || !strings.Contains(hint.Hint(), "--data") {
				t.Errorf("NewToken = %q, %v; want an error that says where to look", token, err)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func login(t *testing.T, base, token string) *http.Cookie {
	t.Helper()
	hc := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+access.PathLogin,
		strings.NewReader(url.Values{"token": {token}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	if len(resp.Cookies()) != 1 {
		t.Fatalf("login: status %d without a cookie", resp.StatusCode)
	}
	return resp.Cookies()[0]
}

func withCookie(t *testing.T, base string, cookie *http.Cookie) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+api.PathMachines, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.AddCookie(cookie)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}
