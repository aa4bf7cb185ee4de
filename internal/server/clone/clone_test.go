package clone_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/clone"
)

func facts() clone.Facts {
	return clone.Facts{
		Name: "web-1", ID: "52:54:00:12:34:56", MAC: "52:54:00:12:34:56", Serial: "S4 $(reboot)", UUID: "",
		Hostname: "web-1", Image: "web", Server: "http://10.0.0.1:8080", BeaconURL: "https://10.0.0.1:8080/agent/v1/running/TOKEN",
		Labels: map[string]string{"rack": "b7", "site/row": "3"},
		Values: map[string]string{"role": "it's \"web\": {a}", "address": "10.0.0.5"},
	}
}

func TestRender(t *testing.T) {
	tpl := api.Identity{
		Hostname: "{{ .Name }}.{{ .Labels.rack }}.example", NewIDs: true,
		Network: []api.Link{
			{MAC: "{{ .MAC | upper }}", Addresses: []string{"{{ .Values.address }}/24"}, Gateway: "10.0.0.1"},
			{Name: "eth1", DHCP: true},
		},
		AuthorizedKeys: map[string][]string{"root": {"ssh-ed25519 AAAA {{ .Hostname }}"}},
		Files: []api.File{{
			Path: "/etc/{{ .Name }}.conf",
			Content: `{{ .Hostname }} y: {{ .Values.role | yaml }} s: {{ .Values.role | shell }} {{ index .Labels "site/row" | plain }}` +
				`{{ if eq (get .Values "x" "none") "none" }} none{{ else }} some{{ end }}`,
		}},
		Credentials: map[string]string{"db": "p{{ .ID }}"},
		CloudInit:   &api.CloudInit{UserData: "#cloud-config\n"},
	}
	if err := clone.Check(tpl); err != nil {
		t.Fatalf("Check: %v", err)
	}
	got, digest, err := clone.Render(tpl, facts())
	if err != nil {
		t.Fatal(err)
	}
	want := api.Identity{
		Hostname: "web-1.b7.example", MachineID: "new", SSHHostKeys: "new", NewIDs: true,
		Network: []api.Link{
			{MAC: "52:54:00:12:34:56", Addresses: []string{"10.0.0.5/24"}, Gateway: "10.0.0.1"},
			{Name: "eth1", DHCP: true},
		},
		AuthorizedKeys: map[string][]string{"root": {"ssh-ed25519 AAAA web-1.b7.example"}},
		Files:          []api.File{{Path: "/etc/web-1.conf", Content: `web-1.b7.example y: "it's \"web\": {a}" s: 'it'\''s "web": {a}' 3 none`}},
		Credentials:    map[string]string{"db": "p52:54:00:12:34:56"},
		CloudInit:      &api.CloudInit{UserData: "#cloud-config\n"},
		BeaconURL:      "https://10.0.0.1:8080/agent/v1/running/TOKEN",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Render (-want +got):\n%s", d)
	}
	// The agent computes the digest from what came over the wire.
	text, _ := json.Marshal(got)
	var wire api.Identity
	if err := json.Unmarshal(text, &wire); err != nil {
		t.Fatal(err)
	}
	if wire.Digest() != digest || !strings.HasPrefix(digest, "sha256:") {
		t.Errorf("Digest after the wire = %s; want %s", wire.Digest(), digest)
	}
}

func TestRenderBeacon(t *testing.T) {
	for _, tt := range []struct{ beacon, url, vendor string }{
		{"", facts().BeaconURL, ""},
		{"unit", facts().BeaconURL, ""},
		{"off", "", ""},
		{
			"cloud-init", "",
			"#cloud-config\nphone_home:\n  url: \"http://10.0.0.1:8080/agent/v1/running/TOKEN\"\n  post: [instance_id]\n  tries: 10\n",
		},
	} {
		got, _, err := clone.Render(api.Identity{Beacon: tt.beacon}, facts())
		if err != nil {
			t.Fatal(err)
		}
		vendor := ""
		if got.CloudInit != nil {
			vendor = got.CloudInit.VendorData
		}
		if got.BeaconURL != tt.url || vendor != tt.vendor {
			t.Errorf("Render(beacon %q) = url %q, vendor data %q; want %q, %q", tt.beacon, got.BeaconURL, vendor, tt.url, tt.vendor)
		}
	}
	f := facts()
	f.BeaconURL = "http://a/$(reboot)"
	if _, _, err := clone.Render(api.Identity{}, f); err == nil {
		t.Error("Render with a beacon that a shell reads: no error")
	}
}

