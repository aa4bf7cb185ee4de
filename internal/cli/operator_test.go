package cli

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
)

var update = flag.Bool("update", false, "write the golden files anew")

// canary is a text that takes a terminal over, if one lets it.
const canary = "\x1b]0;owned\a\u202eevil\r\n\x9b2J"

var canaryBytes = regexp.MustCompile("[\x00-\x08\x0b-\x1f\x7f]|\u202e|\u009b")

func goldenFile(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// sampleRoom has a machine of every kind that a list shows in its own way.
func sampleRoom() []api.Machine {
	armed := &api.Armed{Plan: api.Plan{ID: "p1", Image: api.PlanImage{Name: "web"}}}
	return []api.Machine{
		{ID: "52:54:00:00:00:01", MAC: "52:54:00:00:00:01", State: api.MachineDiscovered, Waiting: true, LastSeen: noon.Add(-9 * time.Second), Message: "waits to be armed"},
		{
			ID: "m2", MAC: "52:54:00:00:00:02", State: api.MachineFlashing, Armed: armed, LastSeen: noon,
			Spec:     api.Spec{Name: "web-1", Labels: map[string]string{"rack": "b7", "role": "web"}},
			Progress: &api.Progress{Phase: "write", Done: 430 << 20, Total: 1000 << 20, Rate: 210 << 20}, Message: "writing",
		},
		{
			ID: "m3", State: api.MachineFlashing, Armed: armed, LastSeen: noon.Add(-70 * time.Second), Stuck: noon.Add(-40 * time.Second),
			Spec:     api.Spec{Name: "web-2", Labels: map[string]string{"rack": "b7"}},
			Progress: &api.Progress{Phase: "read back", Done: 990 << 20, Total: 1000 << 20, Rate: 99 << 20}, Message: "reading back",
		},
		{
			ID: "m4", State: api.MachineFailed, Cause: "disk-ambiguous", LastSeen: noon.Add(-3 * time.Hour),
			Spec:    api.Spec{Name: "db-1.example.org"},
			Message: "the rule smallest means two disks: sda (480.1 GB, SAMSUNG MZ7, S1) and sdb (480.1 GB, SAMSUNG MZ7, S2); name one by its serial",
		},
		{ID: "m5", State: api.MachineRunning, Spec: api.Spec{Name: "日本語ホスト"}, Conflict: "a second agent (session 7f) says it is this machine"},
	}
}

func TestMachineTable(t *testing.T) {
	for _, width := range []int{40, 80, 200, 0} {
		var b strings.Builder
		machineTable(sampleRoom(), noon).Write(&b, width, term.Palette{})
		goldenFile(t, fmt.Sprintf("machines-%d.txt", width), b.String())
		for line := range strings.Lines(b.String()) {
			if n := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); width > 60 && n > width {
				t.Errorf("width %d: a line has %d cells: %s", width, n, line)
			}
		}
	}
	var b strings.Builder
	machineTable(sampleRoom(), noon).Write(&b, 80, term.Palette{On: true})
	if !strings.Contains(b.String(), "\x1b[31mfailed") {
		t.Errorf("with colour:\n%s", b.String())
	}
	if plain := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(b.String(), ""); plain == b.String() {
		t.Error("there is no colour")
	} else if got, _ := os.ReadFile("testdata/golden/machines-80.txt"); string(got) != plain {
		t.Errorf("colour moves columns:\n%s", plain)
	}
}

