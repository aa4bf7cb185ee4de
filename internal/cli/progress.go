package cli

import (
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// bar shows a person how far a command has come: rate and time left. When
// standard error is no terminal it shows nothing. Its methods are safe for
// concurrent use.
type bar struct {
	progress *mpb.Progress
	bar      *mpb.Bar
	text     atomic.Pointer[string]
}

// newBar begins a bar for total bytes; -1 is unknown.
func (a *app) newBar(title string, total int64) *bar {
	b := &bar{}
	b.note("")
	if !isTerminal(a.Stderr) || a.json {
		return b
	}
	b.progress = mpb.New(mpb.WithOutput(a.Stderr), mpb.WithWidth(64))
	b.bar = b.progress.AddBar(max(total, 0),
		mpb.PrependDecorators(decor.Name(title+" ")),
		mpb.AppendDecorators(
			decor.CountersKibiByte("% .1f of % .1f"),
			decor.EwmaSpeed(decor.SizeB1024(0), " % .1f", 30),
			decor.OnComplete(decor.EwmaETA(decor.ET_STYLE_MMSS, 30), ""),
			decor.Any(func(decor.Statistics) string { return " " + *b.text.Load() }),
		))
	return b
}

// set moves the bar to n bytes done.
func (b *bar) set(n int64) {
	if b.bar != nil {
		b.bar.SetCurrent(n)
	}
}

// add moves the bar on by n bytes.
func (b *bar) add(n int64) {
	if b.bar != nil {
		b.bar.IncrInt64(n)
	}
}

// note shows a text behind the bar.
func (b *bar) note(s string) { b.text.Store(&s) }

// done leaves the bar as it stands and ends it.
func (b *bar) done() {
	if b.bar == nil {
		return
	}
	b.bar.Abort(false)
	b.progress.Wait()
}
