package agent

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/diskrule"
	"github.com/gild-dev/gild/internal/flash"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestConsoleNeverBlocks(t *testing.T) {
	c := &console{}
	c.add(t.Context(), blocked{t.Context()}, true)
	done := make(chan struct{})
	go func() {
		for range 10000 {
			c.line("x")
			c.progress("y", true)
		}
		c.drain(10 * time.Millisecond)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a console that does not take anything holds up the boot")
	}
}

type blocked struct{ ctx context.Context }

func (b blocked) Write([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

func TestKmsgCutsAndCleans(t *testing.T) {
	var b bytes.Buffer
	k := &kmsg{w: &b}
	k.write(kmsgWarning, "a\nb\x1b[2J"+strings.Repeat("x", 2000))
	if got := b.String(); len(got) != kmsgLimit || !strings.HasPrefix(got, "<4>gild: a b?[2Jxx") {
		t.Errorf("kmsg = %d bytes, %.30q; want %d, cleaned", len(got), got, kmsgLimit)
	}
	b.Reset()
	slog.New(&kmsgHandler{out: k}).With("link", "eth0").Warn("lost", "error", "x")
	if got := b.String(); got != "<4>gild: lost link=eth0 error=x" {
		t.Errorf("kmsg = %q", got)
	}
}

// A screen is redrawn once a second, a serial log gets a line every ten, and
// both get the first of each phase at once.
func TestConsoleProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c, live, log := &console{}, &safeBuffer{}, &safeBuffer{}
		c.add(ctx, live, true)
		c.add(ctx, log, false)
		for i := range 45 { // four a second
			c.progress(fmt.Sprint(i), i == 0 || i == 42)
			time.Sleep(250 * time.Millisecond)
		}
		c.line("done")
		synctest.Wait()
		const redraw = "\r\x1b[K"
		want := ""
		for _, i := range []int{0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 42} {
			want += redraw + fmt.Sprint(i)
		}
		if want += redraw + "done\r\n"; live.String() != want {
			t.Errorf("screen = %q; want %q", live, want)
		}
		if want := "0\r\n40\r\n42\r\ndone\r\n"; log.String() != want {
			t.Errorf("serial log = %q; want %q", log, want)
		}
	})
}

func TestWrap(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
	}{
		{"", []string{""}},
		{"short", []string{"short"}},
		{"exactly ten", []string{"exactly", "   ten"}},
		{"[1] one two three", []string{"[1] one", "   two", "   three"}},
		{"0123456789abcdefghijk", []string{"0123456789", "   abcdefg", "   hijk"}},
		{"   one two three", []string{"   one two", "   three"}},
		{"äöüäöüäöü ß", []string{"äöüäöüäöü", "   ß"}},
	} {
		if diff := cmp.Diff(tt.want, wrap(tt.in, 10, 3)); diff != "" {
			t.Errorf("wrap(%q) (-want +got):\n%s", tt.in, diff)
		}
	}
}

func FuzzWrap(f *testing.F) {
	f.Add("[   12.34] disk failed: no disk is what serial=X means", 79)
	f.Add(strings.Repeat("x", 300), 20)
	f.Add("  \u00a0 \xff   ", 12)
	f.Fuzz(func(t *testing.T, s string, width int) {
		s, width = clean(s), indent+1+min(max(width, 0), 200)
		letters := func(s string) string { return strings.ReplaceAll(s, " ", "") }
		lines := wrap(s, width, indent)
		if got := letters(strings.Join(lines, "")); got != letters(s) {
			t.Errorf("wrap(%q, %d) = %q: letters were lost", s, width, lines)
		}
		for _, line := range lines {
			if n := len([]rune(line)); n > width {
				t.Errorf("wrap(%q, %d): a line has %d cells: %q", s, width, n, line)
			}
		}
	})
}