func samplePreviews() []*target {
	disk := &api.Disk{Name: "nvme0n1", Size: 480103981056, Serial: "S4EWNX0R", Model: "SAMSUNG MZVLB"}
	image := api.Image{Name: "web", Digest: "sha256:0123456789abcdef0123", Size: 4 << 30}
	room := sampleRoom()
	return []*target{
		{preview: api.Preview{
			Machine: room[1], Image: image, Disk: disk, Digest: "d2", Request: api.FlashRequest{Image: "web", Identity: "plain"},
			Lost: []string{"1: EFI system, vfat, 512.0 MiB", "2: ext4 \"root\" with a label that is long enough to need a second line, 446.6 GiB"}, Kept: []string{"3 (data)"},
			Warnings: []string{"the inventory is 3 days old"},
		}},
		{preview: api.Preview{Machine: room[2], Image: image, Disk: disk, Digest: "d3", Lost: []string{"LVM2, volume group vg0"}, Refusal: "the disk holds LVM2: --wipe overwrites it"}, err: fmt.Errorf("refused")},
		{preview: api.Preview{Machine: room[3], Image: image, Digest: "d4", Warnings: []string{"never seen: what is on its disk is not known"}}},
	}
}

func TestPreviewTable(t *testing.T) {
	for _, width := range []int{80, 200} {
		var b strings.Builder
		previewTable(samplePreviews()).Write(&b, width, term.Palette{})
		goldenFile(t, fmt.Sprintf("preview-%d.txt", width), b.String())
		if strings.Contains(b.String()[:strings.Index(b.String(), "web-2")], "…") {
			t.Errorf("width %d: what is lost is cut off:\n%s", width, b.String())
		}
	}
}

func flashRoom(t *testing.T) *fakeServer {
	t.Helper()
	room := sampleRoom()[1:4]
	for i := range room {
		room[i].State, room[i].Armed, room[i].Progress, room[i].Stuck, room[i].Cause = api.MachineRegistered, nil, nil, time.Time{}, ""
	}
	f := newFake(t, room...)
	for _, x := range samplePreviews() {
		f.previews[x.preview.Machine.ID] = x.preview
	}
	return f
}

// One that is refused does not stop the others, and what is armed is what was
// shown.
func TestFlashArmsWhatWasShown(t *testing.T) {
	f := flashRoom(t)
	got := f.run(t, "flash", "web-1", "m2", "web-2", "db-1.example.org", "--image", "web", "--yes", "--expires", "1h", "--confirm", "tcp:22")
	if got.code != exit.CodeRefused {
		t.Errorf("exit code %d; want %d", got.code, exit.CodeRefused)
	}
	want := map[string]api.FlashRequest{}
	for id, shown := range map[string]string{"m2": "d2", "m4": "d4"} {
		want[id] = api.FlashRequest{Image: "web", Expires: 3600, Confirm: &api.Confirm{Probe: "tcp:22"}, Shown: shown}
	}
	if diff := cmp.Diff(want, f.flashed); diff != "" {
		t.Errorf("armed (-want +got):\n%s", diff)
	}
	for _, text := range []string{"web-1 is armed with web", "2 of 3 armed"} {
		if !strings.Contains(got.stdout, text) {
			t.Errorf("stdout = %q; want %q", got.stdout, text)
		}
	}
	for _, text := range []string{"lost: 1: EFI system", "kept: 3 (data)", "warning: the inventory", "gild: web-2: the disk holds LVM2"} {
		if !strings.Contains(got.stderr, text) {
			t.Errorf("stderr = %q; want %q", got.stderr, text)
		}
	}
}

func TestFlashRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		set  func(*fakeServer)
		code int
		say  string
	}{
		"no terminal":      {args: []string{"web-1", "--image", "web"}, code: exit.CodeRefused, say: "hint: add --yes"},
		"nothing named":    {args: []string{"--image", "web", "--yes"}, code: exit.CodeUsage, say: "no machine is named"},
		"empty selector":   {args: []string{"--image", "web", "--yes", "-l", ""}, code: exit.CodeUsage, say: "it is empty"},
		"blank selector":   {args: []string{"--image", "web", "--yes", "-l", " "}, code: exit.CodeUsage, say: "it is empty"},
		"beside a name":    {args: []string{"web-1", "--image", "web", "--yes", "-l", ""}, code: exit.CodeUsage, say: "it is empty"},
		"both":             {args: []string{"web-1", "-l", "rack=b7", "--yes"}, code: exit.CodeUsage, say: "at once"},
		"none match":       {args: []string{"-l", "rack=zz", "--yes"}, code: exit.CodeNotFound, say: "no machine matches"},
		"unknown":          {args: []string{"nobody", "--yes"}, code: exit.CodeNotFound, say: "nobody: no machine"},
		"dry run":          {args: []string{"web-1", "--dry-run"}, code: exit.CodeOK, say: "nothing was armed"},
		"dry run, refused": {args: []string{"web-2", "--dry-run"}, code: exit.CodeRefused, say: "LVM2"},
		"half a second":    {args: []string{"web-1", "--expires", "1500ms"}, code: exit.CodeUsage, say: "whole seconds"},
		"changed since": {
			args: []string{"web-1", "--yes"}, set: func(f *fakeServer) { f.refused["m2"] = http.StatusConflict },
			code: exit.CodeRefused, say: "has changed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := flashRoom(t)
			if tt.set != nil {
				tt.set(f)
			}
			got := f.run(t, append([]string{"flash"}, tt.args...)...)
			if got.code != tt.code || !strings.Contains(got.stderr, tt.say) {
				t.Errorf("%+v; want exit code %d and %q", got, tt.code, tt.say)
			}
			if len(f.flashed) > 0 {
				t.Errorf("armed: %v; want none", f.flashed)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	f := newFake(t, sampleRoom()...)
	f.machines[2].Writing = true
	got := f.run(t, "cancel", "web-1", "web-2")
	if got.code != exit.CodeRefused || !strings.Contains(got.stdout, "web-1 is not armed any more") || !strings.Contains(got.stderr, "web-2: the disk is being written") {
		t.Errorf("%+v", got)
	}
	if got := f.run(t, "cancel", "-l", "rack=b7"); got.code != exit.CodeRefused || strings.Contains(got.stderr, "web-1") {
		t.Errorf("by selector: %+v; want only what is armed to be meant", got)
	}
	if got := f.run(t, "cancel", "--force", "web-2"); got.code != exit.CodeOK || !strings.Contains(got.stdout, "does not boot") {
		t.Errorf("by force: %+v; want what it does told", got)
	}
	f.machines[2].Writing = true
	if got := f.run(t, "machine", "rm", "web-2"); got.code != exit.CodeRefused || len(f.machines) < 3 {
		t.Errorf("rm in mid-write: %+v; want it refused", got)
	}
	for _, args := range [][]string{{"machine", "rm"}, {"machine", "rm", "web-2", "-l", "state=discovered"}} {
		if got := f.run(t, args...); got.code != exit.CodeUsage || len(f.machines) < 3 {
			t.Errorf("%q: exit %d, %d machines left; want exit %d and all", args, got.code, len(f.machines), exit.CodeUsage)
		}
	}
	if got := f.run(t, "machine", "rm", "--force", "web-2"); got.code != exit.CodeOK || slices.ContainsFunc(f.machines, func(m api.Machine) bool { return m.Spec.Name == "web-2" }) {
		t.Errorf("rm by force: %+v; want it gone", got)
	}
}

func TestLasting(t *testing.T) {
	for text, want := range map[string]int{"2h": 7200, "90m": 5400, "10m5s": 605, "24h": 86400, "24h0m0s": 86400, "never": api.NeverExpires, "1s": 1} {
		var l lasting
		if err := l.Set(text); err != nil || int(l) != want {
			t.Errorf("Set(%q) = %d, %v; want %d", text, l, err, want)
		}
		again := l
		if err := again.Set(l.String()); err != nil || again != l {
			t.Errorf("Set(%q) = %d, %v; want what it came from", l.String(), again, err)
		}
	}
	for _, text := range []string{"", "0", "0s", "-1s", "1500ms", "1", "Never", "tomorrow"} {
		var l lasting
		if err := l.Set(text); err == nil {
			t.Errorf("Set(%q) = %d; want an error", text, l)
		}
	}
}

func TestMachineEdit(t *testing.T) {
	f := newFake(t, sampleRoom()...)
	if got := f.run(t, "machine", "edit", "-l", "rack=b7", "--label", "rack=c1", "--label", "role-", "--image", "db", "--within", "90s"); got.code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	for _, i := range []int{1, 2} {
		want := api.Spec{Name: f.machines[i].Spec.Name, Labels: map[string]string{"rack": "c1"}, Flash: api.Defaults{Image: "db", Confirm: &api.Confirm{Within: 90}}}
		if diff := cmp.Diff(want, f.machines[i].Spec); diff != "" {
			t.Errorf("spec (-want +got):\n%s", diff)
		}
	}
	// An empty text takes a setting back.
	if got := f.run(t, "machine", "edit", "web-1", "--image", "", "--within", "0s", "--name", "w"); got.code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	if diff := cmp.Diff(api.Spec{Name: "w", Labels: map[string]string{"rack": "c1"}}, f.machines[1].Spec); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	for _, args := range [][]string{
		{"machine", "edit", "w"},
		{"machine", "edit", "-l", "", "--label", "a=b"},
		{"machine", "ls", "-l", ""},
		{"cancel", "-l", ""},
		{"machine", "edit", "w", "--label", "rack"},
		{"machine", "edit", "w", "--label", "=x"},
		{"machine", "edit", "w", "web-2", "--serial", "S1"},
		{"machine", "add", "x", "--label", "a=b"},
	} {
		if got := f.run(t, args...); got.code != exit.CodeUsage {
			t.Errorf("gild %q: %+v; want exit code %d", args, got, exit.CodeUsage)
		}
	}
	if got := f.run(t, "machine", "add", "x", "--mac", "52:54:00:00:00:09,52:54:00:00:00:0a", "--value", "role=db"); got.code != exit.CodeOK || !strings.Contains(got.stdout, "x is registered") {
		t.Errorf("add: %+v", got)
	}
	// The answer of a server whose operator was faster is told as it is.
	f.race = "w"
	if got := f.run(t, "machine", "edit", "w", "--label", "a=b"); got.code != exit.CodeRefused || !strings.Contains(got.stderr, "w: changed by somebody else") {
		t.Errorf("an edit of what has changed since: %+v; want it refused", got)
	}
	if got := f.run(t, "machine", "rm", "x", "nobody"); got.code != exit.CodeNotFound || len(f.machines) != 5 {
		t.Errorf("rm: %+v, %d machines left", got, len(f.machines))
	}
}

func TestMachineShow(t *testing.T) {
	m := sampleRoom()[1]
	m.Inventory = &api.Inventory{
		UUID: "4c4c4544-0000", Vendor: "Dell", Product: "R650", CPU: "Xeon", CPUs: 32, Memory: 64 << 30,
		Disks: []api.Disk{{Name: "sda", Size: 480 << 30, Holds: []string{"GPT"}, Partitions: []api.Partition{{Number: 1, Size: 1 << 30, FileSystem: "ext4", Label: "root"}}}},
		NICs:  []api.NIC{{Name: "eth0", MAC: m.MAC, Driver: "ixgbe"}},
	}
	f := newFake(t, m)
	f.flashes = []api.Flash{{Image: api.PlanImage{Name: "web"}, Outcome: "failed", Cause: "disk-error", Message: "EIO", By: "operator", Armed: noon, Phases: []api.Phase{
		{Step: "network", Start: noon, End: noon.Add(1200 * time.Millisecond), State: api.StateDone}, {Step: "flash", Start: noon, State: api.StateFailed},
	}}}
	for i := range 30 {
		f.log = append(f.log, api.LogEntry{Machine: "m2", Event: api.Event{Time: noon, Step: fmt.Sprintf("step%d", i), State: api.StateDone}})
	}
	got := f.run(t, "machine", "show", "web-1")
	for _, text := range []string{"Dell R650", "1: 1.0 GiB ext4 root", "network 1.2s, flash failed", "failed: disk-error", "step29", "rack=b7,role=web", "no carrier"} {
		if !strings.Contains(got.stdout, text) {
			t.Errorf("show = %s; want %q", got.stdout, text)
		}
	}
	if strings.Contains(got.stdout, "step9 ") {
		t.Error("show prints old events; want the newest 20")
	}
	var v struct {
		Name    struct{ Name string } `json:"spec"`
		Flashes []api.Flash
		Events  []api.Event
	}
	if err := json.Unmarshal([]byte(f.run(t, "machine", "show", "web-1", "--json").stdout), &v); err != nil || len(v.Events) != 30 || len(v.Flashes) != 1 {
		t.Errorf("--json: %v, %+v", err, v)
	}
}

// Whatever a machine or a server says, it takes over no terminal.
func TestForeignTextIsPrintable(t *testing.T) {
	m := api.Machine{
		ID: canary, MAC: canary, State: canary, Message: canary, Cause: canary, Conflict: canary, Firmware: canary, Address: canary, Since: noon,
		Spec:  api.Spec{Labels: map[string]string{canary: canary}, Values: map[string]string{canary: canary}, Serial: canary, Flash: api.Defaults{Image: canary, Keep: []string{canary}}},
		Armed: &api.Armed{By: canary, Plan: api.Plan{Disk: canary, Image: api.PlanImage{Name: canary}}}, Awaited: &api.Awaited{Probe: canary},
		Progress: &api.Progress{Phase: canary, Done: 5, Total: 4},
		Inventory: &api.Inventory{
			Vendor: canary, Serial: canary, CPU: canary, Memory: 1,
			Disks: []api.Disk{{Name: canary, Model: canary, Serial: canary, Transport: canary, Holds: []string{canary}, Partitions: []api.Partition{{FileSystem: canary, Label: canary}}}},
			NICs:  []api.NIC{{Name: canary, MAC: canary, Driver: canary}},
		},
	}
	named := m
	named.ID, named.Spec.Name = "x", canary
	e := api.Event{Step: canary, State: canary, Message: canary, Cause: canary, Actor: canary, To: canary}
	fl := api.Flash{Image: m.Armed.Plan.Image, By: canary, Outcome: canary, Cause: canary, Message: canary, Receipt: &api.Receipt{Disk: m.Inventory.Disks[0], Handoff: canary}, Phases: []api.Phase{{Step: canary}}}
	p := api.Preview{Machine: named, Image: api.Image{Name: canary, Digest: canary}, Disk: &m.Inventory.Disks[0], Lost: []string{canary}, Kept: []string{canary}, Warnings: []string{canary}, Refusal: canary}
	f := newFake(t, m, named)
	f.flashes, f.log, f.previews["x"] = []api.Flash{fl}, []api.LogEntry{{Machine: "x", Name: canary, Event: e}}, p
	for _, args := range [][]string{
		{"machine", "ls"},
		{"machine", "show", "x"},
		{"events"},
		{"watch"},
		{"flash", "x", "--yes"},
		{"machine", "edit", "x", "--label", "a=b"},
		{"cancel", "x"},
		{"__complete", "machine", "show", ""},
		{"flash", canary, "--yes"},
	} {
		got := f.run(t, args...)
		if bad := canaryBytes.FindString(got.stdout + got.stderr); bad != "" {
			t.Errorf("gild %q prints %q:\n%q\n%q", args, bad, got.stdout, got.stderr)
		}
	}
}

func TestToken(t *testing.T) {
	f := newFake(t, sampleRoom()...)
	f.token = "s3cret-canary"
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("token", f.token+"\n")
	wrong, empty := write("token", "s3cret-wrong"), write("token", "")
	for name, tt := range map[string]struct {
		args []string
		env  map[string]string
		code int
	}{
		"none":             {code: exit.CodeDenied},
		"flag":             {args: []string{"--token-file", good}, code: exit.CodeOK},
		"file in the env":  {env: map[string]string{"GILD_TOKEN_FILE": good}, code: exit.CodeOK},
		"env":              {env: map[string]string{"GILD_TOKEN": f.token}, code: exit.CodeOK},
		"wrong":            {args: []string{"--token-file", wrong}, code: exit.CodeDenied},
		"flag wins":        {args: []string{"--token-file", wrong}, env: map[string]string{"GILD_TOKEN": f.token}, code: exit.CodeDenied},
		"empty":            {args: []string{"--token-file", empty}, code: exit.CodeInput},
		"missing":          {args: []string{"--token-file", "/none"}, code: exit.CodeNotFound},
		"two lines":        {env: map[string]string{"GILD_TOKEN": "s3cret\r\nX: y"}, code: exit.CodeInput},
		"endless":          {args: []string{"--token-file", "/dev/zero"}, code: exit.CodeInput},
		"ca of no sort":    {args: []string{"--ca", good, "--token-file", good}, code: exit.CodeInput},
		"another protocol": {args: []string{"--server", "ftp://127.0.0.1"}, code: exit.CodeUsage},
	} {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr strings.Builder
			code := Main(t.Context(), append([]string{"machine", "ls", "--server", f.URL}, tt.args...), Surroundings{
				strings.NewReader(""), &stdout, &stderr, func(k string) string {
					if v, ok := tt.env[k]; ok || k != "GILD_DATA" {
						return v
					}
					return t.TempDir()
				}, nil,
			})
			if code != tt.code {
				t.Errorf("exit code %d, %q; want %d", code, stderr.String(), tt.code)
			}
			if strings.Contains(stdout.String()+stderr.String(), "s3cret") {
				t.Errorf("the token is shown: %q", stderr.String())
			}
		})
	}
}