// What cannot be rendered is refused with words that name the place and hold
// nothing of its content.
func TestRenderErrors(t *testing.T) {
	file := func(content string) api.Identity {
		return api.Identity{Files: []api.File{{Path: "/etc/x", Content: "CANARY\n" + content}}}
	}
	for _, tt := range []struct {
		tpl  api.Identity
		edit func(*clone.Facts)
		want string
	}{
		{file("{{ .Values.rol }}"), nil, `file /etc/x: the machine has no value "rol"`},
		{file(`{{ index .Values "a-b" }}`), nil, `no value "a-b"`},
		{file("{{ .Serial }}"), nil, "no .Serial of plain words"},
		{file("{{ .UUID }}"), nil, "no .UUID"},
		{file("{{ .Values.role | plain }}"), nil, "not plain"},
		{file("{{ .Values.role.x }}"), nil, "not a value"},
		{file("{{ range .Values }}x{{ end }}"), nil, "no loops"},
		{file(`{{ printf "%99999999d" 1 }}`), nil, "no function printf"},
		{file(`{{ $x := .Name }}`), nil, "variables"},
		{file(`{{ define "CANARY" }}{{ end }}`), nil, "not supported"},
		{file(`{{ .BeaconURL }}`), nil, "no value .BeaconURL"},
		{file(`{{ . }}`), nil, "only values"},
		{file(`{{ "CANARY" CANARY }}`), nil, "line 2"},
		{file("x"), func(f *clone.Facts) { f.Values["a"] = "CANARY\nroot::0" }, ".Values.a holds control"},
		{file("x"), func(f *clone.Facts) { f.Labels["a"] = "CANARY\x1b[2J" }, ".Labels.a holds control"},
		{file("x"), func(f *clone.Facts) { f.Name = "a\u2028b" }, ".Name holds control"},
		{file("x"), func(f *clone.Facts) { f.Values["a"] = "\xff" }, "UTF-8"},
		{
			file(strings.Repeat("{{ .Values.big }}", 100)), func(f *clone.Facts) { f.Values["big"] = strings.Repeat("x", 16<<10) },
			"more than 524288 bytes",
		},
		{api.Identity{Hostname: "{{ .Values.role }}"}, nil, "not a host name"},
		{
			api.Identity{Files: []api.File{{Path: "/etc/{{ .Values.up }}"}}},
			func(f *clone.Facts) { f.Values["up"] = "../../dev/sda" },
			"in its shortest form",
		},
	} {
		f := facts()
		if tt.edit != nil {
			tt.edit(&f)
		}
		_, _, err := clone.Render(tt.tpl, f)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("Render(%+v) = %v; want %q and no canary", tt.tpl, err, tt.want)
		}
	}
}

