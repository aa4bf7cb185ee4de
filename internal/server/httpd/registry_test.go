package httpd

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/door/doortest"
	"github.com/gild-dev/gild/internal/server/fleet"
)

func TestRegistry(t *testing.T) {
	images := newImages(t, []byte("disk"))
	digest := images.names["debian"]
	config := golden.DigestOf([]byte(`{}`))
	base := serve(t, &memMachines{m: fleet.Record{MAC: mac}}, images)
	for _, tt := range []struct {
		method, path string
		status       int
		code         string
	}{
		{"GET", "/v2/", 200, ""},
		{"GET", "/v2", 200, ""},
		{"GET", "/v2/golden/debian/manifests/latest", 200, ""},
		{"HEAD", "/v2/golden/debian/manifests/latest", 200, ""},
		{"GET", "/v2/golden/debian/manifests/" + string(digest), 200, ""},
		{"GET", "/v2/golden/debian/manifests/v1", 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/golden/debian/manifests/" + string(config), 404, "MANIFEST_UNKNOWN"},
		{"GET", "/v2/golden/none/manifests/latest", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/golden/..%2f/manifests/latest", 404, ""},
		{"HEAD", "/v2/golden/debian/blobs/" + string(config), 200, ""},
		{"GET", "/v2/golden/debian/blobs/sha256:ETC", 400, "DIGEST_INVALID"},
		{"GET", "/v2/golden/debian/blobs/sha256:" + strings.Repeat("0", 64), 404, "BLOB_UNKNOWN"},
		{"GET", "/v2/golden/debian/tags/list", 200, ""},
		{"GET", "/v2/golden/none/tags/list", 404, "NAME_UNKNOWN"},
		{"GET", "/v2/_catalog", 404, "NAME_UNKNOWN"},
		{"POST", "/v2/golden/debian/blobs/uploads/", 405, "UNSUPPORTED"},
		{"DELETE", "/v2/golden/debian/manifests/latest", 405, "UNSUPPORTED"},
	} {
		resp, body := doortest.Request(t, tt.method, base+tt.path, "")
		if resp.StatusCode != tt.status {
			t.Errorf("%s %s = %d %s; want %d", tt.method, tt.path, resp.StatusCode, body, tt.status)
		}
		if tt.code != "" {
			var e struct{ Errors []struct{ Code string } }
			if err := json.Unmarshal([]byte(body), &e); err != nil || len(e.Errors) != 1 || e.Errors[0].Code != tt.code {
				t.Errorf("%s %s = %s; want code %s", tt.method, tt.path, body, tt.code)
			}
		}
		if tt.status == 200 && strings.Contains(tt.path, "/manifests/") {
			if got := resp.Header.Get("Docker-Content-Digest"); got != string(digest) {
				t.Errorf("%s %s: Docker-Content-Digest %q; want %s", tt.method, tt.path, got, digest)
			}
			if got := resp.Header.Get("Content-Type"); got != golden.MediaTypeManifest || resp.ContentLength <= 0 {
				t.Errorf("%s %s: type %q, length %d", tt.method, tt.path, got, resp.ContentLength)
			}
		}
	}
	if _, body := doortest.Request(t, "GET", base+"/v2/golden/debian/tags/list", ""); strings.TrimSpace(body) != `{"name":"golden/debian","tags":["latest"]}` {
		t.Errorf("tags = %s", body)
	}
}

// Skopeo is the judge of the pull API.
func TestSkopeoPulls(t *testing.T) {
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed")
	}
	disk := make([]byte, 3<<20)
	_, _ = rand.Read(disk)
	images := newImages(t, disk)
	base := serve(t, &memMachines{}, images)
	dir := filepath.Join(t.TempDir(), "oci")
	cmd := exec.CommandContext(t.Context(), skopeo, "--insecure-policy", "copy", "--src-tls-verify=false",
		"docker://"+strings.TrimPrefix(base, "http://")+"/golden/debian", "oci:"+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("skopeo copy = %v\n%s", err, out)
	}
	got, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", golden.DigestOf(disk).Hex()))
	if err != nil || !bytes.Equal(got, disk) {
		t.Errorf("the disk that skopeo pulled is not the one that is stored (%v)", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", images.names["debian"].Hex())); err != nil {
		t.Errorf("skopeo's manifest has another digest: %v", err)
	}
}
