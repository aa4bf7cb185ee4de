package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// role has this binary be the parent that ends; its value says what it does.
const role = "GILD_CHILD_PARENT"

func TestMain(m *testing.M) {
	if how := os.Getenv(role); how != "" {
		os.Exit(parent(how))
	}
	os.Exit(m.Run())
}

// parent starts a child of each kind that holds this process's standard output
// open, and ends as it is told to.
func parent(how string) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, err); return 1 }
	cmd := exec.Command("sh", "-c", "echo child; exec sleep 3600")
	cmd.Stdout = os.Stdout
	if _, err := Start(cmd); err != nil {
		return fail(err)
	}
	// The kernel does not kill it, as it does not a program that changes its
	// capabilities.
	forgotten := exec.Command("setpriv", "--pdeathsig", "clear", "sh", "-c", "echo child; exec sleep 3600")
	forgotten.Stdout = os.Stdout
	if _, err := Start(forgotten); err != nil {
		return fail(err)
	}
	if _, err := AtEnd("sh", "-c", `echo end >"$0"`, os.Getenv("GILD_CHILD_FILE")); err != nil {
		return fail(err)
	}
	running := exec.Command("sh", "-c", "echo child; exec sleep 3600")
	running.Stdout = os.Stdout
	go func() { _ = Run(running) }()
	if _, err := os.Stdin.Read(make([]byte, 1)); err != nil {
		return fail(err)
	}
	if how == "panic" {
		panic("as a test that fails badly")
	}
	return 0
}

// Whatever becomes of a process, the children that it started go, and what is
// to be done in the end is done.
func TestParentGoes(t *testing.T) {
	for _, how := range []string{"killed", "panic", "exit"} {
		t.Run(how, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			fifo := filepath.Join(t.TempDir(), "end")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), self)
			cmd.Env = append(os.Environ(), role+"="+how, "GILD_CHILD_FILE="+fifo)
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(out)
			for range 3 {
				if line, err := lines.ReadString('\n'); line != "child\n" {
					t.Fatalf("the parent says %q, %v", line, err)
				}
			}
			if how == "killed" {
				err = cmd.Process.Kill()
			} else {
				_, err = in.Write([]byte{'.'})
			}
			if err != nil {
				t.Fatal(err)
			}
			// The last process that has it open has gone. A child that stayed would have
			// this wait for an hour.
			if rest, err := io.ReadAll(lines); err != nil || len(rest) > 0 {
				t.Errorf("the children say %q, %v", rest, err)
			}
			if said, err := os.ReadFile(fifo); string(said) != "end\n" {
				t.Errorf("in the end %q, %v was said", said, err)
			}
			_ = cmd.Wait()
		})
	}
}

// onPassingThread runs f on a thread that ends with this goroutine, as the
// process's first one would not.
func onPassingThread(f func()) {
	runtime.LockOSThread() // and never unlocked
	if syscall.Gettid() != os.Getpid() {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onPassingThread(f)
	}()
	<-done
}

// A child outlives the thread of the goroutine that started it.
func TestThreadGoes(t *testing.T) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var p *Process
	started := make(chan error)
	thread := 0
	go onPassingThread(func() {
		thread = syscall.Gettid()
		var err error
		p, err = Start(cmd)
		started <- err
	})
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	for syscall.Tgkill(os.Getpid(), thread, 0) == nil {
		runtime.Gosched()
	}
	if _, err := io.WriteString(in, "still here\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "still here\n" {
		t.Errorf("the child says %q, %v", line, err)
	}
}

// Children get no files that their parent inherited, which may be locks of
// others.
func TestInheritedFiles(t *testing.T) {
	dup, err := syscall.Dup(2) // without close-on-exec, as inherited ones are
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Close(dup) }()
	look := func() *exec.Cmd {
		return exec.CommandContext(t.Context(), "sh", "-c", fmt.Sprintf("[ -e /proc/self/fd/%d ] && echo open || echo closed", dup))
	}
	if out, err := look().Output(); string(out) != "open\n" {
		t.Fatalf("a common child has it %q, %v; want it open", out, err)
	}
	var said strings.Builder
	cmd := look()
	cmd.Stdout = &said
	p, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil || said.String() != "closed\n" {
		t.Errorf("the child has it %q, %v; want it closed", said.String(), err)
	}
}

// Kill reaches what a child started, and a context's end what Run runs.
func TestGroup(t *testing.T) {
	family := func(ctx context.Context) (*exec.Cmd, io.Reader) {
		cmd := exec.CommandContext(ctx, "sh", "-c", "sleep 3600 & echo up; wait")
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = write
		t.Cleanup(func() { read.Close() })
		return cmd, read
	}
	gone := func(out io.Reader) {
		t.Helper()
		if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
			t.Errorf("what is left of the family says %q, %v", rest, err)
		}
	}
	cmd, out := family(t.Context())
	p, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout.(*os.File).Close()
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "up\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	p.Kill()
	p.Kill()
	gone(lines)
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("a signal to a process that has ended: %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd, out = family(ctx)
	mine := cmd.Stdout.(*os.File)
	ended := make(chan error)
	go func() { ended <- Run(cmd) }()
	lines = bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "up\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("a command that was killed ended well")
	}
	mine.Close()
	gone(lines)
}

func TestErrors(t *testing.T) {
	if _, err := Start(exec.CommandContext(t.Context(), "/nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Start(/nowhere) = %v", err)
	}
	refused := errors.New("refused")
	if _, err := Start(exec.CommandContext(t.Context(), "true"), func() error { return refused }); !errors.Is(err, refused) {
		t.Errorf("Start() after a failure = %v; want %v", err, refused)
	}
	end, err := AtEnd("false")
	if err != nil {
		t.Fatal(err)
	}
	if first, second := end(), end(); first == nil || second == nil {
		t.Errorf("the end by false = %v, %v; want errors", first, second)
	}
}
