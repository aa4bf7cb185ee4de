package term

import (
	"sync/atomic"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// Bar shows a person how far a command has come: rate and time left. When
// standard error is no terminal it shows nothing. Its methods are safe for
// concurrent use.
type Bar struct {
	progress *mpb.Progress
	bar      *mpb.Bar
	text     atomic.Pointer[string]
}

// Bar begins a bar for total bytes; -1 is unknown.
func (c *Console) Bar(title string, total int64) *Bar {
	b := &Bar{}
	b.Note("")
	if !IsTerminal(c.Stderr) || c.JSON {
		return b
	}
	b.progress = mpb.New(mpb.WithOutput(c.Stderr), mpb.WithWidth(64))
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

// Set moves the bar to n bytes done.
func (b *Bar) Set(n int64) {
	if b.bar != nil {
		b.bar.SetCurrent(n)
	}
}

// SetOf moves the bar to n bytes done of a total that was not known before.
func (b *Bar) SetOf(n, total int64) {
	if b.bar != nil {
		b.bar.SetTotal(total, false)
		b.bar.SetCurrent(n)
	}
}

// Add moves the bar on by n bytes.
func (b *Bar) Add(n int64) {
	if b.bar != nil {
		b.bar.IncrInt64(n)
	}
}

// Note shows a text behind the bar.
func (b *Bar) Note(s string) { b.text.Store(&s) }

// Done leaves the bar as it stands and ends it.
func (b *Bar) Done() {
	if b.bar == nil {
		return
	}
	b.bar.Abort(false)
	b.progress.Wait()
}
