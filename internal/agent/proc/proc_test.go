package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

func TestChildrenLeavesItsOwnToBeWaitedFor(t *testing.T) {
	c := NewChildren()
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			default:
				c.reapOnce("/proc")
			}
		}
	}()
	defer close(stop)
	for range 20 {
		if err := c.Run("/bin/true", []string{"true"}, &os.ProcAttr{}); err != nil {
			t.Fatalf("Run() = %v; want the child's own end", err)
		}
	}
}

// sleeper starts a process that does nothing, and reports whether it lives.
func sleeper(t *testing.T) (pid int, lives func() bool) {
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

func TestKillOthersSparesTheKeeper(t *testing.T) {
	keeper, keeperLives := sleeper(t)
	other, otherLives := sleeper(t)
	proc := t.TempDir()
	for _, name := range []string{strconv.Itoa(os.Getpid()), strconv.Itoa(keeper), strconv.Itoa(other), "self", "sys"} {
		if err := os.Mkdir(filepath.Join(proc, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	KillOthers(proc, keeper)
	if otherLives() || !keeperLives() {
		t.Error("want the other process ended, and the keeper not")
	}
}
