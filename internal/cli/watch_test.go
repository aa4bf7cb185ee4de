package cli

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
)

type tlsServer struct {
	*httptest.Server
	ca string
}

func newTLS(t *testing.T, h http.Handler) tlsServer {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	p := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(ca, p, 0o644); err != nil {
		t.Fatal(err)
	}
	return tlsServer{s, ca}
}

func watchRoom() []api.Machine {
	room := sampleRoom()[1:3]
	for i := range room {
		room[i].State, room[i].Progress, room[i].Stuck, room[i].Message = api.MachineArmed, nil, time.Time{}, ""
	}
	return append(room, api.Machine{ID: "idle", State: api.MachineRegistered})
}

// A watch ends when all have ended, through a cut of the stream, and its exit
// code says how.
func TestWatchLines(t *testing.T) {
	for name, tt := range map[string]struct {
		args []string
		end  string // of web-2
		code int
	}{
		"all well":  {end: api.MachineRunning, code: exit.CodeOK},
		"failed":    {end: api.MachineFailed, code: exit.CodeFailed},
		"not heard": {end: api.MachineUnconfirmed, code: exit.CodeFailed},
		"cancelled": {args: []string{"web-1", "web-2"}, end: api.MachineRegistered, code: exit.CodeFailed},
		"selected":  {args: []string{"-l", "rack=b7"}, end: api.MachineRunning, code: exit.CodeOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, watchRoom()...)
			b := f.start(t, append([]string{"watch"}, tt.args...)...)
			f.waitFor(t, "the stream", func() bool { return f.streams() == 1 })
			f.state("m2", api.MachineFlashing, func(m *api.Machine) { m.Progress = &api.Progress{Phase: "write", Done: 1, Total: 4, Rate: 3} })
			f.state("m3", api.MachineFlashing, func(m *api.Machine) { m.Stuck = noon })
			// What was not heard before the cut may be over after it.
			f.waitFor(t, "both", func() bool { return strings.Contains(b.stdout.String(), "flashing, stuck") })
			f.cut()
			f.waitFor(t, "the stream again", func() bool { return f.streams() == 2 })
			f.state("m3", tt.end, func(m *api.Machine) { m.Stuck, m.Cause, m.Message = time.Time{}, "", "that is all" })
			f.state("m2", api.MachineRunning, nil)
			if code := b.wait(t); code != tt.code {
				t.Errorf("exit code %d; want %d\n%s\n%s", code, tt.code, b.stdout.String(), b.stderr.String())
			}
			out := b.stdout.String()
			for _, text := range []string{"web-1              armed", "web-1              flashing: write 25%, 3 B/s, 0:01 left", "web-2              flashing, stuck", "waiting for it", "that is all", "all                "} {
				if !strings.Contains(out, text) {
					t.Errorf("stdout = %s; want %q", out, text)
				}
			}
			if strings.Contains(out, "idle") || strings.Contains(out, "\x1b") {
				t.Errorf("stdout = %q; want no idle machine and no escape sequences", out)
			}
			if tt.code != exit.CodeOK && !strings.Contains(b.stderr.String(), "gild: web-2 ") {
				t.Errorf("stderr = %q; want to know of web-2", b.stderr.String())
			}
		})
	}
}

// A machine that is removed while nobody listens is not waited for.
func TestWatchAfterAReset(t *testing.T) {
	r := newRoom(nil)
	r.reset(watchRoom())
	if len(r.machines) != 2 || r.ended() {
		t.Fatalf("%d machines watched, ended = %v; want the two that are armed", len(r.machines), r.ended())
	}
	changed := r.reset(nil)
	if len(changed) != 2 || !r.ended() || r.verdict() == nil {
		t.Errorf("after a list without them: %d changed, ended = %v, verdict %v", len(changed), r.ended(), r.verdict())
	}
}

