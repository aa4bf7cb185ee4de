package power_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
)

var gild = clitest.Main(cli.Main)

// room has three machines, all of whose power is on.
func room(t *testing.T) *clitest.Fake {
	t.Helper()
	f := clitest.NewFake(t, clitest.Fleet()[1:4]...)
	f.Fates = map[string]api.PowerOutcome{}
	for _, m := range f.Machines {
		f.Fates[m.ID] = api.PowerOutcome{ID: m.ID, Name: m.Spec.Name, Done: true, State: "on"}
	}
	return f
}

func TestVerbs(t *testing.T) {
	for line, tt := range map[string]struct {
		want api.PowerRequest
		say  string
	}{
		"status web-1":                     {api.PowerRequest{Verb: "status", Within: 600}, "web-1 on\n"},
		"on web-1 --spread 1s --at-once 3": {api.PowerRequest{Verb: "on", Within: 600, Spread: 1000, AtOnce: 3}, "web-1 on\n"},
		"on web-1 --spread 0s":             {api.PowerRequest{Verb: "on", Within: 600, Spread: -1}, "web-1 on\n"},
		"off web-1 -y --orderly --reason memory": {
			api.PowerRequest{Verb: "off", Within: 600, Orderly: true, Reason: "memory"},
			"web-1 on\n",
		},
		"cycle web-1 --yes --force --within 90s": {
			api.PowerRequest{Verb: "cycle", Within: 90, Spread: 200, Force: true},
			"web-1 cycled, is on\n",
		},
		"reset web-1 --yes": {api.PowerRequest{Verb: "reset", Within: 600}, "web-1 restarted\n"},
		"boot-once web-1": {
			api.PowerRequest{Verb: "boot-once", Within: 600, From: "network"},
			"web-1 boots from network next, is on\n",
		},
		"boot-once web-1 --from http://10.0.0.1/x.efi": {
			api.PowerRequest{Verb: "boot-once", Within: 600, From: "http://10.0.0.1/x.efi"},
			"boots from http://10.0.0.1/x.efi next",
		},
		"identify web-1":          {api.PowerRequest{Verb: "identify", Within: 600, Seconds: 15}, "web-1 lamp lit\n"},
		"identify web-1 --for 0s": {api.PowerRequest{Verb: "identify", Within: 600}, "web-1 lamp off\n"},
	} {
		f := room(t)
		got := gild.Ask(t, f, append([]string{"power"}, strings.Fields(line)...)...)
		tt.want.Machines = []string{"m2"}
		if got.Code != exit.CodeOK || !strings.Contains(got.Stdout, tt.say) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want %q", line, got.Code, got.Stdout, got.Stderr, tt.say)
		}
		if diff := cmp.Diff([]api.PowerRequest{tt.want}, f.Powered); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

// Each fate is told, and one that fails does not hide the others.
func TestFates(t *testing.T) {
	f := room(t)
	f.Fates["m3"] = api.PowerOutcome{
		ID: "m3", Name: "web-2", State: "unknown", Kind: "denied", Error: "login: denied" + clitest.Canary,
		Hint: "check the password",
	}
	delete(f.Fates, "m4")
	got := gild.Ask(t, f, "power", "status", "web-1", "web-2", "db-1.example.org", "nobody")
	if got.Code != exit.CodeNotFound || got.Stdout != "web-1 on\n" {
		t.Errorf("exit code %d, stdout %q; want %d, and web-1", got.Code, got.Stdout, exit.CodeNotFound)
	}
	for _, text := range []string{
		"web-2: login: denied", "check the password", "nobody: unknown machine",
		"it is not known what became of db-1.example.org",
	} {
		if !strings.Contains(got.Stderr, text) {
			t.Errorf("stderr = %q; want %q", got.Stderr, text)
		}
	}
	if clitest.CanaryBytes.MatchString(strings.ReplaceAll(got.Stderr, "\n", "")) {
		t.Errorf("stderr = %q takes a terminal over", got.Stderr)
	}
	got = gild.Ask(t, f, "power", "status", "web-1", "web-2", "--json")
	var outcomes []api.PowerOutcome
	if err := json.Unmarshal([]byte(got.Stdout), &outcomes); err != nil || len(outcomes) != 2 || got.Code != exit.CodeFailed {
		t.Errorf("--json: %v, exit code %d, %q", err, got.Code, got.Stdout)
	}
	f.Fates["m3"] = api.PowerOutcome{
		ID: "m3", Name: "web-2", State: "unknown", Kind: "refused", Error: "its disk is being written",
		Hint: "wait",
	}
	got = gild.Ask(t, f, "power", "off", "web-2", "--yes")
	if got.Code != exit.CodeRefused || !strings.Contains(got.Stderr, "web-2: its disk is being written; wait") {
		t.Errorf("a refusal: exit code %d, stderr %q", got.Code, got.Stderr)
	}
}

// Nothing is touched by mistake.
func TestRefusals(t *testing.T) {
	for line, want := range map[string]int{
		"off web-1": exit.CodeRefused, "cycle -l rack=b7": exit.CodeRefused, "reset web-1": exit.CodeRefused, // no terminal
		"on": exit.CodeUsage, "status": exit.CodeUsage, "on --selector=": exit.CodeUsage, "on web-1 -l rack=b7": exit.CodeUsage,
		"on nobody": exit.CodeNotFound, "on -l rack=none": exit.CodeNotFound,
		"on web-1 --within 0s": exit.CodeUsage, "on web-1 --within 2h": exit.CodeUsage, "on web-1 --spread 1us": exit.CodeUsage,
		"identify web-1 --for 10m": exit.CodeUsage, "status web-1 --yes": exit.CodeUsage, "melt web-1": exit.CodeUsage,
	} {
		f := room(t)
		got := gild.Ask(t, f, append([]string{"power"}, strings.Fields(line)...)...)
		if got.Code != want || len(f.Powered) > 0 {
			t.Errorf("%s: exit code %d, and %d requests; want %d, and none\n%s", line, got.Code, len(f.Powered), want, got.Stderr)
		}
	}
}

// A person is asked, with the names of those that are meant.
func TestAsks(t *testing.T) {
	for name, tt := range map[string]struct {
		args   []string
		prompt string
		answer string
		done   bool
	}{
		"yes":           {[]string{"off", "web-1"}, "The power of web-1 will be cut. Type yes", "yes\n", true},
		"no":            {[]string{"off", "web-1"}, "Type yes", "n\n", false},
		"an empty line": {[]string{"reset", "web-1"}, "web-1 will be restarted. Type yes", "\n", false},
		"their number": {
			[]string{"cycle", "web-1", "web-2"},
			"The power of 2 machines (web-1, web-2) will be cut and restored. Type 2",
			"2\n", true,
		},
		"yes to several": {[]string{"cycle", "web-1", "web-2"}, "Type 2", "yes\n", false},
		"orderly":        {[]string{"off", "--orderly", "web-1"}, "web-1 will be shut down.", "yes\n", true},
		"nothing to ask": {[]string{"on", "web-1"}, "web-1 on", "", true},
		"asked not to":   {[]string{"off", "web-1", "--yes"}, "web-1 on", "", true},
	} {
		t.Run(name, func(t *testing.T) {
			f := room(t)
			p := clitest.NewPTY(t, 200, 50)
			code := gild.On(t, p, f, nil, append([]string{"power"}, tt.args...)...)
			p.Expect(t, tt.prompt)
			if tt.answer != "" {
				if _, err := p.Main.WriteString(tt.answer); err != nil {
					t.Fatal(err)
				}
			}
			got := <-code
			f.Mu.Lock()
			defer f.Mu.Unlock()
			if (got == exit.CodeOK) != tt.done || (len(f.Powered) == 1) != tt.done {
				t.Errorf("exit code %d, and %d requests; want it done: %v", got, len(f.Powered), tt.done)
			}
		})
	}
}

// Of very many not all are named.
func TestAsksOfMany(t *testing.T) {
	var machines []api.Machine
	for i := range 30 {
		machines = append(machines, api.Machine{
			ID:   fmt.Sprint("m", i),
			Spec: api.Spec{Name: fmt.Sprint("n", i), Labels: map[string]string{"a": "b"}},
		})
	}
	f := clitest.NewFake(t, machines...)
	p := clitest.NewPTY(t, 200, 50)
	code := gild.On(t, p, f, nil, "power", "off", "-l", "a=b")
	p.Expect(t, "n19, ...) will be cut. Type 30")
	if _, err := p.Main.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	if got := <-code; got != exit.CodeRefused || len(f.Powered) > 0 {
		t.Errorf("exit code %d; want %d", got, exit.CodeRefused)
	}
}

// The flags of gild machine edit bring a power control into the spec, the
// password by a file or standard input alone.
func TestMachinePower(t *testing.T) {
	f := room(t)
	got := gild.Run(t, t.TempDir(), []byte("s3cret\n"), "--server", f.URL, "machine", "edit", "web-1",
		"--power-driver", "redfish", "--power-address", "10.0.9.7", "--power-user", "op", "--power-secret", "-")
	want := api.Power{Driver: "redfish", Address: "10.0.9.7", User: "op", Secret: "s3cret"}
	if i := slices.IndexFunc(f.Machines, func(m api.Machine) bool { return m.ID == "m2" }); got.Code != 0 ||
		!cmp.Equal(f.Machines[i].Spec.Power, want) {
		t.Errorf("edit: exit code %d, %+v; want %+v\n%s", got.Code, f.Machines[i].Spec.Power, want, got.Stderr)
	}
	if got := gild.Ask(t, f, "machine", "show", "web-1"); !strings.Contains(got.Stdout, "redfish at 10.0.9.7 as op") ||
		strings.Contains(got.Stdout, "s3cret") {
		t.Errorf("show: %s", got.Stdout)
	}
	if got := gild.Ask(t, f, "machine", "edit", "web-1", "--power-driver", ""); got.Code != 0 || !f.Machines[0].Spec.Power.Zero() {
		t.Errorf("edit: exit code %d, %+v; want none", got.Code, f.Machines[0].Spec.Power)
	}
	got = gild.Ask(t, f, "machine", "edit", "web-1", "--power-driver", "command", "--power-command", "outlet", "--power-command", "7")
	if p := f.Machines[0].Spec.Power; got.Code != 0 || !slices.Equal(p.Command, []string{"outlet", "7"}) {
		t.Errorf("edit: exit code %d, %+v", got.Code, p)
	}
	if got := gild.Run(t, t.TempDir(), nil, "--server", f.URL, "machine", "edit", "web-1", "--power-secret", "-"); got.Code != exit.CodeInput {
		t.Errorf("an empty password: exit code %d; want %d", got.Code, exit.CodeInput)
	}
}
