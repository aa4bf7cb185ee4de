package identity

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
)

var twoLinks = api.Identity{
	Network: []api.Link{
		{Addresses: []string{"10.0.0.5/24", "fd00::5/64"}, Gateway: "10.0.0.1", MTU: 9000},
		{Name: "eth1", DHCP: true},
	},
	DNS: []string{"10.0.0.2"}, Search: []string{"example.org"},
}

func TestNetworkManagers(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		wrote string
		want  string
	}{
		{
			"networkd",
			map[string]string{"lib/systemd/systemd-networkd": "", "lib/systemd/system/systemd-networkd.service": ""},
			"etc/systemd/network/00-gild-0.network",
			"[Match]\nPermanentMACAddress=52:54:00:00:00:01\n\n[Link]\nMTUBytes=9000\n\n[Network]\nDHCP=no\nAddress=10.0.0.5/24\n" +
				"Address=fd00::5/64\nGateway=10.0.0.1\nDNS=10.0.0.2\nDomains=example.org\n",
		},
		{
			"NetworkManager",
			map[string]string{"usr/sbin/NetworkManager": "", "etc/systemd/system/multi-user.target.wants/NetworkManager.service": ""},
			"etc/NetworkManager/system-connections/gild-0.nmconnection",
			"[connection]\nid=gild-0\ntype=ethernet\nautoconnect-priority=999\n\n[ethernet]\nmac-address=52:54:00:00:00:01\nmtu=9000\n\n" +
				"[ipv4]\nmethod=manual\naddress1=10.0.0.5/24\ngateway=10.0.0.1\ndns=10.0.0.2\ndns-search=example.org\n\n" +
				"[ipv6]\nmethod=manual\naddress1=fd00::5/64\ndns-search=example.org\n",
		},
		{
			"ifupdown",
			map[string]string{"sbin/ifup": "", "etc/network/interfaces": "iface eth0 inet dhcp\n"},
			"etc/network/interfaces",
			"# Written by gild.\nauto lo\niface lo inet loopback\n\nauto net0\niface net0 inet static\n\taddress 10.0.0.5/24\n\tgateway " +
				"10.0.0.1\n\tmtu 9000\n" +
				"\tdns-nameservers 10.0.0.2\n\tdns-search example.org\niface net0 inet6 static\n\taddress fd00::5/64\n\tmtu 9000\n\nauto " +
				"eth1\niface eth1 inet dhcp\n\nsource /etc/network/interfaces.d/*\n",
		},
	} {
		dir := image(t, tt.files)
		apply(t, dir, twoLinks)
		if diff := cmp.Diff(tt.want, read(t, dir, tt.wrote)); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", tt.name, tt.wrote, diff)
		}
	}
}

// netplan itself reads what is written for it.
func TestNetplan(t *testing.T) {
	dir := image(t, map[string]string{"etc/netplan/": "", "usr/sbin/netplan": ""})
	apply(t, dir, twoLinks)
	if !strings.Contains(read(t, dir, "etc/netplan/90-gild.yaml"), `"macaddress": "52:54:00:00:00:01"`) {
		t.Error("the link that the agent came by is not matched")
	}
	netplan, err := exec.LookPath("netplan")
	if err != nil {
		t.Skip("no netplan as a judge: apt-get install netplan.io")
	}
	if out, err := exec.Command(netplan, "generate", "--root-dir", dir).CombinedOutput(); err != nil {
		t.Errorf("netplan generate: %v\n%s", err, out)
	}
	made, err := filepath.Glob(filepath.Join(dir, "run/systemd/network/*.network"))
	if err != nil || len(made) != 2 {
		t.Errorf("netplan made %v, %v; want a file for each of two links", made, err)
	}
}

// NetworkManager's own reader of keyfiles takes each one as it is meant. nmcli
// gives back what it has read, in its own words; a setting that does not fit
// another is an error there.
func TestKeyfiles(t *testing.T) {
	nmcli, err := exec.LookPath("nmcli")
	if err != nil {
		t.Skip("no nmcli as a judge, which comes with network-manager")
	}
	many := api.Identity{
		Network: []api.Link{{Addresses: []string{"10.0.0.5/24", "10.0.0.6/24", "fd00::5/64", "fd00::6/64"}, Gateway: "fd00::1"}},
		DNS:     []string{"10.0.0.2", "fd00::2", "10.0.0.3"}, Search: []string{"example.org", "example.net"},
	}
	for name, tt := range map[string]struct {
		identity api.Identity
		want     [][]string // lines of the file of each link
	}{
		"two links": {twoLinks, [][]string{
			{
				"mac-address=52:54:00:00:00:01", "mtu=9000", "address1=10.0.0.5/24,10.0.0.1", "dns=10.0.0.2;", "dns-search=example.org;",
				"address1=fd00::5/64", "autoconnect-priority=999",
			},
			{"interface-name=eth1", "method=auto"},
		}},
		"gateway outside": {hostAddress, [][]string{{"address1=203.0.113.9/32,203.0.113.1", "method=manual"}}},
		"many addresses": {many, [][]string{{
			"address1=10.0.0.5/24", "address2=10.0.0.6/24", "address1=fd00::5/64,fd00::1", "address2=fd00::6/64", "dns=10.0.0.2;10.0.0.3;",
			"dns=fd00::2;", "dns-search=example.org;example.net;",
		}}},
	} {
		dir := image(t, map[string]string{"usr/sbin/NetworkManager": "", "etc/systemd/system/multi-user.target.wants/NetworkManager.service": ""})
		apply(t, dir, tt.identity)
		for i, lines := range tt.want {
			cmd := exec.CommandContext(t.Context(), nmcli, "--offline", "connection", "modify", "connection.id", "judged")
			cmd.Stdin = strings.NewReader(read(t, dir, fmt.Sprintf("etc/NetworkManager/system-connections/gild-%d.nmconnection", i)))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%s, link %d: nmcli: %v\n%s", name, i, err, out)
			}
			for _, line := range lines {
				if !strings.Contains("\n"+string(out), "\n"+line+"\n") {
					t.Errorf("%s, link %d: NetworkManager has no line %q in\n%s", name, i, line, out)
				}
			}
		}
	}
}

