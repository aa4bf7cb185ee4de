package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// opens counts how often a source is asked, and has each connection end with
// its context.
type opens struct {
	blob  []byte
	count atomic.Int64
}

func (o *opens) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	o.count.Add(1)
	return io.NopCloser(&until{ctx, bytes.NewReader(o.blob[off : off+length])}), nil
}

type until struct {
	ctx context.Context
	r   io.Reader
}

func (u *until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// A connection that nobody reads from is not silent: its bytes wait for a slow
// disk, and to drop it is to fetch them twice.
func TestSlowReaderKeepsItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &opens{blob: bytes.Repeat([]byte("frame"), 100)}
		var wire atomic.Int64
		p := newPatientSource(source, Retry{Stall: 3 * time.Second}, &wire)
		r := p.open(t.Context(), 0, int64(len(source.blob)))
		defer r.Close()
		for range len(source.blob) / 100 {
			if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if n := source.count.Load(); n != 1 {
			t.Errorf("%d connections for a reader that takes its time; want 1", n)
		}
	})
}

// notThere is a failure that says of itself that it will not pass.
type notThere string

func (e notThere) Error() string { return string(e) }

func (notThere) Permanent() bool { return true }

func TestPermanent(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("connection reset"), false},
		{notThere("404"), true},
		{fmt.Errorf("fetching: %w", notThere("404")), true},
	} {
		if got := permanent(tt.err); got != tt.want {
			t.Errorf("permanent(%v) = %v; want %v", tt.err, got, tt.want)
		}
	}
}
