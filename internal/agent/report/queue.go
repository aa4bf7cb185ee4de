// Package report sends the server what happens in the machine.
package report

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/backoff"
)

// Bounds of the report channel. A server that is away for an hour costs a few
// kilobytes.
const (
	maxQueue = 512           // events
	maxBatch = api.MaxEvents // events
	// batchBytes leaves room for what is around the events in a report.
	batchBytes = api.MaxReport - 1<<10
)

// Queue holds events until the server has them. Nothing waits for it: a flash
// continues while nobody listens. Events get their numbers when they are first
// sent, so that what was dropped leaves no gap. Safe for concurrent use.
type Queue struct {
	mu      sync.Mutex
	plan    string // that new events belong to
	events  []queued
	sending int // events at the front whose number is given
	seq     uint64
	news    chan struct{} // holds one token when there is something to send
	// heartbeat is how long deliver stays silent at most.
	heartbeat time.Duration
}

// queued is an event and the plan under which it happened: reported under a
// later one, the writing of a revoked plan would count as that one's.
type queued struct {
	api.Event
	plan string
}

// NewQueue returns an empty queue, whose events belong to no plan.
func NewQueue() *Queue {
	return &Queue{news: make(chan struct{}, 1), heartbeat: api.HeartbeatEvery * time.Second}
}

// Under says which plan the events from now on belong to.
func (q *Queue) Under(plan string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.plan = plan
}

// current is the plan that events belong to now.
func (q *Queue) current() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.plan
}

// Add queues e. Of progress only the latest counts; when the queue is full
// the oldest event that has no number yet goes.
func (q *Queue) Add(e api.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	last := len(q.events) - 1
	switch {
	case e.Progress != nil && last >= q.sending && q.events[last].Progress != nil && q.events[last].plan == q.plan:
		q.events[last] = queued{e, q.plan}
	case len(q.events) >= maxQueue:
		copy(q.events[q.sending:], q.events[q.sending+1:])
		q.events[last] = queued{e, q.plan}
	default:
		q.events = append(q.events, queued{e, q.plan})
	}
	select {
	case q.news <- struct{}{}:
	default:
	}
}

// Batch returns the next events of one plan to send, always the same ones
// until Sent.
func (q *Queue) Batch() (plan string, events []api.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.sending == 0 {
		size := 0
		for q.sending < min(len(q.events), maxBatch) && q.events[q.sending].plan == q.events[0].plan {
			e := &q.events[q.sending].Event
			if size += encodedSize(e); size > batchBytes && q.sending > 0 {
				break
			}
			q.seq++
			e.Seq = q.seq
			q.sending++
		}
	}
	for _, e := range q.events[:q.sending] {
		plan, events = e.plan, append(events, e.Event)
	}
	return plan, events
}

// encodedSize is what an event takes in a report, in bytes, with a number yet
// to come.
func encodedSize(e *api.Event) int {
	p, err := json.Marshal(e)
	if err != nil {
		return 0 // plain data: it can be written
	}
	return len(p) + len(`,"seq":18446744073709551615`)
}

// Sent forgets the batch.
func (q *Queue) Sent() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.events = append(q.events[:0], q.events[q.sending:]...)
	q.sending = 0
}

// Backlog is what a queue holds, for another queue to continue with.
type Backlog struct {
	Events  []Reported
	Sending int // events at the front whose number is given
	Seq     uint64
}

// Reported is an event of a backlog with the plan that it belongs to.
type Reported struct {
	Plan  string
	Event api.Event
}

// Take empties the queue. Nobody may be delivering it.
func (q *Queue) Take() Backlog {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := Backlog{Sending: q.sending, Seq: q.seq}
	for _, e := range q.events {
		b.Events = append(b.Events, Reported{e.plan, e.Event})
	}
	q.events, q.sending = nil, 0
	return b
}

// Resume continues with a backlog, ahead of what came since. Nobody may be
// delivering.
func (q *Queue) Resume(b Backlog) {
	q.mu.Lock()
	defer q.mu.Unlock()
	since := q.events
	q.events = nil
	for _, e := range b.Events {
		q.events = append(q.events, queued{e.Event, e.Plan})
	}
	q.events = append(q.events, since...)
	q.sending, q.seq = b.Sending, b.Seq
}

// Skip leaves out the next n numbers, which another has used. Nobody may be
// delivering.
func (q *Queue) Skip(n uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.seq += n
	q.sending = 0 // theirs are among them
}

// Empty reports whether the server has everything.
func (q *Queue) Empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.events) == 0
}

// Deliver sends what is queued, in order, until ctx is done. A batch is sent
// again until the server has taken it, which then knows the numbers it has
// seen.
func (q *Queue) Deliver(ctx context.Context, send func(ctx context.Context, plan string, events []api.Event) error) {
	wait := backoff.Backoff{Longest: 30 * time.Second}
	for ctx.Err() == nil {
		plan, events := q.Batch()
		if len(events) == 0 {
			select {
			case <-q.news:
			case <-ctx.Done():
			case <-time.After(q.heartbeat):
				// Nothing to tell: the server is to know that somebody is here.
				// One that is lost is followed by the next.
				_ = send(ctx, q.current(), nil)
			}
			continue
		}
		err := send(ctx, plan, events)
		// What the server refuses for good must not hold up what comes after
		// it, the receipt least of all.
		if err != nil && !backoff.Permanent(err) {
			_ = backoff.Sleep(ctx, wait.Next())
			continue
		}
		wait.Reset()
		q.Sent()
	}
}

// Flush waits until the server has everything, at most for d.
func (q *Queue) Flush(ctx context.Context, d time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	for !q.Empty() {
		if backoff.Sleep(ctx, 10*time.Millisecond) != nil {
			return q.Empty()
		}
	}
	return true
}