// ifquery of ifupdown reads what is written for it.
func TestIfquery(t *testing.T) {
	ifquery, err := exec.LookPath("ifquery")
	if err != nil {
		t.Skip("no ifquery as a judge: apt-get install ifupdown")
	}
	dir := image(t, map[string]string{"sbin/ifup": "", "etc/network/interfaces": ""})
	apply(t, dir, twoLinks)
	out, err := exec.Command(ifquery, "--interfaces", filepath.Join(dir, "etc/network/interfaces"), "--list").CombinedOutput()
	if err != nil || strings.Join(strings.Fields(string(out)), " ") != "lo net0 eth1" {
		t.Errorf("ifquery --list = %q, %v", out, err)
	}
}

// systemd judges the unit of the beacon, and every caller is run for real: by
// TLS to a server that the CA has signed for, in plain HTTP where that fails,
// and where there is no CA.
func TestBeacon(t *testing.T) {
	programs := []string{"/bin/bash"}
	for _, c := range callers {
		programs = append(programs, c.program)
	}
	for _, program := range programs {
		if _, err := os.Stat(program); err != nil {
			t.Logf("%s is not here", program)
			continue
		}
		bare := program == "/bin/bash"
		for _, tt := range []struct {
			what           string
			ca, secure, by bool // a CA, a server with TLS; the call came by TLS
		}{
			{"no CA", false, false, false},
			{"TLS", true, true, true},
			{"a client or server that cannot", true, false, false},
		} {
			if bare && tt.secure {
				continue // it speaks plain HTTP only
			}
			callOnce(t, program, tt.what, tt.ca, tt.secure, tt.by)
		}
	}
}

// callOnce runs the beacon of an image with one program.
func callOnce(t *testing.T, program, what string, ca, secure, by bool) {
	t.Helper()
	got := make(chan string, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case got <- fmt.Sprintf("%s %s, TLS %v", r.Method, r.URL.Path, r.TLS != nil):
		default:
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	defer server.Close()
	job := Job{Identity: api.Identity{BeaconURL: server.URL + "/agent/v1/running/TOKEN"}}
	if ca {
		job.Identity.BeaconURL = "https://" + server.Listener.Addr().String() + "/agent/v1/running/TOKEN"
		job.CA = []byte("a CA of nobody\n")
	}
	if secure {
		job.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	}
	dir := image(t, map[string]string{strings.TrimPrefix(program, "/"): "", "bin/sh": ""})
	if _, err := Write(dir, job); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(dir, "etc/systemd/system", beaconUnit)
	run(t, dir, unit, program)
	want := fmt.Sprintf("POST /agent/v1/running/TOKEN, TLS %v", by)
	select {
	case call := <-got:
		if call != want {
			t.Errorf("%s, %s: called %q; want %q", program, what, call, want)
		}
	default:
		t.Errorf("%s, %s: did not call", program, what)
	}
	if st, err := os.Lstat(filepath.Join(dir, "etc/systemd/system/multi-user.target.wants", beaconUnit)); err != nil ||
		st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the unit is not wanted by the start: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "etc/systemd/system", beaconCA)); (err == nil) != ca {
		t.Errorf("%s, %s: the CA beside the unit: %v; want one: %v", program, what, err, ca)
	}
}

// run carries out ExecStart of a unit, with systemd's own unquoting where it
// is a shell's too: double quotes, $$ and \\.
func run(t *testing.T, dir, unit, program string) {
	t.Helper()
	text, err := os.ReadFile(unit)
	must(t, err)
	if analyze, err := exec.LookPath("systemd-analyze"); err == nil {
		out, _ := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, beaconUnit) && !strings.Contains(line, "world-inaccessible") {
				t.Errorf("systemd-analyze verify: %s", line)
			}
		}
	}
	for line := range strings.Lines(string(text)) {
		start, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart=")
		if !ok {
			continue
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		start = strings.ReplaceAll(start, "$$", `\$`)
		start = strings.ReplaceAll(start, unitPath(beaconCA), dir+unitPath(beaconCA))
		if out, err := exec.CommandContext(ctx, "/bin/sh", "-c", start).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", program, err, out)
		}
		return
	}
	t.Errorf("%s: the unit starts nothing:\n%s", program, text)
}

func TestBeaconThatCannotBe(t *testing.T) {
	dir := image(t, nil)
	notes := apply(t, dir, api.Identity{BeaconURL: "http://10.0.0.1:8080/agent/v1/running/TOKEN"})
	if len(notes) != 1 || !strings.Contains(notes[0], "neither curl nor wget") {
		t.Errorf("notes %q; want why there is no beacon", notes)
	}
}
