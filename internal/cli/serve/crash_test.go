package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/child"
	"github.com/gild-dev/gild/internal/cli/clitest"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/initramfs/agentbin"
	"github.com/gild-dev/gild/internal/server/ipxe"
	"github.com/gild-dev/gild/internal/server/local"
	"github.com/gild-dev/gild/internal/settings"
	"github.com/gild-dev/gild/internal/tier"
)

// TestCrash kills a whole gild serve in the midst of what several operators
// ask of it, again and again. What it had acknowledged is there afterwards,
// and what it had not is there whole or not at all.
func TestCrash(t *testing.T) {
	tier.Slow(t, "starts a server six times")
	if _, err := ipxe.Find(); err != nil {
		t.Skipf("gild serve needs iPXE: %v", err)
	}
	if _, err := agentbin.Agent("amd64"); err != nil {
		t.Skipf("gild serve needs the agent: %v", err)
	}
	s := newProcess(t)
	if got := gild.Run(t, s.data, nil, "image", "add", "web", clitest.RootDisk(t), "--kernel",
		clitest.KernelFile(t)); got.Code != exit.CodeOK {
		t.Fatalf("%+v", got)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var everybody []*worker
	for i := range 8 {
		everybody = append(everybody, &worker{
			op: s.operator, name: "w" + strconv.Itoa(i), number: byte(i),
			random: rand.New(rand.NewPCG(seed, uint64(i+1))),
		})
	}
	done := 0
	for range 5 {
		s.start(t)
		for _, w := range everybody {
			w.check(t)
		}
		var all sync.WaitGroup
		acknowledged := make(chan struct{})
		for _, w := range everybody {
			all.Go(func() { w.work(t.Context(), acknowledged) })
		}
		ended := make(chan struct{})
		go func() { all.Wait(); close(ended) }()
		for range 20 + random.IntN(100) {
			select {
			case <-acknowledged:
			case <-ended: // each has failed, and says so below
			}
		}
		s.kill()
		for running := true; running; {
			select {
			case <-acknowledged:
			case <-ended:
				running = false
			}
		}
		for _, w := range everybody {
			if w.failed != nil {
				t.Errorf("%s while the server ran: %v", w.name, w.failed)
			}
		}
	}
	s.start(t)
	for _, w := range everybody {
		w.check(t)
		done += w.done
	}
	s.kill()
	t.Logf("%d changes acknowledged", done)
	if got := gild.Run(t, s.data, nil, "state", "check"); got.Code != exit.CodeOK {
		t.Errorf("state check: %+v; want nothing to complain of", got)
	}
}

// process is a gild serve of its own: this binary is gild when it is called so.
type process struct {
	program, data, port, operatorAddr string
	operator                          *operatorclient.Client
	log                               string         // path
	life                              *child.Process // nil: it does not run
}

func newProcess(t *testing.T) *process {
	t.Helper()
	clitest.LoopbackServer(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &process{
		program: filepath.Join(t.TempDir(), "gild"), data: t.TempDir(), port: clitest.FreePort(t),
		operatorAddr: "127.0.0.1:" + clitest.FreePort(t),
		log:          filepath.Join(t.TempDir(), "log"),
	}
	if err := os.Symlink(self, s.program); err != nil {
		t.Fatal(err)
	}
	s.operator = &operatorclient.Client{BaseURL: local.Operator, HTTP: local.Client{Dir: s.data}.HTTP()}
	s.operator.HTTP.Timeout = 20 * time.Second
	t.Cleanup(func() {
		s.kill()
		if p, _ := os.ReadFile(s.log); t.Failed() {
			t.Logf("the server's last words:\n%s", p[max(0, len(p)-3000):])
		}
	})
	return s
}

// start returns when the server answers.
func (s *process) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(s.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.program, "serve", "--interface", "lo", "--dhcp", "off", "--port", s.port, "--operator", s.operatorAddr, "--data",
		s.data)
	cmd.Stdout, cmd.Stderr = io.Discard, log
	s.life = child.For(t, cmd)
	for begin := time.Now(); time.Since(begin) < 2*time.Minute; time.Sleep(20 * time.Millisecond) {
		if _, err = s.operator.Servers(t.Context()); err == nil {
			return
		}
	}
	t.Fatalf("the server does not come up: %v", err)
}

func (s *process) kill() {
	if s.life != nil {
		s.life.Kill()
		s.life = nil
	}
}

// worker changes machines of its own, one change after the other.
type worker struct {
	op     *operatorclient.Client
	name   string
	number byte
	random *rand.Rand

	machines []*machine
	done     int   // changes that were acknowledged
	failed   error // anything but the loss of the server
}

// machine is what one machine must be: as the last change that was
// acknowledged left it, or, if one was under way, as that would.
type machine struct {
	name, mac     string
	now           outlook
	next          *outlook
	plan          string // of the last arm that was acknowledged
	edits, onward int
}

type outlook struct {
	known, armed bool
	edit         string
}

var life = []string{"add", "edit", "edit", "flash", "edit", "cancel", "flash", "rm"}

// work goes on until the server is gone, and tells of each change that was
// acknowledged.
func (w *worker) work(ctx context.Context, acknowledged chan<- struct{}) {
	for {
		m := w.pick()
		what := life[m.onward%len(life)]
		next := m.now
		var do func() (api.Machine, error)
		switch what {
		case "add":
			next.known, next.edit = true, ""
			do = func() (api.Machine, error) {
				return w.op.Register(ctx, api.Spec{Name: m.name, MACs: []string{m.mac}})
			}
		case "edit":
			m.edits++
			next.edit = strconv.Itoa(m.edits)
			do = func() (api.Machine, error) {
				return w.op.Edit(ctx, m.name, api.Spec{Name: m.name, MACs: []string{m.mac}, Labels: map[string]string{"edit": next.edit}})
			}
		case "flash":
			next.armed = true
			do = func() (api.Machine, error) {
				return w.op.Flash(ctx, m.name, api.FlashRequest{Settings: settings.Settings{Image: "web"}, Unseen: true})
			}
		case "cancel":
			next.armed = false
			do = func() (api.Machine, error) { return w.op.Cancel(ctx, m.name, false) }
		case "rm":
			next = outlook{}
			do = func() (api.Machine, error) { return api.Machine{}, w.op.Delete(ctx, m.name, true) }
		}
		m.next = &next
		got, err := do()
		if err != nil {
			if _, said := errors.AsType[*operatorclient.ProblemError](err); said {
				w.failed = fmt.Errorf("%s %s: %w", what, m.name, err)
			}
			return
		}
		m.now, m.next = next, nil
		m.onward++
		if w.done++; got.Armed != nil {
			m.plan = got.Armed.Plan.ID
		}
		acknowledged <- struct{}{}
	}
}

// pick takes one of six machines, a new one as long as there are fewer.
func (w *worker) pick() *machine {
	i := w.random.IntN(6)
	if i < len(w.machines) {
		return w.machines[i]
	}
	i = len(w.machines)
	m := &machine{name: fmt.Sprintf("%s-%d", w.name, i), mac: fmt.Sprintf("52:54:00:0c:%02x:%02x", w.number, i)}
	w.machines = append(w.machines, m)
	return m
}

// check compares every machine with what it must be, and continues from what it
// is.
func (w *worker) check(t *testing.T) {
	t.Helper()
	for _, m := range w.machines {
		got, err := w.op.Machine(t.Context(), m.name)
		said, refused := errors.AsType[*operatorclient.ProblemError](err)
		if err != nil && (!refused || said.Status != http.StatusNotFound) {
			t.Fatal(err)
		}
		is := outlook{known: err == nil, armed: got.Armed != nil, edit: got.Spec.Labels["edit"]}
		switch {
		case is == m.now && (!is.armed || m.plan == got.Armed.Plan.ID || m.next != nil):
		case m.next != nil && is == *m.next:
			m.onward++
		default:
			t.Errorf("%s is %+v after the kill; want %+v, or %+v which was under way", m.name, is, m.now, m.next)
		}
		if m.now, m.next = is, nil; is.armed {
			m.plan = got.Armed.Plan.ID
		}
		w.whole(t, m, got)
	}
}

// whole looks for the parts of one change: record, events and labels go
// together.
func (w *worker) whole(t *testing.T, m *machine, got api.Machine) {
	t.Helper()
	byMAC, err := w.op.Machine(t.Context(), m.mac)
	if !m.now.known {
		if err == nil {
			t.Errorf("%s was removed and is still found by its MAC as %+v", m.name, byMAC)
		}
		return
	}
	if err != nil || byMAC.ID != got.ID {
		t.Errorf("%s by its MAC = %q, %v; want %q", m.name, byMAC.ID, err, got.ID)
	}
	events, err := w.op.Events(t.Context(), m.name)
	if err != nil {
		t.Fatal(err)
	}
	last := ""
	for _, e := range events {
		if e.To != "" {
			last = e.To
		}
	}
	if last != got.State || (got.State == api.MachineArmed) != (got.Armed != nil) {
		t.Errorf("%s is %s with arm %v, and its events end in %s; want all of them to agree", m.name, got.State, got.Armed != nil, last)
	}
}
