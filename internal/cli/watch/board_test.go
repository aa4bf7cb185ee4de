package watch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/progress"
)

// A machine that is removed while nobody listens is not waited for.
func TestWatchAfterAReset(t *testing.T) {
	r := newBoard(nil)
	r.reset(clitest.Armed())
	if len(r.machines) != 2 || r.ended() {
		t.Fatalf("%d machines watched, ended = %v; want the two that are armed", len(r.machines), r.ended())
	}
	changed := r.reset(nil)
	if len(changed) != 2 || !r.ended() || r.verdict(options{}) == nil {
		t.Errorf("after a list without them: %d changed, ended = %v, verdict %v", len(changed), r.ended(), r.verdict(options{}))
	}
}

// Twenty machines that fail alike are told about once.
func TestVerdictAdvisesOncePerCause(t *testing.T) {
	r := newBoard(nil)
	for i, cause := range []string{api.CauseDiskNone, api.CauseDiskNone, api.CauseDiskError, "made-up"} {
		m := api.Machine{ID: fmt.Sprint(i), State: api.MachineArmed}
		r.set(m)
		m.State, m.Trouble = api.MachineFailed, &api.Trouble{Cause: cause, Message: "why"}
		r.set(m)
	}
	err := r.verdict(options{})
	hint := exit.HintOf(err)
	if hint == "" || strings.Count(err.Error(), "why") != 4 {
		t.Fatalf("verdict() = %v; want all four, with a hint", err)
	}
	first, second := strings.Index(hint, "disk-none: See"), strings.Index(hint, "disk-error: The disk")
	if first != 0 || second < 0 || strings.Count(hint, "\n") != 1 {
		t.Errorf("hint = %q; want a line for each of the two causes that are known", hint)
	}
}

// A machine that fails and tries again is one line, and waited for.
func TestTroubleIsOneLine(t *testing.T) {
	r := newBoard(nil)
	m := api.Machine{ID: "1", State: api.MachineFlashing, Estimate: &progress.Estimate{Phase: "write", Percent: 50, DataDone: 1, DataTotal: 2}}
	r.set(m)
	told := 0
	for try := range 50 {
		m.Trouble = &api.Trouble{Cause: api.CauseDiskError, Tries: try + 1, Message: "EIO"}
		if _, news := r.set(m); news {
			told++
		}
	}
	if told != 1 || r.ended() || !r.troubled() || r.verdict(options{}) == nil {
		t.Errorf("told %d times, ended %v; want once, and that it is waited for", told, r.ended())
	}
	if w := r.machines["1"]; !strings.Contains(w.sentence(),
		"flashing, in trouble: write 50%  1 of 2 B  ~: disk-error, tried 50 times since") {
		t.Errorf("it says %q", w.sentence())
	}
	if sum := r.totals().sumLine(); sum != "1 in trouble  1 of 2 B  ~" {
		t.Errorf("sum is %q", sum)
	}
}

// What nobody hears of has no rate, before the server gives it up.
func TestHush(t *testing.T) {
	r := newBoard(nil)
	w, _ := r.set(api.Machine{
		ID: "1", State: api.MachineFlashing,
		Estimate: &progress.Estimate{Phase: "write", DataDone: 1, DataTotal: 9, Rate: 5, Left: 2},
	})
	r.hush(w.heard.Add(quietAfter))
	if r.totals().left == 0 {
		t.Error("no time left within a heartbeat")
	}
	r.hush(w.heard.Add(quietAfter + time.Second))
	if sum := r.totals(); sum.left != 0 || sum.rate != 0 {
		t.Error("a machine that is not heard of has a rate")
	}
}

func TestSummary(t *testing.T) {
	r := newBoard(nil)
	at := func(s int) time.Time { return clitest.Noon.Add(time.Duration(s) * time.Second) }
	for i, tt := range []struct{ from, to int }{{0, 100}, {10, 231}, {5, 90}} {
		m := api.Machine{ID: fmt.Sprint(i), Spec: api.Spec{Name: fmt.Sprintf("web%d", i+1)}, State: api.MachineArmed, Since: at(-9)}
		for _, s := range []struct {
			state string
			at    int
		}{
			{api.MachineArmed, -9},
			{api.MachineBooting, tt.from},
			{api.MachineFlashing, tt.from + 5},
			{api.MachineHandingOff, tt.to - 9},
			{api.MachineRunning, tt.to},
		} {
			m.State, m.Since = s.state, at(s.at)
			if s.state == api.MachineHandingOff {
				m.Receipt = &api.Receipt{Written: 80 << 20, PhaseTimes: map[string]float64{"write": 10}}
			}
			m.Estimate = nil
			if s.state == api.MachineFlashing {
				m.Estimate = &progress.Estimate{Phase: "write", Brake: []string{progress.BrakeLink, progress.BrakeLink, progress.BrakeDisk}[i]}
			}
			r.set(m)
		}
	}
	if got, want := r.endLine(), "3 running: 3:51 in all, slowest web2 (3:41), 8.0 MiB/s each, the link was the brake"; got != want {
		t.Errorf("endLine = %q; want %q", got, want)
	}
	if got := newBoard(nil).endLine(); got != "no machines" {
		t.Errorf("endLine of nothing = %q", got)
	}
}

func TestWatchLine(t *testing.T) {
	var b strings.Builder
	room := clitest.Fleet()
	slow := room[1]
	slow.Progress = &api.Progress{Phase: "write", Unanswered: 12}
	slow.Estimate = &progress.Estimate{Phase: "write", Percent: 100, DataDone: 4, DataTotal: 4}
	for _, width := range []int{20, 40, 60, 80, 120, 200} {
		for _, m := range append(room, slow) {
			w := &watched{Machine: m}
			line := w.line(width, 20, term.Palette{})
			if n := runewidth.StringWidth(line); n > width {
				t.Errorf("width %d: %d cells: %s", width, n, line)
			}
			fmt.Fprintln(&b, line)
		}
		r := newBoard(nil)
		r.reset(room)
		fmt.Fprintln(&b, r.totals().sumLine())
	}
	clitest.Golden(t, "watch.txt", b.String())
}