// The token is not handed on to where an answer points.
func TestTokenStaysHome(t *testing.T) {
	f := newFake(t)
	thief := newFake(t)
	f.Config.Handler = http.RedirectHandler(thief.URL+api.PathMachines, http.StatusTemporaryRedirect)
	if got := gild(t, t.TempDir(), nil, "--server", f.URL, "machine", "ls"); got.code != exit.CodeFailed || len(thief.asked) > 0 {
		t.Errorf("redirected: %+v, asked %q; want a failure and nobody asked", got, thief.asked)
	}
}

func TestTLS(t *testing.T) {
	f := newFake(t, sampleRoom()...)
	handler := f.Config.Handler
	secure := newTLS(t, handler)
	if got := gild(t, t.TempDir(), nil, "--server", secure.URL, "machine", "ls"); got.code != exit.CodeNoServer {
		t.Errorf("an unknown certificate: %+v; want exit code %d", got, exit.CodeNoServer)
	}
	if got := gild(t, t.TempDir(), nil, "--server", secure.URL, "--ca", secure.ca, "machine", "ls"); got.code != exit.CodeOK {
		t.Errorf("--ca: %+v", got)
	}
}

func TestServers(t *testing.T) {
	f := newFake(t)
	if got := f.run(t, "servers"); got.code != exit.CodeOK || !strings.Contains(got.stdout, "http://192.0.2.1:8080") {
		t.Errorf("%+v", got)
	}
}

func TestTableOfNothing(t *testing.T) {
	f := newFake(t)
	if got := f.run(t, "machine", "ls"); got.code != exit.CodeOK || !strings.HasPrefix(got.stdout, "MACHINE") {
		t.Errorf("%+v", got)
	}
	if got := f.run(t, "machine", "ls", "--json"); got.stdout != "[]\n" {
		t.Errorf("%+v", got)
	}
}

func TestLapseText(t *testing.T) {
	for seconds, want := range map[int]string{86400: "24h after it is armed", 5400: "1h30m after it is armed", 605: "10m5s after it is armed", -1: "never"} {
		if got := lapseText(seconds); got != want {
			t.Errorf("lapseText(%d) = %q; want %q", seconds, got, want)
		}
	}
}