// Twenty machines that fail alike are told about once.
func TestVerdictAdvisesOncePerCause(t *testing.T) {
	r := newRoom(nil)
	for i, cause := range []string{api.CauseDiskNone, api.CauseDiskNone, api.CauseDiskError, "made-up"} {
		m := api.Machine{ID: fmt.Sprint(i), State: api.MachineArmed}
		r.set(m)
		m.State, m.Cause, m.Message = api.MachineFailed, cause, "why"
		r.set(m)
	}
	err := r.verdict()
	hint := exit.HintOf(err)
	if hint == "" || strings.Count(err.Error(), "why") != 4 {
		t.Fatalf("verdict() = %v; want all four, with a hint", err)
	}
	first, second := strings.Index(hint, "disk-none: See"), strings.Index(hint, "disk-error: The disk")
	if first != 0 || second < 0 || strings.Count(hint, "\n") != 1 {
		t.Errorf("hint = %q; want a line for each of the two causes that are known", hint)
	}
}

func TestWatchNothing(t *testing.T) {
	f := newFake(t, watchRoom()[2])
	if got := f.run(t, "watch"); got.code != exit.CodeOK || !strings.Contains(got.stdout, "no machines") {
		t.Errorf("%+v", got)
	}
	if got := f.run(t, "watch", "idle"); got.code != exit.CodeOK {
		t.Errorf("a machine with nothing to do: %+v", got)
	}
	if got := f.run(t, "watch", "nobody"); got.code != exit.CodeNotFound {
		t.Errorf("an unknown machine: %+v", got)
	}
	f.Close()
	if got := f.run(t, "watch"); got.code != exit.CodeNoServer {
		t.Errorf("no server: %+v", got)
	}
}

func TestWatchJSON(t *testing.T) {
	f := newFake(t, watchRoom()...)
	b := f.start(t, "watch", "--json")
	f.waitFor(t, "the stream", func() bool { return f.streams() == 1 })
	f.tell(api.Change{Kind: api.ChangeRemoved, ID: "m3"})
	f.state("m2", api.MachineRunning, nil)
	if code := b.wait(t); code != exit.CodeFailed {
		t.Errorf("exit code %d; want %d: one was forgotten", code, exit.CodeFailed)
	}
	states := map[string]string{}
	for line := range strings.Lines(b.stdout.String()) {
		var l watchLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		states[l.Name] += l.State + fmt.Sprint(l.Ended) + " "
	}
	if states["web-1"] != "armedfalse runningtrue " || states["web-2"] != "armedfalse forgottentrue " {
		t.Errorf("states = %v", states)
	}
}

func TestWatchLine(t *testing.T) {
	var b strings.Builder
	room := sampleRoom()
	room[1].Progress.Unanswered = 0
	slow := room[1]
	slow.Progress = &api.Progress{Phase: "write", Done: 9, Total: 4, Unanswered: 12}
	for _, width := range []int{20, 40, 60, 80, 120, 200} {
		for _, m := range append(room, slow) {
			w := &watched{Machine: m}
			line := w.line(width, 20, term.Palette{})
			if n := runewidth.StringWidth(line); n > width {
				t.Errorf("width %d: %d cells: %s", width, n, line)
			}
			fmt.Fprintln(&b, line)
		}
		r := newRoom(nil)
		r.reset(room)
		fmt.Fprintln(&b, r.totals().sumLine())
	}
	goldenFile(t, "watch.txt", b.String())
}

// pty is a terminal: what a program writes to tty arrives in screen.
var ansi = regexp.MustCompile("\x1b\\[[0-9;?]*[A-Za-z]")

type pty struct {
	main, tty *os.File
	mu        sync.Mutex
	screen    bytes.Buffer
}

