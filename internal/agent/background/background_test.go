package background

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
)

// A service ends with Stop and with its context, and begins again with Resume.
func TestService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		tasks := Tasks{Log: slog.New(slog.DiscardHandler)}
		begun, running := 0, false
		s := tasks.Serve(ctx, "x", func(ctx context.Context) {
			begun++
			running = true
			<-ctx.Done()
			running = false
		})
		synctest.Wait()
		s.Resume() // it runs already
		synctest.Wait()
		if begun != 1 || !running {
			t.Errorf("begun %d times, running %v; want once, true", begun, running)
		}
		s.Stop()
		s.Stop()
		if running {
			t.Error("Stop() returned before the end")
		}
		s.Resume()
		synctest.Wait()
		if begun != 2 || !running {
			t.Errorf("after Resume() begun %d times, running %v; want twice, true", begun, running)
		}
		cancel()
		synctest.Wait()
		if running {
			t.Error("it outlasts its context")
		}
		var none Service
		none.Resume()
		none.Stop()
	})
}

// A panic is logged and ends the task alone: whoever stops it does not wait for
// ever.
func TestPanicEndsTheTaskAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		tasks := Tasks{Log: slog.New(slog.NewTextHandler(&log, nil))}
		s := tasks.Serve(t.Context(), "printer", func(context.Context) { panic("out of paper") })
		s.Stop()
		synctest.Wait()
		for _, want := range []string{"in=printer", "out of paper"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("log %q; want %s in it", log.String(), want)
			}
		}
	})
}
