package watch

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
)

// A machine that is removed while nobody listens is not waited for.
func TestWatchAfterAReset(t *testing.T) {
	r := newBoard(nil)
	r.reset(clitest.Armed())
	if len(r.machines) != 2 || r.ended() {
		t.Fatalf("%d machines watched, ended = %v; want the two that are armed", len(r.machines), r.ended())
	}
	changed := r.reset(nil)
	if len(changed) != 2 || !r.ended() || r.verdict() == nil {
		t.Errorf("after a list without them: %d changed, ended = %v, verdict %v", len(changed), r.ended(), r.verdict())
	}
}

// Twenty machines that fail alike are told about once.
func TestVerdictAdvisesOncePerCause(t *testing.T) {
	r := newBoard(nil)
	for i, cause := range []string{api.CauseDiskNone, api.CauseDiskNone, api.CauseDiskError, "made-up"} {
		m := api.Machine{ID: fmt.Sprint(i), State: api.MachineArmed}
		r.set(m)
		m.State, m.Cause, m.Message = api.MachineFailed, cause, "why"
		r.set(m)
	}
	err := r.verdict()
	hint := exit.HintOf(err)
	if hint == "" || strings.Count(err.Error(), "why") != 4 {
		t.Fatalf("verdict() = %v; want all four, with a hint", err)
	}
	first, second := strings.Index(hint, "disk-none: See"), strings.Index(hint, "disk-error: The disk")
	if first != 0 || second < 0 || strings.Count(hint, "\n") != 1 {
		t.Errorf("hint = %q; want a line for each of the two causes that are known", hint)
	}
}

func TestWatchLine(t *testing.T) {
	var b strings.Builder
	room := clitest.Fleet()
	room[1].Progress.Unanswered = 0
	slow := room[1]
	slow.Progress = &api.Progress{Phase: "write", Done: 9, Total: 4, Unanswered: 12}
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
