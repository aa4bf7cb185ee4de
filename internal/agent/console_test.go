package agent

import (
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

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/order"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/diskrule"
	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/lockedbuf"
	"github.com/gild-dev/gild/internal/progress"
)

var update = flag.Bool("update", false, "write the golden files anew")

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
			a.report.Event(api.Event{
				Step: "flash", State: api.StateDone,
				Message: "sealed in 61.0 s: 2.7 GiB written, 1.3 GiB zeroed, 0 B kept, 855 MiB fetched",
			})
		},
		"failures": func(a *actor) {
			a.fails("disk", ambiguous)
			a.flashes(flash.PhaseWrite, 400_000_000, 180_000_000, 0)
			a.fails("flash", fmt.Errorf("writing 1048576 bytes at byte 183500800 of the disk: %w", unix.EIO))
			a.fails("flash", &supply.SilentError{For: 30 * time.Minute, Err: errors.New("dial tcp 10.0.0.1:8080: connect: no route to host")})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				a := newActor(ctx)
				play(a)
				synctest.Wait()
				for kind, out := range map[string]*lockedbuf.Buffer{"screen": a.screen, "serial": a.serial} {
					a.compare(t, filepath.Join("testdata", "console", name+"-"+kind+".txt"), out.String())
				}
			})
		})
	}
}

// screenWidth is what every line must have room in.
const screenWidth = 79

// actor plays a machine to its consoles.
type actor struct {
	*Agent
	screen, serial *lockedbuf.Buffer
}

func newActor(ctx context.Context) *actor {
	a := &actor{screen: &lockedbuf.Buffer{}, serial: &lockedbuf.Buffer{}}
	c := &screen.Console{}
	c.Add(ctx, a.screen, true)
	c.Add(ctx, a.serial, false)
	began := time.Now()
	a.Agent = newAgent("s", machine.Here, c, &screen.Kmsg{}, slog.New(slog.DiscardHandler))
	a.job.Begin(began)
	a.report.Uptime = func() float64 { return 2.5 + time.Since(began).Seconds() }
	a.introduce(api.Inventory{Vendor: "Dell Inc.", Product: "PowerEdge R640", Serial: "7XK2P13"}, "http://10.0.0.1:8080")
	c.Plate.Link("52:54:00:12:34:56")
	a.report.Event(api.Event{Step: "network", State: api.StateDone, Message: "eth0 (52:54:00:12:34:56) has 10.0.0.17/24"})
	c.Plate.Called("web-17")
	a.report.Show("name: " + c.Plate.Argument())
	return a
}

// flashes plays one phase at a rate, with the link or disk quiet in its middle
// for some seconds.
func (a *actor) flashes(p flash.Phase, total, rate int64, quiet int) {
	began := time.Now()
	work := func(done int64) progress.Work {
		w := progress.Work{
			Data: total, Written: done, Prove: total, SettleRate: float64(rate), WriteRate: float64(rate),
			Watched: time.Since(began).Seconds(),
		}
		if p == flash.PhaseReadBack {
			w.Written, w.Proved, w.ReadRate = total, done, float64(rate)
		}
		return w
	}
	for done := int64(0); ; done = min(total, done+rate/4) {
		for ; quiet > 0 && done > total/2; quiet-- {
			for range 4 {
				a.job.Progress(flash.Progress{Phase: p, Done: done, Total: total, Work: work(done)})
				time.Sleep(250 * time.Millisecond)
			}
		}
		a.job.Progress(flash.Progress{Phase: p, Done: done, Total: total, Wire: done / 3, Work: work(done)})
		if done == total {
			return
		}
		time.Sleep(250 * time.Millisecond)
	}
}

func (a *actor) fails(step string, err error) {
	a.report.Event(api.Event{Step: step, State: api.StateFailed, Cause: order.Cause(step, err), Message: err.Error(), Retry: 2})
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
