package httpd

import (
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/door/doortest"
	"github.com/gild-dev/gild/internal/server/fleet"
)

func TestBootRoutes(t *testing.T) {
	images := newImages(t, []byte("disk"))
	digest := string(images.names["debian"])
	base := serve(t, &memMachines{m: fleet.Record{MAC: mac}}, images)
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/boot.ipxe", 200, "chain http://192.0.2.1/machine.ipxe"},
		{"HEAD", "/boot.ipxe", 200, ""},
		{"POST", "/boot.ipxe", 405, "Method Not Allowed\n"},
		{"GET", "/machine.ipxe?mac=52-54-00-00-00-01", 200, "local: not armed: booting the local disk"},
		{"GET", "/machine.ipxe?mac=ff-ff-ff-ff-ff-ff", 200, "local: this machine gave no usable MAC address"},
		{"GET", "/machine.ipxe", 200, "local: this machine gave no usable MAC address"},
		{"HEAD", "/machine.ipxe?mac=" + mac, 200, ""},
		{"GET", "/boot/" + digest + "/kernel", 200, "kernel"},
		{"HEAD", "/boot/" + digest + "/initramfs", 200, ""},
		{"GET", "/boot/" + digest + "/shadow", 404, ""},
		{"GET", "/boot/sha256:00/kernel", 404, ""},
		{"GET", "/boot/sha256:" + strings.Repeat("0", 64) + "/kernel", 404, ""},
		{"GET", "/boot/..%2f..%2fetc%2fpasswd/kernel", 404, ""},
		{"GET", "/boot/%00/kernel", 404, ""},
		{"GET", "//boot.ipxe", 404, ""},
		{"GET", "/./boot.ipxe", 404, ""},
		{"GET", "/x/../boot.ipxe", 404, ""},
		{"GET", "/boot.ipxe/", 404, ""},
		{"GET", "/ipxe/snponly.efi", 200, "nbp"},
		{"HEAD", "/ipxe/snponly.efi", 200, ""},
		{"GET", "/ipxe/other.efi", 404, ""},
		{"GET", "/ipxe/..%2fsecret", 404, ""},
		{"GET", "/ipxe", 404, ""},
		{"GET", "/healthz", 200, "ok\n"},
		{"GET", api.PathHello, 405, ""},
		{"GET", api.PathMachines, 404, ""}, // the operator API is elsewhere
	} {
		resp, body := doortest.Request(t, tt.method, base+tt.path, "")
		if resp.StatusCode != tt.status || tt.body != "" && body != tt.body {
			t.Errorf("%s %s = %d %q; want %d %q", tt.method, tt.path, resp.StatusCode, body, tt.status, tt.body)
		}
		if tt.method == "HEAD" && tt.status == 200 && !strings.HasPrefix(tt.path, "/machine") && resp.ContentLength <= 0 {
			t.Errorf("HEAD %s has no Content-Length: firmware sizes its buffer by it", tt.path)
		}
	}
}

func TestArmedScript(t *testing.T) {
	images := newImages(t, []byte("disk"))
	digest := string(images.names["debian"])
	m := &memMachines{m: fleet.Record{MAC: mac}}
	plan := api.Plan{ID: "p1", Image: api.PlanImage{Name: "debian", Digest: digest}, Agreed: api.Agreed{MACs: []string{mac}}}
	if _, err := fleet.Arm(&m.m, fleet.Armed{Plan: plan}, time.Now()); err != nil {
		t.Fatal(err)
	}
	m.ticket = "tkt"
	_, body := doortest.Request(t, "GET", serve(t, m, images)+"/machine.ipxe?mac="+mac+"&serial=%1b[31m&platform=efi", "")
	want := "http://192.0.2.1/boot/" + digest + "/kernel\n" +
		"http://192.0.2.1/boot/" + digest + "/initramfs?v=\n" +
		"http://192.0.2.1 tkt\n" +
		"http://192.0.2.1/boot.ipxe"
	if body != want {
		t.Errorf("script of an armed machine =\n%s\nwant\n%s", body, want)
	}
	if inv := m.m.Inventory; inv == nil || inv.Serial != "?[31m" || inv.Firmware != "uefi" {
		t.Errorf("inventory from the query = %+v; want a clean serial and uefi", inv)
	}
}

// A machine whose fate is not known must ask again, not boot what it may be
// about to lose.
func TestScriptWithoutState(t *testing.T) {
	base := serve(t, brokenMachines{}, newImages(t, nil))
	resp, _ := doortest.Request(t, "GET", base+"/machine.ipxe?mac="+mac, "")
	if resp.StatusCode != 503 {
		t.Errorf("script without state = %d; want 503", resp.StatusCode)
	}
}

func TestRanges(t *testing.T) {
	images := newImages(t, []byte("0123456789"))
	var digest string
	for d, p := range images.blobs {
		if string(p) == "0123456789" {
			digest = string(d)
		}
	}
	url := serve(t, &memMachines{}, images) + "/v2/golden/debian/blobs/" + digest
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
