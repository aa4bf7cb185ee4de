package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

// A registry may keep its blobs elsewhere. For anything else, who was named is
// who is spoken to, and nothing goes from https to http.
func TestRedirects(t *testing.T) {
	blob := []byte("the bytes of a blob")
	digest := string(golden.DigestOf(blob))
	var reached atomic.Int32
	elsewhere := func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		_, _ = w.Write(blob)
	}
	plain := httptest.NewServer(http.HandlerFunc(elsewhere))
	defer plain.Close()
	secured := httptest.NewTLSServer(http.HandlerFunc(elsewhere))
	defer secured.Close()

	manifest := func(c *Client) error { _, err := c.Resolve(t.Context(), "r/blobs/x", "latest"); return err }
	pull := func(c *Client) error { _, err := c.Blob(t.Context(), "r", digest, int64(len(blob))); return err }
	ranges := func(c *Client) error {
		body, err := c.Ranges("r", digest, int64(len(blob))).ReadRange(t.Context(), 0, int64(len(blob)))
		if err == nil {
			body.Close()
		}
		return err
	}
	hello := func(c *Client) error { _, _, err := c.Hello(t.Context(), api.Hello{}); return err }
	for _, tt := range []struct {
		name  string
		tls   bool // where the operator's server is
		to    string
		call  func(*Client) error
		comes int32
	}{
		{"manifest elsewhere", false, plain.URL, manifest, 0},
		{"manifest to https", false, secured.URL, manifest, 0},
		{"hello elsewhere", false, plain.URL, hello, 0},
		{"blob elsewhere", false, plain.URL, pull, 1},
		{"blob to https", false, secured.URL, pull, 1},
		{"ranges elsewhere", false, plain.URL, ranges, 1},
		{"blob from https to https", true, secured.URL, pull, 1},
		{"blob from https to http", true, plain.URL, pull, 0},
		{"ranges from https to http", true, plain.URL, ranges, 0},
		{"blob to a file", false, "file:///etc/passwd", pull, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reached.Store(0)
			named := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Location", tt.to)
				w.WriteHeader(http.StatusTemporaryRedirect)
			}))
			if tt.tls {
				named.StartTLS()
			} else {
				named.Start()
			}
			defer named.Close()
			c, err := New(named.URL)
			if err != nil {
				t.Fatal(err)
			}
			c.http.Transport = secured.Client().Transport // which knows the certificates
			err = tt.call(c)
			if n := reached.Load(); n != tt.comes {
				t.Errorf("the other server was asked %d times, want %d (%v)", n, tt.comes, err)
			}
			if tt.comes > 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			status, ok := errors.AsType[*StatusError](err)
			if tt.to[:4] == "file" {
				ok, status = err != nil, &StatusError{Status: 307, Detail: tt.to}
			}
			if !ok || !status.Permanent() || !strings.Contains(status.Detail, tt.to) {
				t.Errorf("error %v; want a permanent one that names %s", err, tt.to)
			}
		})
	}
}

// A redirect within the server is one step of it, and a circle ends.
func TestRedirectsWithinTheServer(t *testing.T) {
	manifest := []byte(`{"a":1}`)
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v2/a/manifests/latest":
			http.Redirect(w, r, "/v2/b/manifests/latest", http.StatusFound)
		case "/v2/b/manifests/latest":
			_, _ = w.Write(manifest)
		default:
			http.Redirect(w, r, fmt.Sprintf("%sx", r.URL.Path), http.StatusFound)
		}
	})
	if d, err := c.Resolve(t.Context(), "a", "latest"); err != nil || d != golden.DigestOf(manifest) {
		t.Errorf("Resolve = %v, %v", d, err)
	}
	if _, err := c.Resolve(t.Context(), "circle", "latest"); err == nil {
		t.Error("a circle of redirects has no error")
	}
}