func newPTY(t *testing.T, cols, rows uint16) *pty {
	t.Helper()
	main, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	if err := unix.IoctlSetPointerInt(int(main.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(main.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo terminals here: %v", err)
	}
	p := &pty{main: main, tty: tty}
	p.resize(t, cols, rows)
	t.Cleanup(func() { tty.Close(); main.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := main.Read(buf)
			p.mu.Lock()
			p.screen.Write(buf[:n])
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p
}

func (p *pty) resize(t *testing.T, cols, rows uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(p.tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: cols, Row: rows}); err != nil {
		t.Fatal(err)
	}
}

func (p *pty) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.screen.String()
}

func (p *pty) expect(t *testing.T, text string) {
	t.Helper()
	for range 1000 {
		if strings.Contains(p.text(), text) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the terminal never shows %q:\n%q", text, p.text())
}

// on runs a command line with a terminal at all three ends.
func (p *pty) on(t *testing.T, f *fakeServer, env map[string]string, args ...string) chan int {
	t.Helper()
	data, code := t.TempDir(), make(chan int, 1)
	go func() {
		code <- Main(t.Context(), append([]string{"--server", f.URL, "--data", data}, args...), Surroundings{p.tty, p.tty, p.tty, func(k string) string { return env[k] }, nil})
	}()
	return code
}

func TestWatchOnATerminal(t *testing.T) {
	f := newFake(t, watchRoom()...)
	p := newPTY(t, 100, 24)
	code := p.on(t, f, nil, "watch")
	p.expect(t, "2 armed")
	f.state("m2", api.MachineFlashing, func(m *api.Machine) {
		m.Progress = &api.Progress{Phase: "write", Done: 430, Total: 1000, Rate: 100}
	})
	p.expect(t, "43%")
	p.expect(t, "0:06 left")
	f.state("m3", api.MachineFlashing, func(m *api.Machine) { m.Stuck, m.Message = noon, "nothing heard" })
	p.expect(t, "\x1b[31mflashing, stuck")
	p.expect(t, "1 stuck, 1 flashing")
	p.resize(t, 60, 10)
	f.state("m2", api.MachineFlashing, func(m *api.Machine) { m.Progress.Done = 777 })
	p.expect(t, "77%")
	before := len(p.text())
	time.Sleep(500 * time.Millisecond)
	for line := range strings.SplitSeq(ansi.ReplaceAllString(p.text()[before:], ""), "\n") {
		if n := runewidth.StringWidth(strings.Trim(line, "\r")); n > 60 {
			t.Errorf("after a resize to 60 a line has %d cells: %q", n, line)
		}
	}
	f.state("m3", api.MachineFailed, func(m *api.Machine) { m.Stuck, m.Cause, m.Message = time.Time{}, "disk-error", "EIO" })
	p.expect(t, "disk-error: EIO")
	f.state("m2", api.MachineRunning, nil)
	if got := <-code; got != exit.CodeFailed {
		t.Errorf("exit code %d; want %d", got, exit.CodeFailed)
	}
	p.expect(t, "1 failed, 1 running")
	p.expect(t, "gild: web-2 failed: disk-error: EIO")
	p.expect(t, "hint: disk-error: The disk is failing.")
}

// The question names what is asked for, and only that is an answer.
func TestFlashAsks(t *testing.T) {
	for name, tt := range map[string]struct {
		machines []string
		question string
		answer   string
		armed    int
		code     int
	}{
		"one":           {[]string{"web-1"}, "Type yes", "yes\n", 1, exit.CodeOK},
		"one, no":       {[]string{"web-1"}, "Type yes", "y\n", 0, exit.CodeRefused},
		"several":       {[]string{"web-1", "db-1.example.org"}, "Type 2", "2\n", 2, exit.CodeOK},
		"several, yes":  {[]string{"web-1", "db-1.example.org"}, "Type 2", "yes\n", 0, exit.CodeRefused},
		"one is left":   {[]string{"web-1", "web-2"}, "Type yes", "yes\n", 1, exit.CodeRefused},
		"an empty line": {[]string{"web-1"}, "Type yes", "\n", 0, exit.CodeRefused},
	} {
		t.Run(name, func(t *testing.T) {
			f := flashRoom(t)
			p := newPTY(t, 100, 24)
			code := p.on(t, f, map[string]string{"NO_COLOR": "1"}, append([]string{"flash", "--image", "web"}, tt.machines...)...)
			p.expect(t, tt.question)
			if len(f.flashed) > 0 {
				t.Error("armed before the answer")
			}
			if _, err := p.main.WriteString(tt.answer); err != nil {
				t.Fatal(err)
			}
			if got := <-code; got != tt.code || len(f.flashed) != tt.armed {
				t.Errorf("exit code %d, %d armed; want %d, %d\n%s", got, len(f.flashed), tt.code, tt.armed, p.text())
			}
			if strings.Contains(p.text(), "\x1b") {
				t.Errorf("NO_COLOR is set: %q", p.text())
			}
		})
	}
}

func event(id string, i int) api.Change {
	return api.Change{Kind: api.ChangeEvent, ID: id, Event: &api.Event{Time: noon.Add(time.Duration(i) * time.Second), Step: fmt.Sprintf("e%03d", i), State: api.StateDone}}
}

// No event is lost or shown twice: over cuts, over transactions that are told
// again, over servers that know nothing of the stream before.
func TestEventsFollow(t *testing.T) {
	f := newFake(t, watchRoom()...)
	for i := range 100 {
		f.tell(event("m2", i))
	}
	b := f.start(t, "events", "--follow", "-n", "10")
	all := f.start(t, "events", "--follow", "--machine", "web-2", "--json")
	f.waitFor(t, "the streams", func() bool { return f.streams() == 2 })
	f.waitFor(t, "the past", func() bool { return strings.Contains(b.stdout.String(), "e099") })
	n := 100
	for round := range 4 {
		for range 20 {
			f.tell(event([]string{"m2", "m3"}[n%2], n), api.Change{Kind: api.ChangeEvent, ID: "m2", Event: &api.Event{Step: "flash", State: api.StateProgress}})
			n++
		}
		f.mu.Lock()
		switch round {
		case 1: // the last messages come again
			f.stream = append(f.stream, f.stream[len(f.stream)-10:]...)
		case 2: // a server that was away: another stream, and a past
			f.stream = []api.Change{{Kind: api.ChangeReset}}
			for range 5 {
				f.log = append(f.log, api.LogEntry{Machine: "m3", Name: "web-2", Event: *event("m3", n).Event})
				n++
			}
		}
		want := f.streams() + 2
		f.mu.Unlock()
		f.cut()
		f.waitFor(t, "the streams again", func() bool { return f.streams() >= want })
		if round == 2 { // its ids are lower than those of the reader
			f.tell(api.Change{Kind: api.ChangeReset})
		}
	}
	f.waitFor(t, "the last", func() bool { return strings.Contains(b.stdout.String(), fmt.Sprintf("e%03d", n-1)) })
	b.stop()
	if code := b.wait(t); code != exit.CodeInterrupted {
		t.Errorf("exit code %d; want %d", code, exit.CodeInterrupted)
	}
	for i := range n {
		want := 1
		if i < 90 {
			want = 0
		}
		if got := strings.Count(b.stdout.String(), fmt.Sprintf("e%03d", i)); got != want {
			t.Errorf("event %d is shown %d times; want %d", i, got, want)
		}
	}
	if strings.Contains(b.stdout.String(), "progress") {
		t.Error("progress is shown as an event")
	}
	all.stop()
	all.wait(t)
	for line := range strings.Lines(all.stdout.String()) {
		var e api.LogEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Machine != "m3" {
			t.Fatalf("%q: %v; want events of web-2 as JSON", line, err)
		}
	}
}

// A shell completes names that are known, and shows nothing when no server is.
func TestCompletion(t *testing.T) {
	f := newFake(t, append(sampleRoom(), api.Machine{ID: "x", Spec: api.Spec{Name: "$(reboot)"}})...)
	for line, want := range map[string]string{
		"flash|":                  "52:54:00:00:00:01 web-1 web-2 db-1.example.org",
		"cancel|web-1|":           "52:54:00:00:00:01 web-2 db-1.example.org",
		"machine|show|web-1|":     "",
		"flash|--image|":          "web db",
		"flash|--identity|":       "plain none",
		"watch|-l|":               "rack=b7 role=web",
		"flash|--handoff|":        "auto switch_root kexec reboot instant",
		"events|--machine|":       "52:54:00:00:00:01 web-1 web-2 db-1.example.org",
		"machine|edit|--image|":   "web db",
		"serve|--dhcp|":           "auto server proxy off",
		"flash|--server|ftp:||":   "",
		"flash|--server|http:x||": "",
	} {
		got := f.run(t, append([]string{"__completeNoDesc"}, strings.Split(line, "|")...)...)
		words := strings.Fields(got.stdout)
		if len(words) > 0 {
			words = words[:len(words)-1] // the directive
		}
		if strings.Join(words, " ") != want {
			t.Errorf("completing %q = %q; want %q", line, words, want)
		}
	}
}

func TestCompletionInBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash is not installed")
	}
	f := newFake(t, sampleRoom()...)
	dir := t.TempDir()
	for _, shell := range []string{"bash", "zsh", "fish"} {
		got := f.run(t, "completion", shell)
		if got.code != exit.CodeOK || got.stdout == "" {
			t.Fatalf("completion %s: %+v", shell, got)
		}
		path := filepath.Join(dir, shell)
		if err := os.WriteFile(path, []byte(got.stdout), 0o644); err != nil {
			t.Fatal(err)
		}
		if program, err := exec.LookPath(shell); err == nil {
			tool(t, "", program, "-n", path)
		}
	}
	// The script calls the program by the name on the command line, which in
	// the place of a program can be a function.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "gild")); err != nil {
		t.Fatal(err)
	}
	script := `
_get_comp_words_by_ref() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${words[cword]}; prev=${words[cword-1]}; }
__ltrim_colon_completions() { :; }
compopt() { :; }
source "$1/bash"
COMP_WORDS=(gild flash web) COMP_CWORD=2 COMP_LINE="gild flash web" COMP_POINT=14
__start_gild
printf '%s\n' "${COMPREPLY[@]}"
`
	cmd := exec.CommandContext(t.Context(), bash, "--norc", "-c", script, "bash", dir)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "GILD_SERVER="+f.URL, "GILD_DATA="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if words := strings.Fields(string(out)); err != nil || len(words) != 2 || words[0] != "web-1" || words[1] != "web-2" {
		t.Errorf("bash completes gild flash web to %q, %v; want web-1 and web-2", out, err)
	}
}

