package dashboard

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/gild-dev/gild/internal/api"
)

// frames counts what the browser draws within five seconds: frames a second,
// and the longest time between two in milliseconds.
const frames = `new Promise((done) => {
  const first = performance.now(); let last = first, n = 0, longest = 0;
  const next = (t) => { n++; longest = Math.max(longest, t - last); last = t;
    if (t - first < 5000) requestAnimationFrame(next); else done([n / (t - first) * 1000, longest]); };
  requestAnimationFrame(next);
})`

// A room of a thousand of which a hundred are flashed is drawn while changes
// come. What it takes is measured, and not judged: a machine that emulates its
// display is no judge.
func TestLongFrames(t *testing.T) {
	b := open(t, 1000)
	b.do(t, chromedp.Navigate(b.url), chromedp.WaitVisible(chromedp.CSS("#live")))
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for i := 0; ; i++ {
			id := b.room.machines[i%100].ID
			b.room.set(id, func(m *api.Machine) {
				if m.Estimate != nil {
					m.Estimate.Percent = (m.Estimate.Percent + 1) % 100
				}
			})
			select {
			case b.changes <- api.Change{Kind: api.ChangeMachine, ID: id}:
			case <-stop:
				return
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-stop:
				return
			}
		}
	}()
	got, err := chromedp.Run(b.ctx, chromedp.Evaluate[[]float64](frames, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.0f frames a second, at most %.0f ms between two", got[0], got[1])
}
