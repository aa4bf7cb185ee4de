package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/cluster"
)

func TestQueueSendsEachOnceInOrder(t *testing.T) {
	q := NewQueue()
	const n = 200
	var got []api.Event
	failures := 0
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for i := range n {
		q.Add(api.Event{Step: fmt.Sprint(i)})
	}
	go q.Deliver(ctx, func(_ context.Context, _ string, events []api.Event) error {
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
	if !q.Flush(ctx, 10*time.Second) {
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
	q := NewQueue()
	var got []string
	q.Add(api.Event{Step: "refused"})
	go q.Deliver(t.Context(), func(_ context.Context, _ string, events []api.Event) error {
		if events[0].Step == "refused" {
			return &cluster.StatusError{Status: 409}
		}
		got = append(got, events[0].Step)
		return nil
	})
	q.Flush(t.Context(), 5*time.Second)
	q.Add(api.Event{Step: "receipt"})
	if !q.Flush(t.Context(), 5*time.Second) || !slices.Equal(got, []string{"receipt"}) {
		t.Errorf("after a refusal arrived %q; want the receipt", got)
	}
}

func TestQueueIsBoundedAndKeepsTheLatest(t *testing.T) {
	q := NewQueue()
	if _, first := q.Batch(); len(first) != 0 {
		t.Fatalf("batch() of nothing = %v", first)
	}
	q.Add(api.Event{Step: "sent"})
	q.Batch() // numbered: must not be dropped any more
	for i := range 3 * maxQueue {
		q.Add(api.Event{Step: fmt.Sprint(i)})
		q.Add(api.Event{Step: "p", Progress: &api.Progress{Done: int64(2 * i)}})
		q.Add(api.Event{Step: "p", Progress: &api.Progress{Done: int64(2*i + 1)}})
	}
	if len(q.events) != maxQueue || q.events[0].Step != "sent" {
		t.Errorf("queue holds %d, first %q; want %d, sent", len(q.events), q.events[0].Step, maxQueue)
	}
	if last := q.events[maxQueue-1]; last.Progress == nil || last.Progress.Done != 6*maxQueue-1 {
		t.Errorf("last event = %+v; want the latest progress", last)
	}
	if q.Flush(t.Context(), 20*time.Millisecond) {
		t.Error("flush() = true with nobody sending; want false")
	}
}

// A report is one that the server takes, however long its sentences are.
func TestBatchFitsAReport(t *testing.T) {
	q := NewQueue()
	const n = 3 * maxBatch
	for i := range n {
		q.Add(api.Event{Time: time.Now(), Step: fmt.Sprint(i), State: api.StateFailed, Message: strings.Repeat("\x01", 100+i*5)})
	}
	for sent := 0; sent < n; {
		_, events := q.Batch()
		p, err := json.Marshal(api.Report{
			Session: strings.Repeat("s", 64), MAC: "52:54:00:00:00:01", Plan: strings.Repeat("p", 64),
			Events: events,
		})
		if err != nil || len(p) > api.MaxReport || len(events) == 0 || len(events) > api.MaxEvents {
			t.Fatalf("after %d events: a report of %d, %d bytes, %v; want at most %d", sent, len(events), len(p), err, api.MaxReport)
		}
		if last := events[len(events)-1].Seq; last != uint64(sent+len(events)) {
			t.Fatalf("the last of a report has number %d; want %d", last, sent+len(events))
		}
		sent += len(events)
		q.Sent()
	}
}

// An agent with nothing to tell says that it is there, under the plan that it
// holds, and keeps saying so while nobody hears it.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), (3*api.HeartbeatEvery+1)*time.Second)
		defer cancel()
		q := NewQueue()
		q.Under("plan-1")
		beats := 0
		q.Deliver(ctx, func(_ context.Context, plan string, events []api.Event) error {
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

// Two agents share one queue of events, first one, then the other, then
// perhaps the first again. The server knows events by their numbers.
func TestQueueIsHandedOver(t *testing.T) {
	first := NewQueue()
	first.Under("plan")
	first.Add(api.Event{Step: "sent"})
	first.Batch()
	first.Sent()
	first.Add(api.Event{Step: "on its way"})
	first.Batch() // no answer yet: the other must send it under the same number
	first.Add(api.Event{Step: "waits"})

	second := NewQueue()
	second.Resume(first.Take())
	second.Add(api.Event{Step: "new"})
	var got []string
	for !second.Empty() {
		plan, events := second.Batch()
		for _, e := range events {
			got = append(got, fmt.Sprintf("%s %d %s", plan, e.Seq, e.Step))
		}
		second.Sent()
	}
	if want := []string{"plan 2 on its way", "plan 3 waits", " 4 new"}; !slices.Equal(got, want) {
		t.Errorf("the second told %q; want %q", got, want)
	}

	first.Skip(10)
	first.Add(api.Event{Step: "back"})
	if _, events := first.Batch(); len(events) != 1 || events[0].Seq != 13 {
		t.Errorf("the first goes on with %v; want one event, number 13", events)
	}
}