// What is put into text must be there; what is only asked about need not be.
func TestRenderMissing(t *testing.T) {
	const missing = "the machine has no"
	for _, tt := range []struct{ text, want string }{
		{"{{ .Name }}", missing},
		{"n{{ .Name }}.example", missing},
		{"{{ .Name | yaml }}", missing},
		{"{{ (yaml .Name) }}", missing},
		{"{{ upper (lower .Name) }}", missing},
		{"{{ .Labels.rack }}", missing},
		{`{{ index .Labels "rack" }}`, missing},
		{`{{ "rack" | index .Labels | shell }}`, missing},
		{`{{ index .Values (lower "ROLE") }}`, missing},
		{"{{ .Values.role | plain }}", missing},
		{"{{ .MAC }}{{ .UUID }}", missing},
		{"{{ .Serial }}", missing},
		{"{{ .Hostname }}", missing},
		{`{{ if eq .Image "web" }}{{ .Name }}{{ end }}`, missing},
		{`{{ or .Name .Labels.rack }}`, missing},
		{`{{ get .Values "x" .Name }}`, missing},
		{`{{ .Name | get .Values "x" }}`, missing},
		{`{{ get .Values "x" (get .Labels "x" .Name) }}`, missing},
		{`{{ if .Name }}x{{ else }}{{ .Name }}{{ end }}`, missing},
		{`{{ if .Values.none }}x{{ end }}`, missing}, // it may be a typing error

		{`{{ if .Name }}{{ .Name }}{{ else }}nameless{{ end }}`, "nameless"},
		{`{{ if .Serial }}{{ .Serial }}{{ end }}`, ""},
		{`{{ if or .Name .Labels.rack }}x{{ end }}`, ""},
		{`{{ if eq (lower .Name) "web" }}x{{ end }}`, ""},
		{`{{ if .Name | eq "" }}x{{ end }}`, "x"},
		{`{{ if .Name }}{{ .Name }}{{ end }}.`, "."},
		{`{{ or .Name "nameless" }}`, "nameless"},
		{`{{ "nameless" | or .Name }}`, "nameless"},
		{`{{ or .Name .Image | upper }}`, "WEB"},
		{`{{ get .Values "role" "none" }}`, "none"},
		{`{{ get .Values "x" "" }}`, ""},
		{`{{ get .Values "x" "" | yaml }}`, `""`},
		{`{{ get .Values "x" .Image }}`, "web"},
		{`{{ "" }}`, ""},
	} {
		f := clone.Facts{Image: "web", Serial: "$(x)", Labels: map[string]string{"rack": ""}, Values: map[string]string{"role": ""}}
		got, _, err := clone.Render(api.Identity{Credentials: map[string]string{"x": tt.text}}, f)
		if tt.want == missing {
			if err == nil || !strings.Contains(err.Error(), missing) {
				t.Errorf("Render(%q) = %q, %v; want an error: %s", tt.text, got.Credentials["x"], err, missing)
			}
			continue
		}
		if err != nil || got.Credentials["x"] != tt.want {
			t.Errorf("Render(%q) = %q, %v; want %q", tt.text, got.Credentials["x"], err, tt.want)
		}
	}
	// In every field, and an entry that an if leaves out is not there.
	name := "{{ .Name }}"
	for _, tpl := range []api.Identity{
		{Hostname: name},
		{MachineID: name},
		{DNS: []string{name}},
		{Search: []string{"example.org", name}},
		{Network: []api.Link{{MAC: name, DHCP: true}}},
		{Network: []api.Link{{Name: name, DHCP: true}}},
		{Network: []api.Link{{Addresses: []string{name}}}},
		{Network: []api.Link{{DHCP: true, Gateway: name}}},
		{AuthorizedKeys: map[string][]string{"root": {name}}},
		{Files: []api.File{{Path: "/etc/x" + name}}},
		{Files: []api.File{{Path: "/etc/x", Content: name}}},
		{CloudInit: &api.CloudInit{UserData: name}},
		{CloudInit: &api.CloudInit{MetaData: name}},
		{CloudInit: &api.CloudInit{NetworkConfig: name}},
		{CloudInit: &api.CloudInit{VendorData: name}},
		{Network: []api.Link{{Addresses: []string{"{{ if .Name }}10.0.0.5/24{{ end }}"}}}},
	} {
		if _, _, err := clone.Render(tpl, clone.Facts{}); err == nil {
			t.Errorf("Render(%+v) for a machine without a name = nil; want an error", tpl)
		}
	}
}

