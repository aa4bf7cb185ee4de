package screen

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/lockedbuf"
)

func TestConsoleNeverBlocks(t *testing.T) {
	c := &Console{}
	c.Add(t.Context(), blocked{t.Context()}, true)
	done := make(chan struct{})
	go func() {
		for range 10000 {
			c.Line("x")
			c.redraw("y", true)
		}
		c.Drain(10 * time.Millisecond)
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("a console that does not take anything holds up the boot")
	}
}

type blocked struct{ ctx context.Context }

func (b blocked) Write([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

// A screen is redrawn once a second, a serial log gets a line every ten, and
// both get the first of each phase at once.
func TestConsoleProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c, live, log := &Console{}, &lockedbuf.Buffer{}, &lockedbuf.Buffer{}
		c.Add(ctx, live, true)
		c.Add(ctx, log, false)
		for i := range 45 { // four a second
			c.redraw(fmt.Sprint(i), i == 0 || i == 42)
			time.Sleep(250 * time.Millisecond)
		}
		c.Line("done")
		synctest.Wait()
		const redraw = "\r\x1b[K"
		want := ""
		for _, i := range []int{0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 42} {
			want += redraw + fmt.Sprint(i)
		}
		if want += redraw + "done\r\n"; live.String() != want {
			t.Errorf("screen = %q; want %q", live, want)
		}
		if want := "0\r\n40\r\n42\r\ndone\r\n"; log.String() != want {
			t.Errorf("serial log = %q; want %q", log, want)
		}
	})
}
