package watch_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/progress"
)

var gild = clitest.Main(cli.Main)

// A watch ends when all have ended, through a cut of the stream, and its exit
// code says how.
func TestWatchLines(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		end  string // of web-2
		code int
	}{
		"all well":  {end: api.MachineRunning, code: exit.CodeOK},
		"failed":    {end: api.MachineFailed, code: exit.CodeFailed},
		"not heard": {end: api.MachineUnconfirmed, code: exit.CodeFailed},
		"cancelled": {args: []string{"web-1", "web-2"}, end: api.MachineRegistered, code: exit.CodeFailed},
		"selected":  {args: []string{"-l", "rack=b7"}, end: api.MachineRunning, code: exit.CodeOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := clitest.NewFake(t, clitest.Armed()...)
			b := gild.Start(t, f, append([]string{"watch"}, tt.args...)...)
			f.WaitFor(t, "the stream", func() bool { return f.Streams() == 1 })
			f.State("m2", api.MachineFlashing, func(m *api.Machine) {
				m.Estimate = &progress.Estimate{
					Phase: "write", Percent: 25, DataDone: 1, DataTotal: 4, Rate: 3, Left: 200,
					Until: progress.UntilRunning,
				}
			})
			f.State("m3", api.MachineFlashing, func(m *api.Machine) {
				m.Stuck, m.Trouble = clitest.Noon, &api.Trouble{Cause: api.CauseSilent, Since: clitest.Noon}
			})
			// What was not heard before the cut may be over after it.
			f.WaitFor(t, "both", func() bool { return strings.Contains(b.Stdout.String(), "flashing, stuck") })
			f.Cut()
			f.WaitFor(t, "the stream again", func() bool { return f.Streams() == 2 })
			f.State("m3", tt.end, func(m *api.Machine) { m.Stuck, m.Trouble, m.Message = time.Time{}, nil, "that is all" })
			f.State("m2", api.MachineRunning, nil)
			if code := b.Wait(t); code != tt.code {
				t.Errorf("exit code %d; want %d\n%s\n%s", code, tt.code, b.Stdout.String(), b.Stderr.String())
			}
			out := b.Stdout.String()
			for _, text := range []string{
				"web-1              armed", "web-1              flashing: write 25%  1 of 4 B  3 B/s  ~3 min to running",
				"web-2              flashing, stuck", "connection to the server lost", "that is all", "all                ",
			} {
				if !strings.Contains(out, text) {
					t.Errorf("stdout = %s; want %q", out, text)
				}
			}
			if strings.Contains(out, "idle") || strings.Contains(out, "\x1b") {
				t.Errorf("stdout = %q; want no idle machine and no escape sequences", out)
			}
			if tt.code != exit.CodeOK && !strings.Contains(b.Stderr.String(), "gild: web-2 ") {
				t.Errorf("stderr = %q; want to know of web-2", b.Stderr.String())
			}
		})
	}
}

// A watch waits while a next try is promised, unless it is told otherwise.
func TestWatchWaitsForTries(t *testing.T) {
	trouble := func(m *api.Machine) {
		m.Trouble = &api.Trouble{Cause: api.CauseUnreachable, Since: clitest.Noon, Tries: 2, NextTry: time.Now().Add(time.Hour), Message: "EOF"}
	}
	for name, tt := range map[string]struct {
		args []string
		well bool // it runs in the end
		code int
		want string
	}{
		"waits":     {nil, true, exit.CodeOK, "2 running"},
		"fail fast": {[]string{"--fail-fast"}, false, exit.CodeFailed, "web-1 is in trouble: server-unreachable, tried 2 times since"},
		"timeout":   {[]string{"--timeout", "2s"}, false, exit.CodeFailed, "not all have ended within the timeout of 2s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := clitest.NewFake(t, clitest.Armed()...)
			b := gild.Start(t, f, append([]string{"watch"}, tt.args...)...)
			f.WaitFor(t, "the stream", func() bool { return f.Streams() == 1 })
			f.State("m2", api.MachineFlashing, trouble)
			f.WaitFor(t, "the trouble", func() bool { return strings.Contains(b.Stdout.String(), "flashing, in trouble: server-unreachable") })
			if tt.well {
				for _, id := range []string{"m2", "m3"} {
					f.State(id, api.MachineRunning, func(m *api.Machine) { m.Trouble = nil })
				}
			}
			if code := b.Wait(t); code != tt.code || !strings.Contains(b.Stdout.String()+b.Stderr.String(), tt.want) {
				t.Errorf("exit code %d; want %d and %q\n%s\n%s", code, tt.code, tt.want, b.Stdout.String(), b.Stderr.String())
			}
		})
	}
}

