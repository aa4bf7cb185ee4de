package stored

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/bootspec/bootspectest"
)

// One damaged image must not hide the others, of which a rack may be waiting.
func TestListShowsADamagedImage(t *testing.T) {
	st := bootspectest.Store(t, map[string]string{"bad": "arm64", "good": "amd64"})
	bad, err := st.Image("bad")
	if err != nil {
		t.Fatal(err)
	}
	good, err := st.Image("good")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(st.Dir(), "blobs/sha256", bad.Manifest.Config.Digest.Hex()), []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	got, err := Images{st, slog.New(slog.NewTextHandler(&log, nil))}.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || !strings.Contains(got[0].Damage, "damaged") || !strings.Contains(log.String(), "image=bad") {
		t.Fatalf("List() = %+v, log %q; want the damage of bad in both", got, &log)
	}
	got[0].Damage = ""
	if diff := cmp.Diff([]api.Image{{Name: "bad", Digest: string(bad.Digest)}, Summary("good", good)}, got); diff != "" {
		t.Errorf("List() (-want +got):\n%s", diff)
	}
}
