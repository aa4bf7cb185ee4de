package backoff

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestNextGrowsToItsBound(t *testing.T) {
	b := Backoff{First: time.Second, Longest: 8 * time.Second}
	for i, base := range []time.Duration{1, 2, 4, 8, 8, 8} {
		base *= time.Second
		if got := b.Next(); got < base/2 || got > base+base/2 {
			t.Errorf("Next() number %d = %v; want %v to %v", i, got, base/2, base+base/2)
		}
	}
	b.Reset()
	if got := b.Next(); got > 1500*time.Millisecond {
		t.Errorf("Next() after Reset() = %v; want about 1s", got)
	}
}

func TestZeroValueAndTinyBounds(t *testing.T) {
	var zero Backoff
	for range 100 {
		if got := zero.Next(); got <= 0 || got > 90*time.Second {
			t.Fatalf("Next() = %v; want more than 0, at most 90s", got)
		}
	}
	tiny := Backoff{First: 1, Longest: 1}
	for range 10 {
		if got := tiny.Next(); got < 0 || got > 2 {
			t.Fatalf("Next() = %v; want at most 2ns", got)
		}
	}
}

func TestSleepEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("Sleep(canceled) = %v; want context.Canceled", err)
	}
	if err := Sleep(t.Context(), time.Microsecond); err != nil {
		t.Errorf("Sleep(1µs) = %v; want nil", err)
	}
}

// refusal is an error that says of itself whether it is for good.
type refusal bool

func (r refusal) Error() string   { return "refused" }
func (r refusal) Permanent() bool { return bool(r) }

func TestPermanent(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{nil, false},
		{errors.New("cut off"), false},
		{refusal(true), true},
		{refusal(false), false},
		{fmt.Errorf("asking: %w", refusal(true)), true},
		{errors.Join(errors.New("first"), refusal(true)), true},
	} {
		if got := Permanent(tt.err); got != tt.want {
			t.Errorf("Permanent(%v) = %v; want %v", tt.err, got, tt.want)
		}
	}
}
