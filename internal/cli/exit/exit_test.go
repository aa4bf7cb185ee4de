package exit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/golden/pack"
)

// Of several errors the one decides that says most about what to change.
func TestCode(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		err  error
		want int
	}{
		{boom, CodeFailed},
		{Usage(boom), CodeUsage},
		{fmt.Errorf("reading: %w", Input(boom)), CodeInput},
		{&pack.InputError{Err: boom}, CodeInput},
		{Hint(Refused(boom), "add --yes"), CodeRefused},
		{fmt.Errorf("sda: %w", flash.ErrUnfit), CodeRefused},
		{fs.ErrNotExist, CodeNotFound},
		{errors.Join(boom, NoServer(boom), NotFound(boom)), CodeNotFound},
		{errors.Join(Refused(boom), Usage(boom)), CodeUsage},
		{Input(Denied(boom)), CodeDenied},
	} {
		if got := Code(t.Context(), tt.err); got != tt.want {
			t.Errorf("Code(%#v) = %d; want %d", tt.err, got, tt.want)
		}
		if errors.Is(tt.err, boom) && tt.err.Error() == "" {
			t.Errorf("%#v has no text", tt.err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := Code(ctx, Usage(boom)); got != CodeInterrupted {
		t.Errorf("Code of a command that was interrupted = %d; want %d", got, CodeInterrupted)
	}
}

func TestHintOf(t *testing.T) {
	boom := errors.New("boom")
	for want, err := range map[string]error{
		"": boom, "outer": Hint(fmt.Errorf("x: %w", Hint(boom, "inner")), "outer"),
		"inner": Usage(Hint(boom, "inner")),
	} {
		if got := HintOf(err); got != want {
			t.Errorf("HintOf(%v) = %q; want %q", err, got, want)
		}
	}
}