func TestManPages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1700000000")
	dirs := []string{t.TempDir(), t.TempDir()}
	for _, dir := range dirs {
		if got := gild(t, t.TempDir(), nil, "man", dir); got.code != exit.CodeOK {
			t.Fatalf("%+v", got)
		}
	}
	if a, b := listing(dirs[0]), listing(dirs[1]); a != b || !strings.Contains(a, "gild-machine-edit.1") {
		t.Errorf("two runs wrote\n%s\n%s", a, b)
	}
	page, err := os.ReadFile(filepath.Join(dirs[0], "gild-flash.1"))
	if err != nil || !bytes.Contains(page, []byte(".TH")) || !bytes.Contains(page, []byte("--wipe")) {
		t.Errorf("gild-flash.1 = %.200q, %v", page, err)
	}
	if man, err := exec.LookPath("man"); err == nil {
		out, err := exec.CommandContext(t.Context(), man, "--warnings", "-l", filepath.Join(dirs[0], "gild-flash.1")).CombinedOutput()
		if err != nil || !bytes.Contains(out, []byte("SYNOPSIS")) || bytes.Contains(out, []byte("warning:")) {
			t.Errorf("man = %s, %v", out, err)
		}
	}
}

func TestTopics(t *testing.T) {
	for topic, text := range map[string]string{"selectors": "rack!=b7", "disk-rules": "size>=400G", "identity": "sshHostKeys"} {
		got := gild(t, t.TempDir(), nil, "help", topic)
		if got.code != exit.CodeOK || !strings.Contains(got.stdout, text) {
			t.Errorf("help %s: %+v; want %q", topic, got, text)
		}
		for line := range strings.Lines(got.stdout) {
			if len(line) > 81 {
				t.Errorf("help %s: a line of %d: %s", topic, len(line), line)
			}
		}
	}
}
