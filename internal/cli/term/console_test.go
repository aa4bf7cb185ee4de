package term

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

// A question on a terminal ends with the first Ctrl-C.
func TestQuestionEndsWithTheContext(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	if got := (&Console{Stdin: r}).Ask(ctx); got != "" {
		t.Errorf("ask = %q; want nothing", got)
	}
	for in, want := range map[string]string{"yes\n": "yes", " yes \r\n": "yes", "yes": "", "no\n": "no", "": ""} {
		if got := (&Console{Stdin: strings.NewReader(in)}).Ask(t.Context()); got != want {
			t.Errorf("ask, answered %q = %q; want %q", in, got, want)
		}
	}
}
