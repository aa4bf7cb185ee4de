package oci

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api/agentclient"
	"github.com/gild-dev/gild/internal/api/cluster"
)

// anyCA is a certificate that nothing is checked against here.
func anyCA(t *testing.T) []byte {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// Content comes in plain HTTP from where the words go by TLS, also after a
// server has failed.
func TestContentInPlain(t *testing.T) {
	blob := []byte("the bytes of a blob")
	digest := digestOf(blob)
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil || !strings.HasPrefix(r.URL.Path, "/v2/") {
			t.Errorf("%s came by the wrong way", r.URL.Path)
		}
		_, _ = w.Write(blob)
	}))
	defer plain.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	host := strings.TrimPrefix(plain.URL, "http://")
	servers, err := cluster.Trusting("https://"+strings.TrimPrefix(gone.URL, "http://")+",https://"+host, anyCA(t))
	if err != nil {
		t.Fatal(err)
	}
	c := Of(servers)
	if _, err := c.Blob(t.Context(), "r", digest, int64(len(blob))); err == nil {
		t.Error("a server that is gone gave a blob")
	}
	for range 2 {
		if got, err := c.Blob(t.Context(), "r", digest, int64(len(blob))); err != nil || string(got) != string(blob) {
			t.Errorf("Blob = %q, %v", got, err)
		}
	}
	if err := (&agentclient.Client{Servers: servers}).Ping(t.Context()); err != nil {
		t.Errorf("Ping = %v", err)
	}
	if want := "https://" + host; !strings.HasPrefix(servers.Bases(), want) {
		t.Errorf("Bases = %q; want %q first", servers.Bases(), want)
	}
}
