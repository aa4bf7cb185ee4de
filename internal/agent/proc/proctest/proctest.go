// Package proctest gives tests processes to end or to spare.
package proctest

import (
	"os/exec"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/child"
)

// Sleeper starts a process that does nothing, and reports whether it lives.
func Sleeper(t *testing.T) (pid int, lives func() bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	p := child.For(t, cmd)
	gone := make(chan struct{})
	go func() {
		<-p.Done()
		_ = p.Wait() // until then its number is taken, and kill(2) finds it
		close(gone)
	}()
	return p.Pid, func() bool {
		select {
		case <-gone:
			return false
		case <-time.After(time.Second):
			return true
		}
	}
}
