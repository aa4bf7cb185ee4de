package instant

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/flash"
)

// lines is a kernel log.
type lines []string

func (l *lines) Write(p []byte) (int, error) {
	*l = append(*l, string(p))
	return len(p), nil
}

// A console says why its system waits, again after a minute, and that it is
// over; to a wait after each piece it gives no more lines than that.
func TestStallLog(t *testing.T) {
	var said lines
	h := stallLog{log: screen.NewKmsg(&said).Logger(slog.LevelInfo)}
	away := errors.New("dial tcp 10.0.0.1:8080: no route to host")
	start := time.Unix(1, 0)
	for s := range 120 {
		p := flash.Progress{Unmet: time.Duration(s) * time.Second, Trouble: away}
		if s < 10 {
			p.Unmet = 0
		}
		h.see(start.Add(time.Duration(s)*time.Second), p)
	}
	for s := range 50 { // now and then a piece comes
		h.see(start.Add(time.Duration(120+s)*time.Second), flash.Progress{Unmet: time.Duration(s%2*10) * time.Second, Unanswered: time.Minute})
	}
	want := []string{
		"<3>gild: the system waits for its disk for=10s because=dial tcp 10.0.0.1:8080: no route to host",
		"<3>gild: the system waits for its disk for=1m10s because=dial tcp 10.0.0.1:8080: no route to host",
		"<3>gild: the system has its disk again",
		"<3>gild: the system waits for its disk for=10s because=the disk itself does not answer",
		"<3>gild: the system has its disk again",
	}
	if got := strings.Join(said, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("said\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}
