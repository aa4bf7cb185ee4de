package guide

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/lockedbuf"
)

// reader does what a page says, in the directory where it is.
type reader struct {
	bin   string
	wrong int // commands that gave something else
}

// read does what a page says. It is process 1 of a network of its own, with
// nothing below /var/lib.
func read(ctx context.Context, page string) error {
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	r := &reader{bin: filepath.Join(here, "../bin")}
	for _, command := range []string{
		"ip link set lo up", "ip link add eth1 type veth peer name rack", "ip link set eth1 up", "ip link set rack up",
		"mount --make-rprivate /", "mount --bind ../lib /var/lib", "mkdir -p /var/lib/gild",
	} {
		if out, err := r.command(ctx, command).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
	}
	for _, s := range steps(string(text)) {
		if err := r.do(ctx, s); err != nil {
			return err
		}
	}
	if r.wrong > 0 {
		return fmt.Errorf("%d commands gave something else", r.wrong)
	}
	return nil
}

func (r *reader) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Env = append(os.Environ(), "PATH="+r.bin+":"+os.Getenv("PATH"), "HOME=/root")
	return cmd
}

// do types a command and compares what comes back.
func (r *reader) do(ctx context.Context, s step) error {
	if name, ok := strings.CutPrefix(s.command, "cat "); ok {
		return show(name, s.want)
	}
	var got []string
	var err error
	if strings.HasSuffix(s.command, "gild serve") {
		got, err = r.serve(ctx, s)
	} else {
		ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
		defer cancel()
		var out []byte
		// With what code it ends, its last line says.
		if out, err = r.command(ctx, s.command).CombinedOutput(); ctx.Err() == nil {
			err = nil
		}
		got = lines(string(out))
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", s.command, err)
	case like(s.want, got):
		fmt.Println("as it says:", s.command)
	default:
		r.wrong++
		fmt.Printf("--- %s\nwant:\n%s\ngot:\n%s\n", s.command, strings.Join(s.want, "\n"), strings.Join(got, "\n"))
	}
	return r.meanwhile(ctx, s.command)
}

func lines(text string) []string {
	text = strings.TrimRight(text, "\n")
	if text == "" {
		return nil
	}
	all := strings.Split(text, "\n")
	for i := range all {
		all[i] = strings.TrimRight(all[i], " ")
	}
	return all
}

// show is a file of the reader's: it becomes what the page shows.
func show(name string, text []string) error {
	var kept []string
	for _, l := range text {
		if l != "..." {
			kept = append(kept, l)
		}
	}
	return os.WriteFile(name, []byte(strings.Join(kept, "\n")+"\n"), 0o600)
}

// serve starts a server and waits for all that it is to say. It ends with this
// process, which is the first of its name space.
func (r *reader) serve(ctx context.Context, s step) ([]string, error) {
	cmd := r.command(ctx, s.command)
	var out lockedbuf.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	last := s.want[len(s.want)-1]
	err := until(ctx, time.Minute, func() bool {
		all := lines(out.String())
		return len(all) > 0 && likeLine(last, all[len(all)-1])
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, out.String())
	}
	var said []string
	for _, l := range lines(out.String()) {
		if !strings.HasPrefix(l, "time=") { // its log
			said = append(said, l)
		}
	}
	return said, nil
}

// until waits for something, and fails when it has not come in time.
func until(ctx context.Context, within time.Duration, done func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			return errors.New("it did not come within " + within.String())
		case <-time.After(200 * time.Millisecond):
		}
	}
	return nil
}

// meanwhile is what the page tells the reader to do at the machines, and to
// wait for: they are switched on once the server serves, and flashed once they
// are armed.
func (r *reader) meanwhile(ctx context.Context, command string) error {
	switch {
	case strings.HasSuffix(command, "gild serve"):
		if err := switchOn(ctx, 2); err != nil {
			return err
		}
		return r.all(ctx, "discovered")
	case strings.HasPrefix(command, "gild flash -l") && strings.HasSuffix(command, "--yes"):
		return r.all(ctx, "running")
	}
	return nil
}

// all waits until each machine is in a state.
func (r *reader) all(ctx context.Context, state string) error {
	err := until(ctx, 5*time.Minute, func() bool {
		out, err := r.command(ctx, "gild machine ls -o json").Output()
		return err == nil && bytes.Count(out, []byte(`"state": "`+state+`"`)) == 2
	})
	if err != nil {
		return fmt.Errorf("machines that are %s: %w", state, err)
	}
	return nil
}
