package room

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
)

// judge compares what everybody knows of each machine.
func (r *crowd) judge(t *testing.T, f *figures) {
	t.Helper()
	var mu sync.Mutex
	r.each(t, func(ctx context.Context, m machine) error {
		got, err := r.operator.Machine(ctx, m.Name)
		if err != nil {
			return err
		}
		past, err := r.operator.Events(ctx, m.Name)
		if err != nil {
			return err
		}
		flashes, err := r.operator.Flashes(ctx, m.Name)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		f.events += len(past)
		r.judgeState(t, m, got, flashes)
		if got.Receipt != nil {
			f.wire += got.Receipt.Wire
		}
		sent := r.judgeLog(t, m, f)
		same(t, m.Name+": what its agent was told to be taken, and what is kept of it", sent, ofAgent(past))
		same(t, m.Name+": what is kept, and what the follower heard", past, r.heard(got.ID, len(past)))
		return r.judgeDisk(m)
	})
	if r.follower.err != nil {
		t.Errorf("the follower ended: %v", r.follower.err)
	}
	if r.follower.resets != 1 {
		t.Errorf("the follower had to begin anew %d times; want once", r.follower.resets)
	}
}

func (r *crowd) judgeState(t *testing.T, m machine, got api.Machine, flashes []api.Flash) {
	t.Helper()
	if got.State != api.MachineHandingOff && got.State != api.MachineRunning {
		t.Errorf("%s is %s (%s)", m.Name, got.State, got.Message)
	}
	if got.Armed != nil || got.Conflict != "" || got.Writing || got.Receipt == nil {
		t.Errorf("%s: armed %v, conflict %q, writing %v, receipt %v", m.Name, got.Armed != nil, got.Conflict, got.Writing, got.Receipt != nil)
	}
	if len(flashes) != 1 || flashes[0].Receipt == nil {
		t.Errorf("%s has %d flashes in its history; want one, with a receipt", m.Name, len(flashes))
		return
	}
	judgeSamples(t, m.Name, flashes[0])
}

// judgeSamples looks whether the throughput that the agent recorded arrived,
// and is that of this flash.
func judgeSamples(t *testing.T, name string, f api.Flash) {
	t.Helper()
	written := int64(0)
	for i, s := range f.Samples {
		if s.Rate < 0 || i > 0 && s.At.Before(f.Samples[i-1].At) {
			t.Errorf("%s: sample %d is %+v", name, i, s)
		}
		if s.Phase == "write" {
			written = s.Done
		}
	}
	// The last sample is as old as a report may be: what a busy host writes
	// meanwhile is in none.
	if len(f.Samples) == 0 || written < f.Receipt.Written/2 {
		t.Errorf("%s: %d samples, in which %d bytes are written; want most of the receipt's %d", name, len(f.Samples), written, f.Receipt.Written)
	}
}

// judgeLog reads what the agent said and returns the events that the server
// has acknowledged and keeps, in the order in which they were.
func (r *crowd) judgeLog(t *testing.T, m machine, f *figures) (kept []api.Event) {
	t.Helper()
	seq, ended, after := uint64(0), false, false
	for _, s := range m.log(t) {
		switch s.Kind {
		case "report":
			if s.Err != "" {
				continue
			}
			f.reports = append(f.reports, s.Took)
			for _, e := range s.Report.Events {
				if seq++; e.Seq != seq {
					t.Errorf("%s: event %d was sent as number %d", m.Name, seq, e.Seq)
				}
				if e.State != api.StateProgress || e.Progress == nil {
					kept = append(kept, e)
				}
			}
		case "end":
			ended = s.Err == ""
		case "after":
			if after = true; s.Err != "" {
				t.Errorf("%s, once more: %s", m.Name, s.Err)
			}
		}
	}
	if !ended || !after {
		t.Errorf("%s: ended %v, asked once more %v", m.Name, ended, after)
	}
	return kept
}

// ofAgent is the part of a past that the agent told, with the times that it
// sent.
func ofAgent(past []api.Event) []api.Event {
	said := slices.DeleteFunc(slices.Clone(past), func(e api.Event) bool { return e.Seq == 0 })
	for i := range said {
		said[i].Time = said[i].Sent
	}
	return said
}

// heard waits a while for the follower, who is told later than the record.
func (r *crowd) heard(id string, n int) []api.Event {
	for range 100 {
		if len(r.follower.past(id)) >= n {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return r.follower.past(id)
}

// same compares two stories, event by event.
func same(t *testing.T, what string, a, b []api.Event) {
	t.Helper()
	if diff := cmp.Diff(story(a), story(b)); diff != "" {
		t.Errorf("%s (-first +second):\n%s", what, diff)
	}
}

// story is what identifies each event: when it was, to the nanosecond, and
// what.
func story(events []api.Event) []string {
	list := make([]string, 0, len(events))
	for _, e := range events {
		receipt := ""
		if e.Receipt != nil {
			receipt = " with a receipt"
		}
		list = append(list, fmt.Sprintf("%s %d %s %s%s", e.Time.UTC().Format(time.RFC3339Nano), e.Seq, e.Step, e.State, receipt))
	}
	return list
}

func (r *crowd) judgeDisk(m machine) error {
	p, err := os.ReadFile(m.Disk)
	if err != nil {
		return err
	}
	if !bytes.Equal(p, r.disk) {
		return fmt.Errorf("its disk is not the image")
	}
	return nil
}
