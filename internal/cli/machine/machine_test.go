package machine_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/settings"
)

var gild = clitest.Main(cli.Main)

func TestMachineEdit(t *testing.T) {
	f := clitest.NewFake(t, clitest.Fleet()...)
	if got := gild.Ask(t, f, "machine", "edit", "-l", "rack=b7", "--label", "rack=c1", "--label", "role-", "--image", "db", "--within",
		"90s"); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	for _, i := range []int{1, 2} {
		want := api.Spec{
			Name: f.Machines[i].Spec.Name, Labels: map[string]string{"rack": "c1"},
			Flash: settings.Settings{Image: "db", Confirm: &settings.Confirm{Within: 90}},
		}
		if diff := cmp.Diff(want, f.Machines[i].Spec); diff != "" {
			t.Errorf("spec (-want +got):\n%s", diff)
		}
	}
	// An empty text takes a setting back.
	if got := gild.Ask(t, f, "machine", "edit", "web-1", "--image", "", "--within", "0s", "--name", "w"); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	if diff := cmp.Diff(api.Spec{Name: "w", Labels: map[string]string{"rack": "c1"}}, f.Machines[1].Spec); diff != "" {
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
		if got := gild.Ask(t, f, args...); got.Code != exit.CodeUsage {
			t.Errorf("gild %q: %+v; want exit code %d", args, got, exit.CodeUsage)
		}
	}
	if got := gild.Ask(t, f, "machine", "add", "x", "--mac", "52:54:00:00:00:09,52:54:00:00:00:0a", "--value",
		"role=db"); got.Code != exit.CodeOK || !strings.Contains(got.Stdout, "x is registered") {
		t.Errorf("add: %+v", got)
	}
	// A new name that is refused is not what the machine is called.
	f.Race = "v"
	if got := gild.Ask(t, f, "machine", "edit", "w", "--name", "v"); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	if got := gild.Ask(t, f, "machine", "edit", "v", "--name", "w"); got.Code != exit.CodeRefused ||
		!strings.Contains(got.Stderr, "v: changed by somebody else") {
		t.Errorf("another name for what has changed since: %+v; want the old name in front", got)
	}
	f.Race = ""
	if got := gild.Ask(t, f, "machine", "edit", "v", "--name", "w"); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	// The answer of a server whose operator was faster is told as it is.
	f.Race = "w"
	if got := gild.Ask(t, f, "machine", "edit", "w", "--label", "a=b"); got.Code != exit.CodeRefused ||
		!strings.Contains(got.Stderr, "w: changed by somebody else") {
		t.Errorf("an edit of what has changed since: %+v; want it refused", got)
	}
	if got := gild.Ask(t, f, "machine", "rm", "x", "nobody"); got.Code != exit.CodeNotFound || len(f.Machines) != 5 {
		t.Errorf("rm: %+v, %d machines left", got, len(f.Machines))
	}
}

func TestMachineShow(t *testing.T) {
	m := clitest.Fleet()[1]
	m.Inventory = &api.Inventory{
		UUID: "4c4c4544-0000", Vendor: "Dell", Product: "R650", CPU: "Xeon", CPUs: 32, Memory: 64 << 30,
		Disks: []api.Disk{{
			Name: "sda", Size: 480 << 30, Holds: []string{"GPT"},
			Partitions: []api.Partition{{Number: 1, Size: 1 << 30, FileSystem: "ext4", Label: "root"}},
		}},
		NICs: []api.NIC{{Name: "eth0", MAC: m.MAC, Driver: "ixgbe"}},
	}
	f := clitest.NewFake(t, m)
	f.Flashes = []api.Flash{{
		Image: api.PlanImage{Name: "web"}, Outcome: "failed", Cause: "disk-error", Message: "EIO", By: "operator",
		Armed: clitest.Noon, Phases: []api.Phase{
			{Step: "network", Start: clitest.Noon, End: clitest.Noon.Add(1200 * time.Millisecond), State: api.StateDone},
			{Step: "flash", Start: clitest.Noon, State: api.StateFailed},
		},
	}}
	for i := range 30 {
		f.Log = append(f.Log, api.LogEntry{Machine: "m2", Event: api.Event{
			Time: clitest.Noon, Step: fmt.Sprintf("step%d", i),
			State: api.StateDone,
		}})
	}
	got := gild.Ask(t, f, "machine", "show", "web-1")
	for _, text := range []string{
		"Dell R650", "sda   515 GB", "1: 1.1 GB ext4 root", "64.0 GiB",
		"write 21%  430 of 1000 MiB  210 MiB/s  wire 70.0 MiB/s  ~45 s to running", "network 1.2s, flash failed", "failed: disk-error", "step29",
		"rack=b7,role=web", "no carrier",
	} {
		if !strings.Contains(got.Stdout, text) {
			t.Errorf("show = %s; want %q", got.Stdout, text)
		}
	}
	if strings.Contains(got.Stdout, "step9 ") {
		t.Error("show prints old events; want the newest 20")
	}
	var v struct {
		Name    struct{ Name string } `json:"spec"`
		Flashes []api.Flash
		Events  []api.Event
	}
	if err := json.Unmarshal([]byte(gild.Ask(t, f, "machine", "show", "web-1", "--json").Stdout), &v); err != nil || len(v.Events) != 30 ||
		len(v.Flashes) != 1 {
		t.Errorf("--json: %v, %+v", err, v)
	}
}

