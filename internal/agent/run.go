package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/agent/backoff"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
)

// step is one line of the boot table.
type step struct {
	name string // in events: "network"
	what string // for a person: "finding the network"
	// again names the step to go back to after a failure; empty is this one.
	again string
	// run returns what to say of its success.
	run func(ctx context.Context) (string, error)
}

// runner walks steps and tells of them.
type runner struct {
	console *screen.Console
	kmsg    *screen.Kmsg
	queue   *queue
	uptime  func() float64
	log     *slog.Logger
	wait    func(context.Context, time.Duration) error // nil is backoff.Sleep

	progressSent time.Time // only the caller of progress touches it
}

// walk runs the steps in order until the last one is done or ctx is. A step
// that fails is tried again, or an earlier one that it names, after a wait
// that grows as long as that step goes on failing. One that has lost its plan
// goes back to the step that asks for one.
func (r *runner) walk(ctx context.Context, steps []step) {
	waits := map[string]*backoff.Backoff{}
	for i := 0; i < len(steps) && ctx.Err() == nil; {
		s := steps[i]
		r.event(api.Event{Step: s.name, State: api.StateStart, Message: s.what})
		message, err := r.attempt(ctx, s)
		if err == nil {
			r.event(api.Event{Step: s.name, State: api.StateDone, Message: message})
			delete(waits, s.name)
			i++
			continue
		}
		if ctx.Err() != nil {
			return
		}
		lost, isLost := errors.AsType[*lostError](err)
		if waits[s.name] == nil {
			waits[s.name] = &backoff.Backoff{}
		}
		pause := waits[s.name].Next()
		again := s.again
		if isLost {
			// No failure: it is what the operator wanted.
			again = "plan"
			r.event(api.Event{Step: again, State: api.StateDone, Message: fmt.Sprintf("%s: stopped, nothing more is written: %v", s.name, lost)})
		} else {
			r.event(api.Event{
				Step: s.name, State: api.StateFailed, Cause: cause(s.name, err),
				Message: fmt.Sprintf("%v (next try in %.0f s)", err, pause.Seconds()),
			})
		}
		if r.sleep(ctx, pause) != nil {
			return
		}
		if again != "" {
			i = max(0, slices.IndexFunc(steps, func(t step) bool { return t.name == again }))
		}
	}
}

func (r *runner) sleep(ctx context.Context, d time.Duration) error {
	if r.wait != nil {
		return r.wait(ctx, d)
	}
	return backoff.Sleep(ctx, d)
}

// attempt runs a step and makes a panic an error.
func (r *runner) attempt(ctx context.Context, s step) (message string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: internal error: %v", s.what, p)
			r.log.Error("panic", "step", s.name, "value", p, "stack", string(debug.Stack()))
		}
	}()
	return s.run(ctx)
}

// guard runs do beside the steps. A panic ends it and not the machine.
func (r *runner) guard(name string, do func()) {
	go func() {
		defer func() {
			if p := recover(); p != nil {
				r.log.Error("panic", "in", name, "value", p, "stack", string(debug.Stack()))
			}
		}()
		do()
	}()
}

// service is something that runs beside the steps. It can be stopped, and
// resumed, until the end of the context that it was begun with. The zero service
// is none.
type service struct {
	begin func() (end func())
	end   func() // nil while it is stopped
}

// serve begins a service. Its run ends with its context.
func (r *runner) serve(ctx context.Context, name string, run func(context.Context)) service {
	s := service{begin: func() func() {
		running, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		r.guard(name, func() {
			defer close(ended)
			run(running)
		})
		return func() {
			stop()
			<-ended
		}
	}}
	s.resume()
	return s
}

// stop returns when the service has ended.
func (s *service) stop() {
	if s.end != nil {
		s.end()
		s.end = nil
	}
}

func (s *service) resume() {
	if s.end == nil && s.begin != nil {
		s.end = s.begin()
	}
}

// event tells of e: to the consoles, the kernel log and the server.
func (r *runner) event(e api.Event) {
	e.Time = time.Now().UTC()
	e.Uptime = r.uptime()
	e.Message = screen.Clean(e.Message)
	r.queue.add(e)
	said := strings.Join(strings.Fields(e.Message), " ") // lists come on lines of their own
	line := e.Step + ": " + said
	switch e.State {
	case api.StateFailed:
		line = e.Step + " failed: " + said
	case api.StateStart:
		line = e.Step + ": " + said + " ..."
	}
	r.console.Stamped(e.Uptime, line)
	if e.State == api.StateFailed {
		r.console.Advise(e.Cause)
	}
	level := screen.KmsgInfo
	if e.State == api.StateFailed {
		level = screen.KmsgWarning
	}
	r.kmsg.Write(level, line)
}

// reportEvery is how often the server hears of progress: it may have a
// thousand machines to listen to.
const reportEvery = time.Second

// progress shows how far a step is, and tells the server now and then.
func (r *runner) progress(e api.Event) {
	now := time.Now()
	r.console.Progress(*e.Progress)
	if now.Sub(r.progressSent) >= reportEvery || e.Progress.Done == e.Progress.Total {
		r.progressSent = now
		e.Time, e.Uptime = now.UTC(), r.uptime()
		r.queue.add(e)
	}
}

// note tells of something within a step.
func (r *runner) note(step, format string, args ...any) {
	r.event(api.Event{Step: step, State: api.StateProgress, Message: fmt.Sprintf(format, args...)})
}
