package reply

import (
	"bytes"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/gild-dev/gild/internal/server/door/doortest"
)

// A real file of several pieces, whole and from the middle: the way with
// sendfile(2) must give the same bytes as any other.
func TestServeFileInPieces(t *testing.T) {
	want := make([]byte, 3*piece+17)
	_, _ = rand.Read(want)
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, want, 0o644); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		File(w, r, f, "x")
	}))
	defer srv.Close()
	if resp, got := doortest.Request(t, "GET", srv.URL, ""); !bytes.Equal([]byte(got), want) || resp.ContentLength != int64(len(want)) {
		t.Errorf("got %d bytes, announced %d; want %d, the same", len(got), resp.ContentLength, len(want))
	}
	const from = piece + 3
	if _, got := doortest.Request(t, "GET", srv.URL, "", "Range", "bytes=524291-"); !bytes.Equal([]byte(got), want[from:]) {
		t.Errorf("range from %d: got %d bytes; want %d, the same", from, len(got), len(want)-from)
	}
}
