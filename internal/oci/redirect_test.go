package oci

import (
	"fmt"
	"net/http"
	"testing"
)

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
	if d, err := c.Resolve(t.Context(), "a", "latest", 100); err != nil || d != digestOf(manifest) {
		t.Errorf("Resolve = %v, %v", d, err)
	}
	if _, err := c.Resolve(t.Context(), "circle", "latest", 100); err == nil {
		t.Error("a circle of redirects has no error")
	}
}
