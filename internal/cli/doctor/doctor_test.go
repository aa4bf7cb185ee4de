package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/tier"
)

func healthy(t *testing.T) *Patient {
	return &Patient{
		DataDir: t.TempDir(), Mode: dhcpd.Full, Port: 18080, Operator: "127.0.0.1:0",
		Images:   func() ([]api.Image, error) { return []api.Image{{Name: "debian", Digest: "sha256:00"}}, nil },
		Kernels:  func() (map[string]string, error) { return nil, nil },
		Bootable: func(string) error { return nil },
		State:    func(context.Context) (api.StateUsage, error) { return api.StateUsage{}, errors.New("nobody") },
		Answers:  func(context.Context, string) (time.Time, error) { return time.Time{}, errors.New("nobody") },
	}
}

func levels(f []Finding) (s string) {
	for _, x := range f {
		s += x.Level + ": " + x.Says + "; "
	}
	return s
}

func TestStateUsage(t *testing.T) {
	for _, tt := range []struct {
		usage api.StateUsage
		want  string
	}{
		{api.StateUsage{Size: 2e6, InUse: 1e6, Quota: 100e6}, "ok: 1.0 MB of the state are in use, its database has 2.0 MB of at most 100;"},
		{api.StateUsage{Size: 2e6, InUse: 1e6}, "ok: 1.0 MB"},
		{api.StateUsage{Size: 90e6, InUse: 80e6, Quota: 100e6}, "warning: 80.0 MB"},
		{api.StateUsage{Size: 90e6, InUse: 1e6, Quota: 100e6, Full: true}, "problem: 1.0 MB"},
	} {
		p := healthy(t)
		p.State = func(context.Context) (api.StateUsage, error) { return tt.usage, nil }
		if got := levels(stateUsage(t.Context(), p)); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%+v: %s; want %s", tt.usage, got, tt.want)
		}
	}
	p := healthy(t)
	if got := stateUsage(t.Context(), p); got != nil {
		t.Errorf("without a server and a state: %v; want nothing", got)
	}
	snap := filepath.Join(p.DataDir, "etcd", "member", "snap")
	if err := os.MkdirAll(snap, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(snap, "db"), make([]byte, 1e6), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := levels(stateUsage(t.Context(), p)); !strings.HasPrefix(got, "ok: 1.0 MB") {
		t.Errorf("without a server: %s", got)
	}
}

func TestImages(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []api.Image
		err  error
		want string
	}{
		{"none", nil, nil, "problem: no image"},
		{"unreadable", nil, errors.New("torn index"), "problem: the stored images cannot be read: torn index"},
		{"damaged", []api.Image{{Name: "web", Damage: "no table"}}, nil, "problem: web is damaged"},
		{"without a kernel", []api.Image{{Name: "bsd", Digest: "none"}}, nil, "warning: image \"bsd\" cannot be flashed"},
		{"good", []api.Image{{Name: "a"}, {Name: "b"}}, nil, "ok: 2 stored"},
	} {
		p := healthy(t)
		p.Images = func() ([]api.Image, error) { return tt.list, tt.err }
		p.Bootable = func(d string) error {
			if d == "none" {
				return errors.New("it has no kernel")
			}
			return nil
		}
		if got := levels(images(t.Context(), p)); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s; want %s", tt.name, got, tt.want)
		}
	}
}

func TestDataDir(t *testing.T) {
	p := healthy(t)
	file := p.DataDir + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ dir, want string }{
		{p.DataDir + "/new/deep", "ok: "},
		{file, "problem: "},
		{file + "/below", "problem: "},
		{"/dev/shm", "warning: /dev/shm is in memory"},
	} {
		p.DataDir = tt.dir
		if got := levels(dataDir(t.Context(), p)); !strings.HasPrefix(got, tt.want) {
			t.Errorf("dataDir(%s) = %s; want %s", tt.dir, got, tt.want)
		}
	}
}

// Everything is judged, in order, also on a host where nothing is right.
func TestExamineEndsWhateverIsWrong(t *testing.T) {
	p := healthy(t)
	p.Interface, p.IPXEDirs = "none0", []string{t.TempDir()}
	var seen []string
	Examine(t.Context(), p, func(f Finding) {
		if len(seen) == 0 || seen[len(seen)-1] != f.Check {
			seen = append(seen, f.Check)
		}
		if f.Level != OK && f.Level != Unknown && f.Remedy == "" {
			t.Errorf("%s: %q without a remedy", f.Check, f.Says)
		}
	})
	for _, want := range []string{"data directory", "images", "iPXE", "interface", "ports", "clock"} {
		if !strings.Contains(strings.Join(seen, ","), want) {
			t.Errorf("checks %q lack %q", seen, want)
		}
	}
}

