package supply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gild-dev/gild/internal/backoff"
	"github.com/gild-dev/gild/internal/golden"
)

// Retry bounds the waits on a source. A source that fails is asked again,
// from the byte it got to, after a wait that doubles from First to Longest,
// each time moved by up to a half at random so that a room of machines does
// not ask in step.
type Retry struct {
	First   time.Duration // 0 means 1 s
	Longest time.Duration // 0 means 60 s
	// Stall is how long one connection may give no byte before it is dropped
	// for a new one. 0 means 30 s.
	Stall time.Duration
	// Patience is how long all connections together may give no byte before
	// the flash fails. 0 means 30 minutes; negative means for ever, whatever the
	// source says of itself.
	Patience time.Duration
}

func (r Retry) withDefaults() Retry {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&r.First, time.Second)
	set(&r.Longest, time.Minute)
	set(&r.Stall, 30*time.Second)
	set(&r.Patience, 30*time.Minute)
	return r
}

// Backoff is a series of waits after failures.
func (r Retry) Backoff() backoff.Backoff {
	return backoff.Backoff{First: r.First, Longest: r.Longest}
}

// SilentError says that no byte came from the source, over any connection, for
// longer than Retry.Patience.
type SilentError struct {
	For time.Duration
	Err error // of the last attempt
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("nothing came from the source for %v: %v", e.For.Round(time.Second), e.Err)
}

func (e *SilentError) Unwrap() error { return e.Err }

// Line turns a Source that may fail at any byte into readers that only end
// early when patience does. It is safe for concurrent use.
type Line struct {
	Retry Retry // without zero fields

	source Source
	table  *golden.Table
	wire   *atomic.Int64
	// heard is when the last byte came, in Unix nanoseconds, on any
	// connection: one that waits is not impatient while others progress.
	heard atomic.Int64
	// failed is what the last attempt failed with, if no byte came since.
	failed atomic.Pointer[error]

	mu    sync.Mutex
	given map[string]int64 // bytes by who sent them
}

// New returns a line to the source of the table's image. It adds to wire what
// comes, and takes the zero fields of r by their defaults.
func New(s Source, t *golden.Table, r Retry, wire *atomic.Int64) *Line {
	l := &Line{source: s, table: t, Retry: r.withDefaults(), wire: wire, given: map[string]int64{}}
	l.heard.Store(time.Now().UnixNano())
	return l
}

// Trouble is what the last attempt failed with, nil if a byte came since.
func (l *Line) Trouble() error {
	if err := l.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// came takes note of bytes that were sent.
func (l *Line) came(n int, from string) {
	l.wire.Add(int64(n))
	l.heard.Store(time.Now().UnixNano())
	l.failed.Store(nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.given[from] += int64(n)
}

// Givers returns how many bytes came from whom.
func (l *Line) Givers() map[string]int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.given)
}

// Open returns a reader of the frames of these chunks. It connects when the
// first is read. The caller closes it.
func (l *Line) Open(ctx context.Context, span []int) *Frames {
	return &Frames{line: l, ctx: ctx, span: span, waits: l.Retry.Backoff()}
}

// Frames reads frames one after another, over as many connections as that
// takes.
type Frames struct {
	line *Line
	ctx  context.Context
	span []int // chunks whose frames were not read yet
	at   int64 // bytes read of the first of them
	// From is who sent the frame that was read last; several if the connection
	// broke in it.
	From string

	answer Answer
	gap    int64 // bytes of the open connection to be dropped before the next frame
	// opened is the context of the open connection; stall cancels it.
	opened context.Context
	cancel context.CancelCauseFunc
	stall  *time.Timer
	waits  backoff.Backoff // after failures in a row
}

// ErrStalled ends a connection that gave no byte for as long as Retry.Stall.
var ErrStalled = errors.New("no byte came in time")

// Next fills frame, which has the length of the next chunk's. It fails when
// patience ends.
func (r *Frames) Next(frame []byte) error {
	for r.at = 0; r.at < int64(len(frame)); {
		p := frame[r.at:]
		if r.gap > 0 { // before any of the frame, whose place serves for that
			p = frame[:min(r.gap, int64(cap(frame)))]
		}
		n, err := r.attempt(p)
		if n == 0 {
			_ = r.Close()
			if err := r.pause(err); err != nil {
				return err
			}
			continue
		}
		r.waits.Reset()
		r.line.came(n, r.answer.From)
		if r.gap > 0 {
			r.gap -= int64(n)
			continue
		}
		r.sentBy(r.answer.From)
		r.at += int64(n)
	}
	r.advance()
	return nil
}

// sentBy adds to who sent the frame.
func (r *Frames) sentBy(from string) {
	switch {
	case r.at == 0:
		r.From = from
	case r.From != from:
		r.From += " and " + from
	}
}

// advance continues to the next chunk.
func (r *Frames) advance() {
	done := r.line.table.Chunk(r.span[0])
	r.span = r.span[1:]
	if len(r.span) > 0 && r.answer.Body != nil && r.answer.Stretch {
		r.gap = r.line.table.Chunk(r.span[0]).Offset - done.Offset - done.Length
	}
}

// attempt reads from the open connection, or opens one. It gives bytes or an
// error, never both.
func (r *Frames) attempt(p []byte) (int, error) {
	if r.answer.Body == nil {
		ctx, cancel := context.WithCancelCause(r.ctx)
		r.opened, r.cancel = ctx, cancel
		r.stall = time.AfterFunc(r.line.Retry.Stall, func() { cancel(ErrStalled) })
		answer, err := r.line.source.Open(ctx, r.span, r.at)
		if err != nil {
			return 0, r.cause(err)
		}
		r.answer = answer
	}
	r.stall.Reset(r.line.Retry.Stall)
	n, err := r.answer.Body.Read(p)
	// Until it is asked again nothing is expected of it: what came may have to
	// wait for the disk.
	r.stall.Stop()
	switch {
	case n > 0:
		return n, nil
	case err == nil || err == io.EOF:
		return 0, io.ErrUnexpectedEOF
	}
	return 0, r.cause(err)
}

// cause says what really ended a connection that was cancelled.
func (r *Frames) cause(err error) error {
	if errors.Is(context.Cause(r.opened), ErrStalled) {
		return ErrStalled
	}
	return err
}

// pause waits before the next attempt, or says why there is none.
func (r *Frames) pause(cause error) error {
	if err := r.ctx.Err(); err != nil {
		return context.Cause(r.ctx)
	}
	retry := r.line.Retry
	if retry.Patience > 0 && backoff.Permanent(cause) {
		return cause
	}
	silent := time.Since(time.Unix(0, r.line.heard.Load()))
	if retry.Patience > 0 && silent > retry.Patience {
		return &SilentError{For: silent, Err: cause}
	}
	r.line.failed.Store(&cause)
	if backoff.Sleep(r.ctx, r.waits.Next()) != nil {
		return context.Cause(r.ctx)
	}
	return nil
}

// Close drops the connection; Next opens a new one.
func (r *Frames) Close() error {
	if r.stall != nil {
		r.stall.Stop()
		r.stall = nil
	}
	if r.cancel != nil {
		r.cancel(nil)
		r.cancel = nil
	}
	if r.answer.Body != nil {
		r.answer.Body.Close()
	}
	r.answer, r.gap = Answer{}, 0
	return nil
}
