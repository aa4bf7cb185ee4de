package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/child"
)

const (
	readyWait = 2 * time.Minute // etcd and a DHCP probe on a busy host
	stopWait  = 20 * time.Second
	// Each look is a process: more often, and it takes the emulated machine its
	// time.
	pollEvery = 500 * time.Millisecond
)

// Server is a `gild serve` inside a network, as an operator would run it.
type Server struct {
	Program string // the gild binary, absolute
	Data    string // its data directory
	Net     *Network
	Args    []string  // beside --interface
	Log     io.Writer // receives what it says; nil discards

	process *child.Process // nil: not started
}

// Start runs the server and returns when it is ready. It can be started again
// after Stop or Kill.
func (s *Server) Start(ctx context.Context) error {
	args := append([]string{"--data", s.Data, "serve", "--interface", Bridge}, s.Args...)
	ready := &watcher{text: "ready:", seen: make(chan struct{}), to: s.Log}
	cmd := s.Net.Command(context.WithoutCancel(ctx), s.Program, args...)
	cmd.Stdout, cmd.Stderr = ready, ready
	var err error
	if s.process, err = child.Start(cmd); err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	select {
	case <-ready.seen:
		return nil
	case <-s.process.Done():
		_ = s.process.Wait() // why it ended is in what it said
		return fmt.Errorf("start server: it ended:\n%s", ready.last())
	case <-time.After(readyWait):
		return errors.Join(fmt.Errorf("start server: not ready after %v:\n%s", readyWait, ready.last()), s.Kill())
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), s.Kill())
	}
}

// Stop ends the server as an operator does.
func (s *Server) Stop() error { return s.end(syscall.SIGTERM) }

// Kill ends the server as a crash does.
func (s *Server) Kill() error { return s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) error {
	if s.process == nil {
		return nil
	}
	if err := s.process.Signal(sig); err != nil {
		return fmt.Errorf("stop server: %w", err)
	}
	select {
	case <-s.process.Done():
		_ = s.process.Wait() // what it said is whole
		return nil
	case <-time.After(stopWait):
		s.process.Kill()
		return fmt.Errorf("stop server: it did not end within %v", stopWait)
	}
}

// Gild runs another gild command against this server's data and API.
func (s *Server) Gild(ctx context.Context, args ...string) (string, error) {
	var out, said bytes.Buffer
	cmd := s.Net.Command(ctx, s.Program, append([]string{"--data", s.Data}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("gild %s: %w\n%s", strings.Join(args, " "), err, said.String())
	}
	return out.String(), nil
}

// Machine is what the server knows of a machine, with its past.
type Machine struct {
	api.Machine
	Events []api.Event `json:"events"`
}

// Machine asks the server for a machine.
func (s *Server) Machine(ctx context.Context, mac string) (Machine, error) {
	out, err := s.Gild(ctx, "machine", "show", "--json", mac)
	if err != nil {
		return Machine{}, err
	}
	var m Machine
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		return Machine{}, fmt.Errorf("gild machine show: %w", err)
	}
	return m, nil
}

// WaitFor asks for a machine until it is as wanted, or ctx ends.
func (s *Server) WaitFor(ctx context.Context, mac string, wanted func(Machine) bool) (Machine, error) {
	for {
		m, err := s.Machine(ctx, mac)
		if err == nil && wanted(m) {
			return m, nil
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return m, fmt.Errorf("waiting for machine %s: %w; it is %q: %s (%w)", mac, context.Cause(ctx), m.State, m.Message, errors.Join(err))
		}
	}
}

// watcher passes output on and notices when a text has come.
type watcher struct {
	text string
	seen chan struct{}
	to   io.Writer

	mu   sync.Mutex
	said []byte
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, p...)
	if len(w.said) > 1<<16 {
		w.said = append([]byte(nil), w.said[len(w.said)-1<<15:]...)
	}
	select {
	case <-w.seen:
	default:
		if bytes.Contains(w.said, []byte(w.text)) {
			close(w.seen)
		}
	}
	if w.to != nil {
		_, _ = w.to.Write(p)
	}
	return len(p), nil
}

func (w *watcher) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.said[max(0, len(w.said)-4096):])
}
