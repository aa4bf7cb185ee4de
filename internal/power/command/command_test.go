package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/power/powertest"
)

// machine is a program that plays a machine with its state in a folder.
const machine = `#!/bin/sh
read -r password
cd "$1" || exit 1
[ "$password" = "$(cat password)" ] || { echo "login of $GILD_POWER_USER failed: $password" >&2; exit 4; }
case $GILD_POWER_VERB in
status) cat state ;;
on) echo on >>did; echo on >state ;;
off) echo off >>did; echo off >state ;;
shutdown) echo shutdown >>did; echo off >state ;;
cycle) echo cycle >>did; echo on >state ;;
reset) echo reset >>did ;;
boot-once) [ "$GILD_POWER_BOOT" = http ] && exit 3; echo "boot $GILD_POWER_BOOT" >>did ;;
identify) exit 3 ;;
esac
`

func program(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prog"), []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestConformance(t *testing.T) {
	powertest.Run(t, func(t *testing.T) powertest.Rig {
		programs, world := program(t, machine), t.TempDir()
		put := func(name, text string) {
			if err := os.WriteFile(filepath.Join(world, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		put("password", powertest.Secret)
		put("state", "on\n")
		d := Driver{Dir: programs, Argv: []string{"prog", world}, User: "op", Password: powertest.Secret}
		wrong := d
		wrong.Password = powertest.Secret + "-wrong"
		return powertest.Rig{
			Driver: &d, Wrong: &wrong,
			Dead:  &Driver{Dir: program(t, "#!/bin/sh\nexec sleep 1000\n"), Argv: []string{"prog"}},
			Can:   []power.Verb{power.VerbStatus, power.VerbOn, power.VerbOff, power.VerbCycle, power.VerbReset, power.VerbBootOnce},
			Boots: []power.Device{power.Network, power.Disk, power.CD},
			Set:   func(s power.State) { put("state", string(s)) },
			State: func() power.State {
				text, err := os.ReadFile(filepath.Join(world, "state"))
				if err != nil {
					t.Fatal(err)
				}
				return power.ParseState(string(text))
			},
			Did: func() []string {
				text, err := os.ReadFile(filepath.Join(world, "did"))
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
			},
		}
	})
}

func TestEnvironment(t *testing.T) {
	dir := program(t, "#!/bin/sh\nenv | grep ^GILD | sort -r >&2\nexit 9\n")
	t.Setenv("GILD_TOKEN", "CANARY-env")
	d := Driver{
		Dir: dir, Argv: []string{"prog"}, Address: "pdu-3", User: "op", Password: powertest.Secret,
		Machine: "web-1", MACs: []string{"52:54:00:00:00:01", "52:54:00:00:00:02"},
	}
	err := d.BootOnce(t.Context(), power.Boot{Device: power.HTTP, URL: "http://h/x", Legacy: true})
	if !errors.Is(err, power.Failed) || strings.Contains(err.Error(), "CANARY") {
		t.Fatalf("BootOnce = %v; want a failure that shows no secret", err)
	}
	env := strings.Join(d.environment("x"), "\n")
	for _, want := range []string{
		"GILD_POWER_VERB=x", "GILD_POWER_ADDRESS=pdu-3", "GILD_POWER_USER=op", "GILD_MACHINE=web-1",
		"GILD_MACHINE_MACS=52:54:00:00:00:01 52:54:00:00:00:02",
	} {
		if !strings.Contains(env, want) {
			t.Errorf("environment %q; want %s", env, want)
		}
	}
	for _, want := range []string{"exit status 9", "GILD_MACHINE=web-1", "GILD_POWER_ADDRESS=pdu-3"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("BootOnce = %v; want %s", err, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	for script, want := range map[string]power.Kind{
		"exit 3": power.Unsupported, "exit 4": power.Denied, "exit 5": power.Unreachable, "exit 6": power.Busy, "exit 1": power.Failed,
		"kill -9 $$": power.Failed,
	} {
		d := Driver{Dir: program(t, "#!/bin/sh\n"+script+"\n"), Argv: []string{"prog"}}
		if err := d.On(t.Context()); !errors.Is(err, want) {
			t.Errorf("%s: On = %v; want %s", script, err, want)
		}
	}
	for text, want := range map[string]power.State{"on": power.On, "OFF\n": power.Off, "": power.Unknown, "maybe": power.Unknown} {
		d := Driver{Dir: program(t, "#!/bin/sh\nprintf '%s' '"+text+"'\n"), Argv: []string{"prog"}}
		if got, err := d.Status(t.Context()); err != nil || got != want {
			t.Errorf("%q: Status = %s, %v; want %s", text, got, err, want)
		}
	}
}

// Foreign text is bounded and cleaned.
func TestOutputIsForeign(t *testing.T) {
	d := Driver{
		Dir:  program(t, "#!/bin/sh\nprintf 'a\\033[2Jb\\nc' >&2\nhead -c 10000000 /dev/zero | tr '\\0' x >&2\nexit 1\n"),
		Argv: []string{"prog"},
	}
	err := d.On(t.Context())
	if err == nil || len(err.Error()) > 2*maxShown || strings.ContainsAny(err.Error(), "\x1b\n") ||
		!strings.Contains(err.Error(), "a?[2Jb c") {
		t.Errorf("On = %.500q; want a short line that may be shown", err)
	}
}

func TestWhatIsRun(t *testing.T) {
	dir := program(t, "#!/bin/sh\nexit 0\n")
	outside := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(outside, []byte("#!/bin/sh\nexit 0\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{"data": 0o644, "shared": 0o777} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil { // past the umask
			t.Fatal(err)
		}
	}
	for _, argv := range [][]string{
		nil,
		{""},
		{"."},
		{".."},
		{outside},
		{"../" + filepath.Base(dir) + "/prog"},
		{"missing"},
		{"data"},
		{"shared"},
		{"prog\x00"},
	} {
		d := Driver{Dir: dir, Argv: argv}
		if err := d.On(t.Context()); !errors.Is(err, power.Failed) {
			t.Errorf("On by %q = %v; want it refused", argv, err)
		}
	}
	d := Driver{Dir: dir, Argv: []string{"prog"}}
	if err := d.On(t.Context()); err != nil {
		t.Errorf("On = %v", err)
	}
}

// What runs too long goes, with what it has started.
func TestTimeLimit(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pid")
	d := Driver{Dir: program(t, "#!/bin/sh\nsleep 1000 &\necho $! >"+pids+".new; mv "+pids+".new "+pids+"\nwait\n"), Argv: []string{"prog"}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.On(ctx) }()
	var pid int
	for end := time.Now().Add(20 * time.Second); pid == 0; time.Sleep(5 * time.Millisecond) {
		text, err := os.ReadFile(pids)
		if err == nil {
			if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
				t.Fatal(err)
			}
		}
		if time.Now().After(end) {
			t.Fatal("the program did not start")
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, power.Unreachable) {
		t.Errorf("On = %v; want that it did not end in time", err)
	}
	for end := time.Now().Add(20 * time.Second); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("what the program has started is still there")
		}
	}
	short := Driver{Dir: d.Dir, Argv: d.Argv, Limit: 50 * time.Millisecond}
	if err := short.On(t.Context()); !errors.Is(err, power.Unreachable) {
		t.Errorf("On with a limit = %v; want that it did not end in time", err)
	}
}

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}