// What a person reads, whole: on a screen and in the log of a serial line.
func TestConsoleGolden(t *testing.T) {
	nvme := api.Disk{Name: "nvme0n1", Size: 480103981056, Model: "SAMSUNG MZ7", Serial: "S4EW0123", Transport: "nvme"}
	sda := api.Disk{Name: "sda", Size: 960197124096, Model: "INTEL SSDSC2", Serial: "BTYF9400", Transport: "sata"}
	rule, err := diskrule.Parse("size>=400G")
	if err != nil {
		t.Fatal(err)
	}
	_, ambiguous := rule.Select([]api.Disk{nvme, sda})
	for name, play := range map[string]func(*actor){
		"flash": func(a *actor) {
			a.flashes(flash.PhaseScan, 2_900_000_000, 1_450_000_000, 0)
			a.flashes(flash.PhaseWrite, 2_900_000_000, 95_000_000, 17)
			a.flashes(flash.PhaseReadBack, 2_900_000_000, 480_000_000, 0)
			a.event(api.Event{Step: "flash", State: api.StateDone, Message: "sealed in 61.0 s: 2.9 GB written, 1.4 GB zeroed, 0.0 GB kept, 0.9 GB fetched"})
		},
		"failures": func(a *actor) {
			a.fails("disk", ambiguous)
			a.flashes(flash.PhaseWrite, 400_000_000, 180_000_000, 0)
			a.fails("flash", fmt.Errorf("writing 1048576 bytes at byte 183500800 of the disk: %w", unix.EIO))
			a.fails("flash", &flash.SilentError{For: 30 * time.Minute, Err: errors.New("dial tcp 10.0.0.1:8080: connect: no route to host")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				a := newActor(ctx)
				play(a)
				synctest.Wait()
				for kind, out := range map[string]*safeBuffer{"screen": a.screen, "serial": a.serial} {
					a.compare(t, filepath.Join("testdata", "console", name+"-"+kind+".txt"), out.String())
				}
			})
		})
	}
}

// actor plays a machine to its consoles.
type actor struct {
	*Agent
	screen, serial *safeBuffer
}

func newActor(ctx context.Context) *actor {
	a := &actor{screen: &safeBuffer{}, serial: &safeBuffer{}}
	c := &console{}
	c.add(ctx, a.screen, true)
	c.add(ctx, a.serial, false)
	began := time.Now()
	a.Agent = &Agent{console: c, recorder: newRecorder(began), runner: runner{
		console: c, kmsg: &kmsg{}, queue: newQueue(), log: slog.New(slog.DiscardHandler),
		uptime: func() float64 { return 2.5 + time.Since(began).Seconds() },
	}}
	a.introduce(api.Inventory{Vendor: "Dell Inc.", Product: "PowerEdge R640", Serial: "7XK2P13"}, "http://10.0.0.1:8080")
	c.plate.link("52:54:00:12:34:56")
	a.event(api.Event{Step: "network", State: api.StateDone, Message: "eth0 (52:54:00:12:34:56) has 10.0.0.17/24"})
	c.plate.called("web-17")
	a.show(a.uptime(), "name: "+c.plate.argument())
	return a
}

// flashes plays one phase at a rate, with the link or disk quiet in its middle
// for some seconds.
func (a *actor) flashes(p flash.Phase, total, rate int64, quiet int) {
	for done := int64(0); ; done = min(total, done+rate/4) {
		for ; quiet > 0 && done > total/2; quiet-- {
			for range 4 {
				a.reportProgress(flash.Progress{Phase: p, Done: done, Total: total})
				time.Sleep(250 * time.Millisecond)
			}
		}
		a.reportProgress(flash.Progress{Phase: p, Done: done, Total: total, Wire: done / 3})
		if done == total {
			return
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func (a *actor) fails(step string, err error) {
	a.event(api.Event{Step: step, State: api.StateFailed, Cause: cause(step, err), Message: fmt.Sprintf("%v (next try in 2 s)", err)})
	time.Sleep(2 * time.Second)
}

// compare judges text against a file. In it a line that was redrawn in place
// begins with ">".
func (a *actor) compare(t *testing.T, file, text string) {
	t.Helper()
	got := strings.ReplaceAll(text, "\r\n", "\n")
	got = strings.ReplaceAll(got, "\r\x1b[K", "\n> ")
	for line := range strings.SplitSeq(got, "\n") {
		if strings.HasSuffix(file, "-screen.txt") && len([]rune(strings.TrimPrefix(line, "> "))) > screenWidth {
			t.Errorf("%s: a line is wider than %d: %q", file, screenWidth, line)
		}
	}
	_, version, _ := strings.Cut(got, "gild ")
	version, _, _ = strings.Cut(version, "\n")
	got = strings.Replace(got, version, "VERSION", 1)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", file, diff)
	}
}
