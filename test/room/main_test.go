package room

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/tier"
)

var (
	agents = flag.Int("agents", 200, "machines that are armed at once")
	kills  = flag.Int("kills", 5, "times that the server is killed meanwhile")
	seed   = flag.Uint64("seed", 1, "of the moments of the kills, and of the lies")

	deceived = flag.Int("deceived", 12, "machines that are flashed while a liar speaks for them")
	lies     = flag.Int("lies", 1500, "that it tells")
)

// Environment of this binary when it is started again: as a machine, as the
// probe, or inside a network namespace where the server's ports are free and
// nobody listens in.
const (
	envProbe   = "GILD_ROOM_PROBE"
	envMachine = "GILD_ROOM_MACHINE"
	envInside  = "GILD_ROOM_INSIDE"
)

func TestMain(m *testing.M) {
	if addrs := os.Getenv(envCable); addrs != "" {
		if err := plugIn(addrs); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	if role := os.Getenv(envHostile); role != "" {
		os.Exit(attack(role))
	}
	if role := os.Getenv(envMachine); role != "" {
		os.Exit(play(role))
	}
	if server := os.Getenv(envProbe); server != "" {
		os.Exit(ask(server))
	}
	if os.Geteuid() == 0 && os.Getenv(envInside) == "" {
		os.Exit(inside())
	}
	if os.Getenv(envInside) != "" {
		// What a test mounts goes with its namespace, and nobody else sees it.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Fprintln(os.Stderr, "a mount namespace for the tests:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// inside runs the tests in a network and a mount namespace of their own and
// returns their exit code.
func inside() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), envInside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	err := child.Run(cmd)
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return ended.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "starting the tests in a network namespace:", err)
		return 1
	}
	return 0
}

// needRoom skips where the room cannot be built.
func needRoom(t *testing.T) {
	t.Helper()
	tier.Root(t, "a network namespace needs root")
	if out, err := exec.CommandContext(t.Context(), "ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		t.Fatalf("ip link set lo up: %v: %s", err, out)
	}
}
