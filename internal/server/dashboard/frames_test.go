package dashboard

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/tracing"
	"github.com/chromedp/chromedp"

	"github.com/gild-dev/gild/internal/api"
)

// moving asks for every frame for five seconds, so that one that is late is
// seen even where nothing else moves.
const moving = `new Promise((done) => {
  const first = performance.now();
  const next = (t) => { if (t - first < 5000) requestAnimationFrame(next); else done(0); };
  requestAnimationFrame(next);
})`

// What became of a frame, in the words of Chromium's trace. One whose script
// was late is traced twice: in part without it, then whole or dropped.
const (
	frameWhole   = "STATE_PRESENTED_ALL"
	framePart    = "STATE_PRESENTED_PARTIAL"
	frameDropped = "STATE_DROPPED"
	frameNothing = "STATE_NO_UPDATE_DESIRED"
)

// trace gathers what Chromium's trace says of frames. It is read when complete
// is closed.
type trace struct {
	complete chan struct{}
	lost     bool
	process  map[int]string // names by id
	frames   []frameEvent
}

// frameEvent is an event of the trace: how a frame ended, or the name of a
// process.
type frameEvent struct {
	Name    string `json:"name"`
	Process int    `json:"pid"`
	Args    struct {
		Name  string `json:"name"`
		Frame *struct {
			Source   uint64 `json:"frame_source"`
			Sequence uint64 `json:"frame_sequence"`
			State    string `json:"state"`
		} `json:"frame_reporter"`
	} `json:"args"`
}

func (f *trace) listen(ev any) {
	switch e := ev.(type) {
	case *tracing.EventDataCollected:
		for _, v := range e.Value {
			var one frameEvent
			if json.Unmarshal(v, &one) != nil {
				continue // an event of another kind
			}
			switch {
			case one.Name == "process_name":
				f.process[one.Process] = one.Args.Name
			case one.Name == "PipelineReporter" && one.Args.Frame != nil:
				f.frames = append(f.frames, one)
			}
		}
	case *tracing.EventTracingComplete:
		f.lost = e.DataLossOccurred
		close(f.complete)
	}
}

// ended counts the page's frames by the best that became of each.
func (f *trace) ended() map[string]int {
	rank := map[string]int{frameNothing: 1, frameDropped: 2, framePart: 3, frameWhole: 4}
	best := map[[2]uint64]string{}
	for _, e := range f.frames {
		id := [2]uint64{e.Args.Frame.Source, e.Args.Frame.Sequence}
		if state := e.Args.Frame.State; f.process[e.Process] == "Renderer" && rank[state] > rank[best[id]] {
			best[id] = state
		}
	}
	n := map[string]int{}
	for _, state := range best {
		n[state]++
	}
	return n
}

// A room of a thousand of which a hundred are flashed is drawn while changes
// come. What it takes is measured, and not judged: a machine that emulates its
// display is no judge.
func TestLongFrames(t *testing.T) {
	b := open(t, 1000)
	b.do(t, chromedp.Navigate(b.url), chromedp.WaitVisible(chromedp.CSS("#live")))
	stop := make(chan struct{})
	defer close(stop)
	go b.flashing(b.underWay(t, 100), stop)
	f := &trace{complete: make(chan struct{}), process: map[int]string{}}
	if err := chromedp.Listen(b.ctx, f.listen); err != nil {
		t.Fatal(err)
	}
	categories := []string{"cc", "benchmark", "disabled-by-default-devtools.timeline.frame"}
	b.do(t, call(tracing.Start, tracing.StartParams{TraceConfig: &tracing.TraceConfig{IncludedCategories: categories}}))
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[int](moving, chromedp.EvalAwaitPromise)); err != nil {
		t.Fatal(err)
	}
	b.do(t, call(tracing.End, cdp.Empty{}))
	select {
	case <-f.complete:
	case <-b.ctx.Done():
		t.Fatal("the trace does not end")
	}
	n := f.ended()
	if f.lost || n[frameWhole]+n[framePart] == 0 {
		t.Fatalf("the trace is of no use: lost %t, frames %v", f.lost, n)
	}
	t.Logf("frames in 5 s: %d shown whole, %d without what the script was late with, %d dropped, %d with nothing new",
		n[frameWhole], n[framePart], n[frameDropped], n[frameNothing])
}

// underWay are n machines that are being flashed.
func (b *browser) underWay(t *testing.T, n int) (ids []string) {
	t.Helper()
	for i := range b.room.machines {
		if m := &b.room.machines[i]; m.Estimate != nil && len(ids) < n {
			ids = append(ids, m.ID)
		}
	}
	if len(ids) < n {
		t.Fatalf("only %d machines are being flashed; want %d", len(ids), n)
	}
	return ids
}

// flashing moves the machines on, one after the other, until it is stopped.
func (b *browser) flashing(ids []string, stop <-chan struct{}) {
	pace := time.NewTicker(20 * time.Millisecond)
	defer pace.Stop()
	for i := 0; ; i++ {
		id := ids[i%len(ids)]
		b.room.set(id, func(m *api.Machine) {
			e := *m.Estimate
			e.Percent = (e.Percent + 1) % 100
			m.Estimate = &e // a page may be reading the one that was
		})
		select {
		case b.changes <- api.Change{Kind: api.ChangeMachine, ID: id}:
		case <-stop:
			return
		}
		select {
		case <-pace.C:
		case <-stop:
			return
		}
	}
}
