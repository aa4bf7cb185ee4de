package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/lockedbuf"
)

// testRunner does not wait, and keeps what it was told to wait. Causes are
// those of steps about which nothing is known.
func testRunner(t *testing.T) (r *Runner, shown *lockedbuf.Buffer, waits *[]time.Duration) {
	t.Helper()
	shown, waits = &lockedbuf.Buffer{}, &[]time.Duration{}
	c := &screen.Console{}
	c.Add(t.Context(), shown, false)
	r = &Runner{
		Report: &report.Reporter{Console: c, Kmsg: &screen.Kmsg{}, Queue: report.NewQueue(), Uptime: func() float64 { return 1.5 }},
		Log:    slog.New(slog.DiscardHandler),
		Cause:  func(step string, _ error) string { return step + "-failed" },
		Wait: func(ctx context.Context, d time.Duration) error {
			*waits = append(*waits, d)
			return ctx.Err()
		},
	}
	return r, shown, waits
}

func TestWalkRetriesAndGoesBack(t *testing.T) {
	r, shown, waits := testRunner(t)
	var ran []string
	fail := map[string]int{"network": 2, "flash": 1, "image": 1}
	do := func(name string) func(context.Context) (string, error) {
		return func(context.Context) (string, error) {
			ran = append(ran, name)
			if fail[name]--; fail[name] >= 0 {
				if name == "image" {
					panic("out of paper")
				}
				return "", fmt.Errorf("%s broke", name)
			}
			return name + " well", nil
		}
	}
	r.Walk(t.Context(), []Step{
		{Name: "network", Run: do("network")},
		{Name: "plan", Run: do("plan")},
		{Name: "image", Again: "plan", Run: do("image")},
		{Name: "flash", Again: "plan", Run: do("flash")},
		{Name: "handoff", Run: do("handoff")},
	})
	want := []string{"network", "network", "network", "plan", "image", "plan", "image", "flash", "plan", "image", "flash", "handoff"}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if len(*waits) != 4 {
		t.Errorf("waited %v; want four times", *waits)
	}
	r.Report.Console.Drain(time.Second)
	for _, line := range []string{
		"network failed: network broke (next try in", "image failed:", "internal error: out of paper",
		"flash: flash well",
	} {
		if !strings.Contains(shown.String(), line) {
			t.Errorf("console shows\n%s\nwant %q in it", shown, line)
		}
	}
	var failed []string
	_, batch := r.Report.Queue.Batch()
	for _, e := range batch {
		if e.State == api.StateFailed {
			failed = append(failed, e.Cause)
			if e.Retry < 1 {
				t.Errorf("%+v promises no next try", e)
			}
		}
	}
	if diff := cmp.Diff([]string{"network-failed", "network-failed", "image-failed", "flash-failed"}, failed); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
}

func TestWalkEndsWithItsContext(t *testing.T) {
	r, _, _ := testRunner(t)
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	r.Walk(ctx, []Step{{Name: "x", Run: func(context.Context) (string, error) {
		if n++; n == 3 {
			cancel()
		}
		return "", errors.New("no")
	}}})
	if n != 3 {
		t.Errorf("walk() ran the step %d times; want 3", n)
	}
}
