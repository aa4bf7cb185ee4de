package watch

import (
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/term"
)

// bars shows a board on a terminal: the machines that are under way, as many
// as its height has room for, and the sums below. A machine that has ended
// leaves its line above and makes room.
type bars struct {
	out      io.Writer
	palette  term.Palette
	progress *mpb.Progress
	slots    []*mpb.Bar
	sums     *mpb.Bar // the last line

	mu    sync.Mutex // what the renderer reads
	shown []watched
	names int // cells of the widest name
	sum   string
}

// maxSlots is how many machines are shown at once; the rest are summed up.
const maxSlots = 40

// redraw is how often the terminal is drawn.
const redraw = 200 * time.Millisecond

func newBars(out io.Writer, p term.Palette) *bars {
	b := &bars{out: out, palette: p, sum: "connecting to the server"}
	b.progress = mpb.New(mpb.WithOutput(out), mpb.WithRefreshRate(redraw))
	b.sums = b.progress.MustAdd(0, mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		_, err := io.WriteString(w, p.Paint(term.Bold, runewidth.Truncate(b.sum, s.AvailableWidth-1, "…")))
		return err
	}), mpb.BarPriority(maxSlots+1))
	return b
}

// slot adds the line of the i-th machine that is shown.
func (b *bars) slot(i int) *mpb.Bar {
	return b.progress.MustAdd(0, mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		if i >= len(b.shown) {
			return nil
		}
		// One cell less: a line that is full would wrap on some terminals.
		_, err := io.WriteString(w, b.shown[i].line(s.AvailableWidth-1, b.names, b.palette))
		return err
	}), mpb.BarPriority(i))
}

func (b *bars) changed(w *watched) {
	if !w.ended() {
		return
	}
	// Whole lines above the bars stay when those are drawn anew.
	fmt.Fprintln(b.progress, w.line(max(term.Width(b.out)-1, term.Narrowest), widestName, b.palette))
}

func (b *bars) note(text string) { fmt.Fprintln(b.progress, text) }

func (b *bars) tick(r *board, _ time.Time) {
	var active []watched
	for _, w := range r.sorted() {
		if !w.ended() {
			active = append(active, *w)
		}
	}
	shown := active[:min(len(active), b.height())]
	sum := r.totals().sumLine()
	if n := len(active) - len(shown); n > 0 {
		sum = fmt.Sprintf("and %d more; all: %s", n, sum)
	}
	b.mu.Lock()
	b.shown, b.sum, b.names = shown, sum, term.Narrowest
	for i := range shown {
		b.names = max(b.names, runewidth.StringWidth(phrase.Name(&shown[i].Machine)))
	}
	b.mu.Unlock()
	for len(b.slots) < len(shown) {
		b.slots = append(b.slots, b.slot(len(b.slots)))
	}
	for len(b.slots) > len(shown) {
		last := len(b.slots) - 1
		b.slots[last].Abort(true)
		b.slots = b.slots[:last]
	}
}

// height is how many machines there is room for beside the sums.
func (b *bars) height() int {
	_, rows := term.Size(b.out)
	return min(max(rows-2, 1), maxSlots)
}

// done leaves the sums on the terminal, and how far those are that were left.
func (b *bars) done(r *board) {
	b.tick(r, time.Time{})
	b.sums.Abort(true) // the line below takes its place
	b.sums.Wait()
	b.progress.Shutdown()
	fmt.Fprintln(b.out, r.endLine())
}
