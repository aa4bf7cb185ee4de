package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/agent/screen/screentest"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
)

// testRunner does not wait, and keeps what it was told to wait.
func testRunner(t *testing.T) (r runner, shown *screentest.Buffer, waits *[]time.Duration) {
	t.Helper()
	shown, waits = &screentest.Buffer{}, &[]time.Duration{}
	c := &screen.Console{}
	c.Add(t.Context(), shown, false)
	r = runner{
		console: c, kmsg: &screen.Kmsg{}, queue: newQueue(), uptime: func() float64 { return 1.5 }, log: slog.New(slog.DiscardHandler),
		wait: func(ctx context.Context, d time.Duration) error {
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
	r.walk(t.Context(), []step{
		{name: "network", run: do("network")},
		{name: "plan", run: do("plan")},
		{name: "image", again: "plan", run: do("image")},
		{name: "flash", again: "plan", run: do("flash")},
		{name: "handoff", run: do("handoff")},
	})
	want := []string{"network", "network", "network", "plan", "image", "plan", "image", "flash", "plan", "image", "flash", "handoff"}
	if diff := cmp.Diff(want, ran); diff != "" {
		t.Errorf("steps (-want +got):\n%s", diff)
	}
	if len(*waits) != 4 {
		t.Errorf("waited %v; want four times", *waits)
	}
	r.console.Drain(time.Second)
	for _, line := range []string{"network failed: network broke (next try in", "image failed:", "internal error: out of paper", "flash: flash well"} {
		if !strings.Contains(shown.String(), line) {
			t.Errorf("console shows\n%s\nwant %q in it", shown, line)
		}
	}
	var failed []string
	_, batch := r.queue.batch()
	for _, e := range batch {
		if e.State == api.StateFailed {
			failed = append(failed, e.Cause)
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
	r.walk(ctx, []step{{name: "x", run: func(context.Context) (string, error) {
		if n++; n == 3 {
			cancel()
		}
		return "", errors.New("no")
	}}})
	if n != 3 {
		t.Errorf("walk() ran the step %d times; want 3", n)
	}
}

func TestQueueSendsEachOnceInOrder(t *testing.T) {
	q := newQueue()
	const n = 200
	var got []api.Event
	failures := 0
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := range n {
		q.add(api.Event{Step: fmt.Sprint(i)})
	}
	go q.deliver(ctx, func(_ context.Context, _ string, events []api.Event) error {
		// The first answer of each batch is lost: the server had it.
		for _, e := range events {
			if !slices.ContainsFunc(got, func(g api.Event) bool { return g.Seq == e.Seq }) {
				got = append(got, e)
			}
		}
		if failures++; failures == 1 {
			return errors.New("lost")
		}
		return nil
	})
	if !q.flush(ctx, 10*time.Second) {
		t.Fatal("flush() = false; want all sent")
	}
	if len(got) != n {
		t.Fatalf("%d events arrived; want %d", len(got), n)
	}
	for i, e := range got {
		if e.Step != fmt.Sprint(i) || e.Seq != uint64(i+1) {
			t.Fatalf("event %d is %q number %d; want order kept, no gap", i, e.Step, e.Seq)
		}
	}
}

func TestQueueGoesOnAfterARefusal(t *testing.T) {
	q := newQueue()
	var got []string
	q.add(api.Event{Step: "refused"})
	go q.deliver(t.Context(), func(_ context.Context, _ string, events []api.Event) error {
		if events[0].Step == "refused" {
			return &client.StatusError{Status: 409}
		}
		got = append(got, events[0].Step)
		return nil
	})
	q.flush(t.Context(), 5*time.Second)
	q.add(api.Event{Step: "receipt"})
	if !q.flush(t.Context(), 5*time.Second) || !slices.Equal(got, []string{"receipt"}) {
		t.Errorf("after a refusal arrived %q; want the receipt", got)
	}
}

func TestQueueIsBoundedAndKeepsTheLatest(t *testing.T) {
	q := newQueue()
	if _, first := q.batch(); len(first) != 0 {
		t.Fatalf("batch() of nothing = %v", first)
	}
	q.add(api.Event{Step: "sent"})
	q.batch() // numbered: must not be dropped any more
	for i := range 3 * maxQueue {
		q.add(api.Event{Step: fmt.Sprint(i)})
		q.add(api.Event{Step: "p", Progress: &api.Progress{Done: int64(2 * i)}})
		q.add(api.Event{Step: "p", Progress: &api.Progress{Done: int64(2*i + 1)}})
	}
	if len(q.events) != maxQueue || q.events[0].Step != "sent" {
		t.Errorf("queue holds %d, first %q; want %d, sent", len(q.events), q.events[0].Step, maxQueue)
	}
	if last := q.events[maxQueue-1]; last.Progress == nil || last.Progress.Done != 6*maxQueue-1 {
		t.Errorf("last event = %+v; want the latest progress", last)
	}
	if q.flush(t.Context(), 20*time.Millisecond) {
		t.Error("flush() = true with nobody sending; want false")
	}
}

// A report is one that the server takes, however long its sentences are.
func TestBatchFitsAReport(t *testing.T) {
	q := newQueue()
	const n = 3 * maxBatch
	for i := range n {
		q.add(api.Event{Time: time.Now(), Step: fmt.Sprint(i), State: api.StateFailed, Message: strings.Repeat("\x01", 100+i*5)})
	}
	for sent := 0; sent < n; {
		_, events := q.batch()
		p, err := json.Marshal(api.Report{Session: strings.Repeat("s", 64), MAC: "52:54:00:00:00:01", Plan: strings.Repeat("p", 64), Events: events})
		if err != nil || len(p) > api.MaxReport || len(events) == 0 || len(events) > api.MaxEvents {
			t.Fatalf("after %d events: a report of %d, %d bytes, %v; want at most %d", sent, len(events), len(p), err, api.MaxReport)
		}
		if last := events[len(events)-1].Seq; last != uint64(sent+len(events)) {
			t.Fatalf("the last of a report has number %d; want %d", last, sent+len(events))
		}
		sent += len(events)
		q.sent()
	}
}

// An agent with nothing to tell says that it is there, under the plan that it
// holds, and goes on saying so while nobody hears it.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), (3*api.HeartbeatEvery+1)*time.Second)
		defer cancel()
		q := newQueue()
		q.under("plan-1")
		beats := 0
		q.deliver(ctx, func(_ context.Context, plan string, events []api.Event) error {
			if plan != "plan-1" || len(events) != 0 {
				t.Errorf("sent %d events under %q; want none under plan-1", len(events), plan)
			}
			beats++
			return errors.New("nobody hears")
		})
		if beats != 3 {
			t.Errorf("%d heartbeats in the time of three", beats)
		}
	})
}
