package flash_test

import (
	"slices"
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

func flashRoom(t *testing.T) *clitest.Fake {
	t.Helper()
	room := clitest.Fleet()[1:4]
	for i := range room {
		room[i].State, room[i].Armed, room[i].Progress, room[i].Stuck, room[i].Trouble = api.MachineRegistered, nil, nil, time.Time{}, nil
	}
	f := clitest.NewFake(t, room...)
	for _, p := range clitest.Previews() {
		f.Previews[p.Machine.ID] = p
	}
	return f
}

// One that is refused does not stop the others, and what is armed is what was
// shown.
func TestFlashArmsWhatWasShown(t *testing.T) {
	f := flashRoom(t)
	got := gild.Ask(t, f, "flash", "web-1", "m2", "web-2", "db-1.example.org", "--image", "web", "--yes", "--expires", "1h", "--confirm",
		"tcp:22")
	if got.Code != exit.CodeRefused {
		t.Errorf("exit code %d; want %d", got.Code, exit.CodeRefused)
	}
	want := map[string]api.FlashRequest{}
	for id, shown := range map[string]string{"m2": "d2", "m4": "d4"} {
		want[id] = api.FlashRequest{
			Settings: settings.Settings{Image: "web", Confirm: &settings.Confirm{Probe: "tcp:22"}}, Expires: 3600,
			Shown: shown,
		}
	}
	if diff := cmp.Diff(want, f.Flashed); diff != "" {
		t.Errorf("armed (-want +got):\n%s", diff)
	}
	for _, text := range []string{"web-1 armed with web", "2 of 3 armed"} {
		if !strings.Contains(got.Stdout, text) {
			t.Errorf("stdout = %q; want %q", got.Stdout, text)
		}
	}
	for _, text := range []string{"lost: 1: EFI system", "kept: 3 (data)", "warning: the inventory", "gild: web-2: the disk holds LVM2"} {
		if !strings.Contains(got.Stderr, text) {
			t.Errorf("stderr = %q; want %q", got.Stderr, text)
		}
	}
}

func TestFlashRefusals(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		set  func(*clitest.Fake)
		code int
		say  string
	}{
		"no terminal":      {args: []string{"web-1", "--image", "web"}, code: exit.CodeRefused, say: "hint: add --yes to skip the prompt"},
		"nothing named":    {args: []string{"--image", "web", "--yes"}, code: exit.CodeUsage, say: "no machine given"},
		"empty selector":   {args: []string{"--image", "web", "--yes", "-l", ""}, code: exit.CodeUsage, say: "it is empty"},
		"blank selector":   {args: []string{"--image", "web", "--yes", "-l", " "}, code: exit.CodeUsage, say: "it is empty"},
		"beside a name":    {args: []string{"web-1", "--image", "web", "--yes", "-l", ""}, code: exit.CodeUsage, say: "it is empty"},
		"both":             {args: []string{"web-1", "-l", "rack=b7", "--yes"}, code: exit.CodeUsage, say: "not both"},
		"none match":       {args: []string{"-l", "rack=zz", "--yes"}, code: exit.CodeNotFound, say: "no machine matches"},
		"unknown":          {args: []string{"nobody", "--yes"}, code: exit.CodeNotFound, say: `nobody: unknown machine "nobody"`},
		"dry run":          {args: []string{"web-1", "--dry-run"}, code: exit.CodeOK, say: "nothing was armed"},
		"dry run, refused": {args: []string{"web-2", "--dry-run"}, code: exit.CodeRefused, say: "LVM2"},
		"half a second":    {args: []string{"web-1", "--expires", "1500ms"}, code: exit.CodeUsage, say: "whole seconds"},
		"changed since": {
			args: []string{"web-1", "--yes"}, set: func(f *clitest.Fake) { f.Changed["m2"] = true },
			code: exit.CodeRefused, say: "has changed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := flashRoom(t)
			if tt.set != nil {
				tt.set(f)
			}
			got := gild.Ask(t, f, append([]string{"flash"}, tt.args...)...)
			if got.Code != tt.code || !strings.Contains(got.Stderr, tt.say) {
				t.Errorf("%+v; want exit code %d and %q", got, tt.code, tt.say)
			}
			if len(f.Flashed) > 0 {
				t.Errorf("armed: %v; want none", f.Flashed)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	f := clitest.NewFake(t, clitest.Fleet()...)
	f.Machines[2].Writing = true
	got := gild.Ask(t, f, "cancel", "web-1", "web-2")
	if got.Code != exit.CodeRefused || !strings.Contains(got.Stdout, "web-1 disarmed") ||
		!strings.Contains(got.Stderr, "web-2: cannot cancel web-2: its disk is being written") {
		t.Errorf("%+v", got)
	}
	if got := gild.Ask(t, f, "cancel", "-l", "rack=b7"); got.Code != exit.CodeRefused || strings.Contains(got.Stderr, "web-1") {
		t.Errorf("by selector: %+v; want only what is armed to be meant", got)
	}
	if got := gild.Ask(t, f, "cancel", "--force", "web-2"); got.Code != exit.CodeOK || !strings.Contains(got.Stdout, "does not boot") {
		t.Errorf("by force: %+v; want it to say what it does", got)
	}
	f.Machines[2].Writing = true
	if got := gild.Ask(t, f, "machine", "rm", "web-2"); got.Code != exit.CodeRefused || len(f.Machines) < 3 {
		t.Errorf("rm in mid-write: %+v; want it refused", got)
	}
	for _, args := range [][]string{{"machine", "rm"}, {"machine", "rm", "web-2", "-l", "state=discovered"}} {
		if got := gild.Ask(t, f, args...); got.Code != exit.CodeUsage || len(f.Machines) < 3 {
			t.Errorf("%q: exit %d, %d machines left; want exit %d and all", args, got.Code, len(f.Machines), exit.CodeUsage)
		}
	}
	if got := gild.Ask(t, f, "machine", "rm", "--force", "web-2"); got.Code != exit.CodeOK ||
		slices.ContainsFunc(f.Machines, func(m api.Machine) bool { return m.Spec.Name == "web-2" }) {
		t.Errorf("rm by force: %+v; want it gone", got)
	}
}

// The question names what is asked for, and only that is an answer.
func TestFlashAsks(t *testing.T) {
	for name, tt := range map[string]struct {
		machines []string
		question string
		answer   string
		armed    int
		code     int
	}{
		"one":           {[]string{"web-1"}, "Type yes", "yes\n", 1, exit.CodeOK},
		"one, no":       {[]string{"web-1"}, "Type yes", "y\n", 0, exit.CodeRefused},
		"several":       {[]string{"web-1", "db-1.example.org"}, "Type 2", "2\n", 2, exit.CodeOK},
		"several, yes":  {[]string{"web-1", "db-1.example.org"}, "Type 2", "yes\n", 0, exit.CodeRefused},
		"one is left":   {[]string{"web-1", "web-2"}, "Type yes", "yes\n", 1, exit.CodeRefused},
		"an empty line": {[]string{"web-1"}, "Type yes", "\n", 0, exit.CodeRefused},
	} {
		t.Run(name, func(t *testing.T) {
			f := flashRoom(t)
			p := clitest.NewPTY(t, 100, 24)
			code := gild.On(t, p, f, map[string]string{"NO_COLOR": "1"}, append([]string{"flash", "--image", "web"}, tt.machines...)...)
			p.Expect(t, tt.question)
			if len(f.Flashed) > 0 {
				t.Error("armed before the answer")
			}
			if _, err := p.Main.WriteString(tt.answer); err != nil {
				t.Fatal(err)
			}
			if got := <-code; got != tt.code || len(f.Flashed) != tt.armed {
				t.Errorf("exit code %d, %d armed; want %d, %d\n%s", got, len(f.Flashed), tt.code, tt.armed, p.Text())
			}
			if strings.Contains(p.Text(), "\x1b") {
				t.Errorf("NO_COLOR is set: %q", p.Text())
			}
		})
	}
}
