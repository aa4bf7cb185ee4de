package proc

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/gild-dev/gild/internal/agent/proc/proctest"
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

func TestKillOthersSparesTheKeeper(t *testing.T) {
	keeper, keeperLives := proctest.Sleeper(t)
	other, otherLives := proctest.Sleeper(t)
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
