package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/gild-dev/gild/internal/backoff"
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

// permanent reports whether asking again cannot mend a failure of a source, such
// as a blob that does not exist: its error, or the first in its chain that knows,
// says so.
func permanent(err error) bool {
	e, ok := errors.AsType[interface {
		error
		Permanent() bool
	}](err)
	return ok && e.Permanent()
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

// patientSource turns a Source that may fail at any byte into readers that
// only end early when patience does.
type patientSource struct {
	source Source
	retry  Retry
	wire   *atomic.Int64
	// heard is when the last byte came, in Unix nanoseconds, on any
	// connection: one that waits is not impatient while others progress.
	heard atomic.Int64
	// failed is what the last attempt failed with, if no byte came since.
	failed atomic.Pointer[error]
}

func newPatientSource(s Source, r Retry, wire *atomic.Int64) *patientSource {
	p := &patientSource{source: s, retry: r.withDefaults(), wire: wire}
	p.heard.Store(time.Now().UnixNano())
	return p
}

// trouble is what the last attempt failed with, nil if a byte came since.
func (p *patientSource) trouble() error {
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// open returns a reader of exactly the bytes from off to end of the blob.
// It connects on the first Read. The caller closes it.
func (p *patientSource) open(ctx context.Context, off, end int64) *patientReader {
	return &patientReader{patientSource: p, ctx: ctx, off: off, end: end, waits: p.retry.backoff()}
}

type patientReader struct {
	*patientSource
	ctx      context.Context
	off, end int64
	body     io.ReadCloser
	// opened is the context of the open connection; stall cancels it.
	opened context.Context
	cancel context.CancelCauseFunc
	stall  *time.Timer
	waits  backoff.Backoff // after failures in a row
}

var errStalled = errors.New("no byte came in time")

// Read implements io.Reader. It returns io.EOF only at the end of the range.
func (r *patientReader) Read(p []byte) (int, error) {
	if r.off >= r.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.end-r.off)]
	for {
		n, err := r.attempt(p)
		if n > 0 {
			r.off += int64(n)
			r.waits.Reset()
			r.wire.Add(int64(n))
			r.heard.Store(time.Now().UnixNano())
			r.failed.Store(nil)
			return n, nil
		}
		_ = r.Close()
		if err := r.pause(err); err != nil {
			return 0, err
		}
	}
}

// attempt reads from the open connection, or opens one. It gives bytes or an
// error, never both.
func (r *patientReader) attempt(p []byte) (int, error) {
	if r.body == nil {
		ctx, cancel := context.WithCancelCause(r.ctx)
		r.opened, r.cancel = ctx, cancel
		r.stall = time.AfterFunc(r.retry.Stall, func() { cancel(errStalled) })
		body, err := r.source.ReadRange(ctx, r.off, r.end-r.off)
		if err != nil {
			return 0, r.cause(err)
		}
		r.body = body
	}
	r.stall.Reset(r.retry.Stall)
	n, err := r.body.Read(p)
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
func (r *patientReader) cause(err error) error {
	if errors.Is(context.Cause(r.opened), errStalled) {
		return errStalled
	}
	return err
}

// pause waits before the next attempt, or says why there is none.
func (r *patientReader) pause(cause error) error {
	if err := r.ctx.Err(); err != nil {
		return context.Cause(r.ctx)
	}
	if r.retry.Patience > 0 && permanent(cause) {
		return cause
	}
	silent := time.Since(time.Unix(0, r.heard.Load()))
	if r.retry.Patience > 0 && silent > r.retry.Patience {
		return &SilentError{For: silent, Err: cause}
	}
	r.failed.Store(&cause)
	if backoff.Sleep(r.ctx, r.waits.Next()) != nil {
		return context.Cause(r.ctx)
	}
	return nil
}

// backoff is a series of waits after failures.
func (r Retry) backoff() backoff.Backoff { return backoff.Backoff{First: r.First, Longest: r.Longest} }

// Close drops the connection; a later Read opens a new one.
func (r *patientReader) Close() error {
	if r.stall != nil {
		r.stall.Stop()
		r.stall = nil
	}
	if r.cancel != nil {
		r.cancel(nil)
		r.cancel = nil
	}
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
	return nil
}
