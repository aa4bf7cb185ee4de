// Package proctest gives tests processes to end or to spare.
package proctest

import (
	"os/exec"
	"testing"
	"time"
)

// Sleeper starts a process that does nothing, and reports whether it lives.
func Sleeper(t *testing.T) (pid int, lives func() bool) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	return cmd.Process.Pid, func() bool {
		select {
		case <-ended:
			return false
		case <-time.After(time.Second):
			return true
		}
	}
}