func TestWatchNothing(t *testing.T) {
	f := clitest.NewFake(t, clitest.Armed()[2])
	if got := gild.Ask(t, f, "watch"); got.Code != exit.CodeOK || !strings.Contains(got.Stdout, "no machines") {
		t.Errorf("%+v", got)
	}
	if got := gild.Ask(t, f, "watch", "idle"); got.Code != exit.CodeOK {
		t.Errorf("a machine with nothing to do: %+v", got)
	}
	if got := gild.Ask(t, f, "watch", "nobody"); got.Code != exit.CodeNotFound {
		t.Errorf("an unknown machine: %+v", got)
	}
	f.Close()
	if got := gild.Ask(t, f, "watch"); got.Code != exit.CodeNoServer {
		t.Errorf("no server: %+v", got)
	}
}

func TestWatchJSON(t *testing.T) {
	f := clitest.NewFake(t, clitest.Armed()...)
	b := gild.Start(t, f, "watch", "--json")
	f.WaitFor(t, "a line for each machine that is armed", func() bool { return strings.Count(b.Stdout.String(), "\n") == 2 })
	f.Tell(api.Change{Kind: api.ChangeRemoved, ID: "m3"})
	f.State("m2", api.MachineRunning, nil)
	if code := b.Wait(t); code != exit.CodeFailed {
		t.Errorf("exit code %d; want %d: one was forgotten", code, exit.CodeFailed)
	}
	states := map[string]string{}
	for line := range strings.Lines(b.Stdout.String()) {
		var l struct {
			Name, State string
			Ended       bool
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		states[l.Name] += l.State + fmt.Sprint(l.Ended) + " "
	}
	if states["web-1"] != "armedfalse runningtrue " || states["web-2"] != "armedfalse forgottentrue " {
		t.Errorf("states = %v", states)
	}
}

func TestWatchOnATerminal(t *testing.T) {
	f := clitest.NewFake(t, clitest.Armed()...)
	p := clitest.NewPTY(t, 100, 24)
	code := gild.On(t, p, f, nil, "watch")
	p.Expect(t, "2 armed")
	f.State("m2", api.MachineFlashing, func(m *api.Machine) {
		m.Estimate = &progress.Estimate{
			Phase: "write", Percent: 43, DataDone: 430, DataTotal: 1000, Rate: 100, Left: 6,
			Until: progress.UntilRunning,
		}
	})
	p.Expect(t, "43%")
	p.Expect(t, "< 10 s")
	f.State("m3", api.MachineFlashing, func(m *api.Machine) {
		m.Stuck, m.Message, m.Trouble = clitest.Noon, "nothing heard", &api.Trouble{Cause: api.CauseSilent}
	})
	p.Expect(t, "\x1b[31mflashing, stuck")
	p.Expect(t, "1 stuck, 1 flashing")
	p.Resize(t, 60, 10)
	f.State("m2", api.MachineFlashing, func(m *api.Machine) {
		m.Estimate = &progress.Estimate{Phase: "write", Percent: 77, DataDone: 777, DataTotal: 1000}
	})
	p.Expect(t, "77%")
	before := len(p.Text())
	f.State("m2", api.MachineFlashing, func(m *api.Machine) {
		m.Estimate = &progress.Estimate{Phase: "write", Percent: 88, DataDone: 888, DataTotal: 1000}
	})
	p.Expect(t, "88%")
	for line := range strings.SplitSeq(clitest.ANSI.ReplaceAllString(p.Text()[before:], ""), "\n") {
		if n := runewidth.StringWidth(strings.Trim(line, "\r")); n > 60 {
			t.Errorf("after a resize to 60 a line has %d cells: %q", n, line)
		}
	}
	f.State("m3", api.MachineFailed, func(m *api.Machine) {
		m.Stuck, m.Trouble, m.Message = time.Time{}, &api.Trouble{Cause: "disk-error", Message: "EIO"}, "EIO"
	})
	p.Expect(t, "disk-error: EIO")
	f.State("m2", api.MachineRunning, nil)
	if got := <-code; got != exit.CodeFailed {
		t.Errorf("exit code %d; want %d", got, exit.CodeFailed)
	}
	p.Expect(t, "1 failed, 1 running")
	p.Expect(t, "gild: web-2 failed: disk-error: EIO")
	p.Expect(t, "hint: disk-error: The disk is failing.")
}