func TestCheck(t *testing.T) {
	link := func(l api.Link) api.Identity { return api.Identity{Network: []api.Link{l}} }
	path := func(p string) api.Identity { return api.Identity{Files: []api.File{{Path: p}}} }
	for _, tt := range []struct {
		id   api.Identity
		want string // empty: it is sound
	}{
		{api.Identity{}, ""},
		{api.Identity{Hostname: "web-1.example"}, ""},
		{api.Identity{Hostname: "-web"}, "host name"},
		{api.Identity{Hostname: "web_1"}, "host name"},
		{api.Identity{Hostname: "a..b"}, "host name"},
		{api.Identity{Hostname: strings.Repeat("a", 64)}, "host name"},
		{api.Identity{Hostname: strings.Repeat("a.", 40) + "a"}, "64 bytes"},
		{api.Identity{MachineID: "0123456789abcdef0123456789abcdef"}, ""},
		{api.Identity{MachineID: strings.Repeat("0", 32)}, "machineID"},
		{api.Identity{SSHHostKeys: "maybe"}, "want one of new, keep"},
		{api.Identity{Beacon: "tcp"}, "want one of unit"},
		{api.Identity{BeaconURL: "http://x"}, "filled in by the server"},
		{api.Identity{Beacon: "cloud-init", CloudInit: &api.CloudInit{VendorData: "x"}}, "vendorData"},
		{api.Identity{DNS: []string{"10.0.0.1", "fd00::1"}, Search: []string{"example.org"}}, ""},
		{api.Identity{DNS: []string{"dns.example"}}, "not an IP"},
		{link(api.Link{DHCP: true}), ""},
		{link(api.Link{}), "neither dhcp"},
		{link(api.Link{MAC: "52:54:00:12:34:56", Name: "eth0", DHCP: true}), "mac and name"},
		{link(api.Link{MAC: "5254.0012.3456", DHCP: true}), "not a MAC"},
		{link(api.Link{Name: "eth0\nx", DHCP: true}), "name of a network"},
		{link(api.Link{Name: "eth/0", DHCP: true}), "name of a network"},
		{link(api.Link{Addresses: []string{"10.0.0.5"}}), "prefix length"},
		{link(api.Link{Addresses: []string{"0.0.0.0/24"}}), "not the address of a machine"},
		{link(api.Link{DHCP: true, Gateway: "fe80::1%eth0"}), "not an IP"},
		{link(api.Link{DHCP: true, MTU: 9000}), ""},
		{link(api.Link{DHCP: true, MTU: 67}), "mtu"},
		{api.Identity{Network: []api.Link{{DHCP: true}, {DHCP: true}}}, "same link"},
		{path("/etc/motd"), ""},
		{path("etc/motd"), "absolute"},
		{path("/etc/../dev/sda"), "absolute"},
		{path("/etc//motd"), "absolute"},
		{path("/etc/motd/"), "absolute"},
		{path("/"), "absolute"},
		{path("/proc/sys/x"), "below /proc"},
		{path("/dev"), "below /dev"},
		{path("/device"), ""},
		{path("/etc/a\nb"), "control"},
		{path(""), "no path"},
		{api.Identity{Files: []api.File{{Path: "/a"}, {Path: "/a"}}}, "twice"},
		{api.Identity{Files: []api.File{{Path: "/a", Mode: "0640", Owner: "www-data", Group: "adm"}}}, ""},
		{api.Identity{Files: []api.File{{Path: "/a", Mode: "0999"}}}, "octal"},
		{api.Identity{Files: []api.File{{Path: "/a", Mode: "17777"}}}, "octal"},
		{api.Identity{Files: []api.File{{Path: "/a", Owner: "a:b"}}}, "user or group"},
		{api.Identity{AuthorizedKeys: map[string][]string{"root": {"ssh-ed25519 AAAA x"}}}, ""},
		{api.Identity{AuthorizedKeys: map[string][]string{"root": {"a\nb"}}}, "more than one line"},
		{api.Identity{AuthorizedKeys: map[string][]string{"../x": {"a"}}}, "user or group"},
		{api.Identity{Credentials: map[string]string{"a/b": "x"}}, "credential"},
		{api.Identity{Credentials: map[string]string{"passwd.plaintext": "x\ny"}}, ""},
		{api.Identity{Credentials: map[string]string{"x": "{{ .Values.x"}}, "line 1"},
		{api.Identity{Files: []api.File{{Path: "/a", Content: strings.Repeat("x", 512<<10)}}}, "more than 524288"},
	} {
		err := clone.Check(tt.id)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("Check(%.200v) = %v; want %q", tt.id, err, tt.want)
		}
	}
}

// FuzzRender puts foreign templates and values together. Whatever comes out
// passes the checks, and a value adds no line.
func FuzzRender(f *testing.F) {
	f.Add("{{ .Values.v | yaml }}", "a\"b", "/etc/x", "web-1")
	f.Add("{{ if eq .Name .Values.v }}{{ .Labels.v }}{{ end }}\n", "'", "/etc/{{ .Name }}", "{{ .Name }}")
	f.Add("{{ get .Values `x` .Name | shell }}{{/* c */}}", "$(x)", "/a", "{{ .Values.v }}")
	f.Add("{{ range . }}{{ template `x` }}{{ end }}", "\u2028", "/a/../b", "")
	f.Fuzz(func(t *testing.T, content, value, path, hostname string) {
		tpl := api.Identity{Hostname: hostname, Files: []api.File{{Path: path, Content: content}}}
		_ = clone.Check(tpl)
		out, digest, err := clone.Render(tpl, clone.Facts{
			Name: "n", MAC: value, Serial: value, Hostname: "h",
			Labels: map[string]string{"v": value}, Values: map[string]string{"v": value},
		})
		if err != nil {
			return
		}
		if digest != out.Digest() {
			t.Errorf("digest %s; want %s", digest, out.Digest())
		}
		if got, most := strings.Count(out.Files[0].Content, "\n"), strings.Count(content, "\n")+strings.Count(content, `\`); got > most {
			t.Errorf("Render(%q, %q) = %q: %d lines; want at most %d", content, value, out.Files[0].Content, got, most)
		}
		again := out
		again.BeaconURL = ""
		for _, s := range []*string{&again.Files[0].Content, &again.Files[0].Path} {
			if strings.Contains(*s, "{{") {
				return // reads as a template
			}
		}
		if err := clone.Check(again); err != nil {
			t.Errorf("Check(Render) = %v", err)
		}
	})
}
