package registry

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/door"
	"github.com/gild-dev/gild/internal/server/door/doortest"
)

func TestRegistry(t *testing.T) {
	images := doortest.NewImages(t, []byte("disk"))
	digest := images.Names["debian"]
	config := golden.DigestOf([]byte(`{}`))
	base := serve(t, images)
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
	if _, body := doortest.Request(t, "GET", base+"/v2/golden/debian/tags/list",
		""); strings.TrimSpace(body) != `{"name":"golden/debian","tags":["latest"]}` {
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
	images := doortest.NewImages(t, disk)
	base := serve(t, images)
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
	if _, err := os.Stat(filepath.Join(dir, "blobs", "sha256", images.Names["debian"].Hex())); err != nil {
		t.Errorf("skopeo's manifest has another digest: %v", err)
	}
}

func TestRanges(t *testing.T) {
	images := doortest.NewImages(t, []byte("0123456789"))
	var digest string
	for d, p := range images.Blobs {
		if string(p) == "0123456789" {
			digest = string(d)
		}
	}
	url := serve(t, images) + "/v2/golden/debian/blobs/" + digest
	for _, tt := range []struct {
		value  string
		status int
		body   string
	}{
		{"bytes=2-4", 206, "234"},
		{"bytes=8-", 206, "89"},
		{"bytes=8-100", 206, "89"},
		{"bytes=-3", 206, "789"},
		{"bytes=0-", 206, "0123456789"},
		{"bytes=10-", 416, ""},
		{"bytes=-", 416, ""},
		{"bytes=5-2", 416, ""},
		{"bytes=99999999999999999999-", 416, ""},
		{"bytes=0-1,3-4", 416, ""},
		{"bytes=" + strings.Repeat("0-,", 1000) + "0-", 416, ""},
		{"lines=1-2", 416, ""},
	} {
		resp, body := doortest.Request(t, "GET", url, "", "Range", tt.value)
		if resp.StatusCode != tt.status || tt.body != "" && body != tt.body {
			t.Errorf("Range %.40s = %d %q; want %d %q", tt.value, resp.StatusCode, body, tt.status, tt.body)
		}
	}
	resp, body := doortest.Request(t, "GET", url, "", "Range", "bytes=2-4", "If-Range", `"another"`)
	if resp.StatusCode != 200 || body != "0123456789" {
		t.Errorf("Range of changed content = %d %q; want the whole", resp.StatusCode, body)
	}
	if resp, _ := doortest.Request(t, "GET", url, "", "X-Long", strings.Repeat("a", 2<<20)); resp.StatusCode != 431 {
		t.Errorf("a header of 2 MiB = %d; want 431", resp.StatusCode)
	}
}

// serve opens the door on a real connection.
func serve(t *testing.T, images Images) string {
	t.Helper()
	srv := httptest.NewServer(door.Handler(&Door{Images: images}))
	t.Cleanup(srv.Close)
	return srv.URL
}