func TestTableOfNothing(t *testing.T) {
	f := clitest.NewFake(t)
	if got := gild.Ask(t, f, "machine", "ls"); got.Code != exit.CodeOK || !strings.HasPrefix(got.Stdout, "MACHINE") {
		t.Errorf("%+v", got)
	}
	if got := gild.Ask(t, f, "machine", "ls", "--json"); got.Stdout != "[]\n" {
		t.Errorf("%+v", got)
	}
}

// Forgetting asks a person, names what would go, and says what went.
func TestRmAsks(t *testing.T) {
	for name, tt := range map[string]struct {
		args   []string
		answer string // empty: nothing is asked
		left   int    // of five machines
		code   int
	}{
		"yes":          {[]string{"db-1.example.org"}, "yes\n", 4, exit.CodeOK},
		"no":           {[]string{"db-1.example.org"}, "n\n", 5, exit.CodeRefused},
		"several":      {[]string{"db-1.example.org", "m5"}, "2\n", 3, exit.CodeOK},
		"several, yes": {[]string{"db-1.example.org", "m5"}, "yes\n", 5, exit.CodeRefused},
		"selected":     {[]string{"-l", "rack=b7"}, "yes\n", 5, exit.CodeRefused},
		"told before":  {[]string{"db-1.example.org", "--yes"}, "", 4, exit.CodeOK},
	} {
		t.Run(name, func(t *testing.T) {
			f := clitest.NewFake(t, clitest.Fleet()...)
			p := clitest.NewPTY(t, 100, 24)
			code := gild.On(t, p, f, map[string]string{"NO_COLOR": "1"}, append([]string{"machine", "rm"}, tt.args...)...)
			if tt.answer != "" {
				p.Expect(t, "to forget")
				if _, err := p.Main.WriteString(tt.answer); err != nil {
					t.Fatal(err)
				}
			}
			if tt.code == exit.CodeOK {
				p.Expect(t, "db-1.example.org forgotten")
			}
			if got := <-code; got != tt.code || len(f.Machines) != tt.left {
				t.Errorf("exit code %d, %d machines left; want %d, %d\n%s", got, len(f.Machines), tt.code, tt.left, p.Text())
			}
		})
	}
	f := clitest.NewFake(t, clitest.Fleet()...)
	if got := gild.Ask(t, f, "machine", "rm", "m5"); got.Code != exit.CodeOK || !strings.Contains(got.Stdout, "forgotten") {
		t.Errorf("without a terminal: %+v", got)
	}
}

// -o wide shows the groups of a machine and what a flash without --image
// writes.
func TestWideShowsGroups(t *testing.T) {
	f := clitest.NewFake(t, clitest.Fleet()...)
	f.Machines[2].Spec.Flash.Image = "db"
	rows := map[string][]string{}
	got := gild.Ask(t, f, "machine", "ls", "-o", "wide", "--sort", "group")
	for line := range strings.Lines(got.Stdout) {
		if cells := regexp.MustCompile(` {2,}`).Split(line, -1); len(cells) > 4 {
			rows[cells[0]] = cells[3:5]
		}
	}
	want := map[string][]string{
		"MACHINE": {"DEFAULT", "GROUP"}, "web-1": {"web", "rack-b7"},
		"web-2": {"db", "rack-b7"}, "db-1.example.org": {"-", "-"},
	}
	for name := range want {
		if diff := cmp.Diff(want[name], rows[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s\n%s%s", name, diff, got.Stdout, got.Stderr)
		}
	}
}
