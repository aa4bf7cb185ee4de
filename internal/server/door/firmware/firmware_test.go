package firmware

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/door"
	"github.com/gild-dev/gild/internal/server/door/doortest"
	"github.com/gild-dev/gild/internal/server/fleet"
)

func TestBootRoutes(t *testing.T) {
	images := doortest.NewImages(t, []byte("disk"))
	digest := string(images.Names["debian"])
	base := serve(t, doortest.NewMachines(), images)
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
		{"HEAD", "/machine.ipxe?mac=" + doortest.MAC, 200, ""},
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
	images := doortest.NewImages(t, []byte("disk"))
	digest := string(images.Names["debian"])
	m := doortest.NewMachines()
	plan := api.Plan{ID: "p1", Image: api.PlanImage{Name: "debian", Digest: digest}, Agreed: api.Agreed{MACs: []string{doortest.MAC}}}
	if _, err := fleet.Arm(&m.Record, fleet.Armed{Plan: plan}, time.Now()); err != nil {
		t.Fatal(err)
	}
	m.Ticket = "tkt"
	_, body := doortest.Request(t, "GET", serve(t, m, images)+"/machine.ipxe?mac="+doortest.MAC+"&serial=%1b[31m&platform=efi", "")
	want := "http://192.0.2.1/boot/" + digest + "/kernel\n" +
		"http://192.0.2.1/boot/" + digest + "/initramfs?v=\n" +
		"http://192.0.2.1 tkt\n" +
		"http://192.0.2.1/boot.ipxe"
	if body != want {
		t.Errorf("script of an armed machine =\n%s\nwant\n%s", body, want)
	}
	if inv := m.Record.Inventory; inv == nil || inv.Serial != "?[31m" || inv.Firmware != "uefi" {
		t.Errorf("inventory from the query = %+v; want a clean serial and uefi", inv)
	}
}

// broken fails as a lost etcd does.
type broken struct{ Machines }

func (broken) Boot(context.Context, api.Inventory, string) (fleet.Decision, error) {
	return fleet.Decision{}, io.ErrClosedPipe
}

// A machine whose fate is not known must ask again, not boot what it may be
// about to lose.
func TestScriptWithoutState(t *testing.T) {
	base := serve(t, broken{}, doortest.NewImages(t, nil))
	resp, _ := doortest.Request(t, "GET", base+"/machine.ipxe?mac="+doortest.MAC, "")
	if resp.StatusCode != 503 {
		t.Errorf("script without state = %d; want 503", resp.StatusCode)
	}
}

// plainScripts are readable instead of bootable.
func plainScripts() Scripts {
	return Scripts{
		Chain:     func(url string) ([]byte, error) { return []byte("chain " + url), nil },
		LocalDisk: func(why string) []byte { return []byte("local: " + why) },
		Boot: func(kernel, initrd, cmdline, _, again string) ([]byte, error) {
			return fmt.Appendf(nil, "%s\n%s\n%s\n%s", kernel, initrd, cmdline, again), nil
		},
	}
}

// serve opens the door on a real connection.
func serve(t *testing.T, machines Machines, images *doortest.Images) string {
	t.Helper()
	d := &Door{
		BaseURL: "http://192.0.2.1", Machines: machines, Specs: images, Scripts: plainScripts(),
		NBP: func(name string) (io.ReadSeekCloser, error) {
			if name != "snponly.efi" {
				return nil, fs.ErrNotExist
			}
			return doortest.File{Reader: bytes.NewReader([]byte("nbp"))}, nil
		},
	}
	srv := httptest.NewServer(door.Handler(d))
	t.Cleanup(srv.Close)
	return srv.URL
}
