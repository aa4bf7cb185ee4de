package cluster

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// A registry may keep its blobs elsewhere. For anything else, who was named is
// who is spoken to, and nothing goes from https to http.
func TestRedirects(t *testing.T) {
	blob := []byte("the bytes of a blob")
	var reached atomic.Int32
	elsewhere := func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		_, _ = w.Write(blob)
	}
	plain := httptest.NewServer(http.HandlerFunc(elsewhere))
	defer plain.Close()
	secured := httptest.NewTLSServer(http.HandlerFunc(elsewhere))
	defer secured.Close()

	get := func(path string, header http.Header) func(*Servers) error {
		return func(s *Servers) error {
			resp, err := s.Any(func(base *url.URL) (*http.Response, error) {
				req := request(t, http.MethodGet, base.JoinPath(path))
				maps.Copy(req.Header, header)
				return s.Do(req, http.StatusOK)
			})
			if err == nil {
				resp.Body.Close()
			}
			return err
		}
	}
	manifest := get("/v2/r/blobs/x/manifests/latest", nil)
	pull := get("/v2/r/blobs/sha256:x", nil)
	ranges := get("/v2/r/blobs/sha256:x", http.Header{"Range": {"bytes=0-18"}})
	hello := func(s *Servers) error {
		resp, err := s.Do(request(t, http.MethodPost, s.known.current().JoinPath("/agent/v1/hello")), http.StatusOK)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	for _, tt := range []struct {
		name  string
		tls   bool // where the operator's server is
		to    string
		call  func(*Servers) error
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
			c, err := Open(named.URL)
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

func request(t *testing.T, method string, u *url.URL) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, u.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}