func TestJudge(t *testing.T) {
	other := netip.MustParseAddr("10.0.0.9")
	for _, tt := range []struct {
		name  string
		mode  dhcpd.Mode
		auto  bool
		o     dhcpd.OtherServer
		worth string
	}{
		{"a lease server beside ours", dhcpd.Full, false, dhcpd.OtherServer{Addr: other}, "leases addresses here too"},
		{"beside auto, which sees it", dhcpd.Full, true, dhcpd.OtherServer{Addr: other}, ""},
		{"beside a proxy, as it should be", dhcpd.Proxy, false, dhcpd.OtherServer{Addr: other}, ""},
		{"one with its own boot file", dhcpd.Proxy, false, dhcpd.OtherServer{Addr: other, BootFile: "pxelinux.0"}, "pxelinux.0"},
		{"none of ours and no file", dhcpd.Off, false, dhcpd.OtherServer{Addr: other}, "names no boot file"},
		{"none of ours and a file", dhcpd.Off, false, dhcpd.OtherServer{Addr: other, BootFile: "ipxe.efi"}, ""},
	} {
		p := &Patient{Mode: tt.mode, Auto: tt.auto}
		f, worth := p.judge(tt.o)
		if worth != (tt.worth != "") || !strings.Contains(f.Says, tt.worth) {
			t.Errorf("%s: %q, %v; want %q", tt.name, f.Says, worth, tt.worth)
		}
	}
}

func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a port for the test's length
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := healthy(t)
	p.Mode, p.Operator = dhcpd.Off, l.Addr().String()
	got := levels(ports(t.Context(), p))
	if !strings.Contains(got, "is taken by doctor.test") {
		t.Errorf("ports with one taken = %s; want who has it", got)
	}
}

// rules in a network namespace of their own are what the real nft says.
func TestFirewall(t *testing.T) {
	tier.Root(t, "a network namespace needs root")
	nft, err := lookNft()
	if err != nil {
		t.Skip("needs nft (apt-get install nftables)")
	}
	wanted := []port{
		{"udp", "0.0.0.0", 67, "DHCP"},
		{"udp", "10.0.0.1", 69, "TFTP"},
		{"tcp", "10.0.0.1", 8080, "boot HTTP"},
		{"tcp", "127.0.0.1", 8081, "operator API"},
	}
	for _, tt := range []struct {
		name, rules string
		want        []int
	}{
		{"empty", ``, nil},
		{"accepting", `table inet f { chain input { type filter hook input priority 0; policy accept; } }`, nil},
		{
			"shut", `table inet f { chain input { type filter hook input priority 0; policy drop; ct state established accept; iif lo accept; } }`,
			[]int{67, 69, 8080},
		},
		{
			"two open",
			`table inet f { chain input { type filter hook input priority 0; policy drop; udp dport { 60-68, 69 } accept; tcp dport 22 accept; } }`,
			[]int{8080},
		},
		{"in another chain", `table inet f { chain boot { udp dport 67 accept; udp dport 69 accept; tcp dport 8080 accept; }
			chain input { type filter hook input priority 0; policy drop; jump boot; } }`, nil},
		{"whole interface", `table inet f { chain input { type filter hook input priority 0; policy drop; iifname "eth1" accept; } }`, nil},
		{
			"other interface", `table inet f { chain input { type filter hook input priority 0; policy drop; iifname "eth2" accept; } }`,
			[]int{67, 69, 8080},
		},
		{
			"from one address only",
			`table inet f { chain input { type filter hook input priority 0; policy drop; ip saddr 10.9.9.9 tcp dport 8080 accept; udp dport {67,69} accept; } }`,
			[]int{8080},
		},
	} {
		script := "set -e; " + nft + " -f - ; exec " + nft + " -j list ruleset"
		cmd := exec.CommandContext(t.Context(), "unshare", "--net", "sh", "-c", script)
		cmd.Stdin = strings.NewReader(strings.ReplaceAll(tt.rules, "}", "\n}") + "\n")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: nft: %v", tt.name, err)
		}
		shut, _, err := closed(out, "eth1", wanted)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		var got []int
		for _, q := range shut {
			got = append(got, q.number)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: ports shut (-want +got):\n%s", tt.name, diff)
		}
	}
}

// What nft prints comes from a program of the host, and it must not end ours.
func FuzzClosed(f *testing.F) {
	f.Add([]byte(`{"nftables":[{"chain":{"family":"inet","table":"f","name":"input","hook":"input","policy":"drop"}},` +
		`{"rule":{"family":"inet","table":"f","chain":"input","expr":[{"match":{"left":{"payload":{"protocol":"tcp","field":"dport"}},"right":{"set":[22,{"range":[80,90]}]}}},{"accept":null}]}}]}`))
	f.Fuzz(func(_ *testing.T, p []byte) {
		_, _, _ = closed(p, "eth0", []port{{"tcp", "", 80, "HTTP"}})
	})
}
