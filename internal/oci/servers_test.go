package oci

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/gild-dev/gild/internal/api/cluster"
)

// An image that one server has not got is another's.
func TestImageElsewhere(t *testing.T) {
	const repo, digest = "golden/x", "sha256:dd63dafcbd4d5b28badfcaf86fb6fcdbf02a1fb9ae4f0e9c31a0c9f08efd27a1"
	empty := httptest.NewServer(http.NotFoundHandler())
	defer empty.Close()
	var gone atomic.Bool // the image, of the second server too
	b := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, "0123456789")
	}))
	defer b.Close()
	c := of(t, empty.URL+","+b.URL)
	body, err := c.Ranges(repo, digest, 10).ReadRange(t.Context(), 0, 10)
	if err != nil {
		t.Fatalf("ReadRange = %v; want what the second server has", err)
	}
	if p, err := io.ReadAll(body); string(p) != "0123456789" || err != nil {
		t.Errorf("read %q, %v", p, err)
	}
	gone.Store(true)
	if _, err := c.Manifest(t.Context(), repo, digest, 100); !cluster.IsMissing(err) {
		t.Errorf("Manifest that nobody has = %v; want 404", err)
	}
	b.Close()
	if _, err := c.Manifest(t.Context(), repo, digest, 100); err == nil || cluster.IsMissing(err) {
		t.Errorf("Manifest that a dead server may have = %v; want its error, so that the caller asks again", err)
	}
}
