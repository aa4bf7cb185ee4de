// Package boot walks the steps of a boot.
package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/backoff"
)

// Step is one line of a boot table.
type Step struct {
	Name string // in events: "network"
	What string // for a person: "finding the network"
	// Again names the step to go back to after a failure; empty is this one.
	Again string
	// Run returns what to say of its success.
	Run func(ctx context.Context) (string, error)
}

// PlanStep names the step that asks the server for a plan: a step that has lost
// its plan goes back to it.
const PlanStep = "plan"

// Runner walks steps and reports them.
type Runner struct {
	Report *report.Reporter
	Log    *slog.Logger
	// Cause gives a failure of a step its stable code.
	Cause func(step string, err error) string
	Wait  func(context.Context, time.Duration) error // nil is backoff.Sleep
}

// Walk runs the steps in order until the last one is done or ctx is. A step
// that fails is tried again, or an earlier one that it names, after a wait
// that grows as long as that step keeps failing. One that has lost its plan
// goes back to the step that asks for one.
func (r *Runner) Walk(ctx context.Context, steps []Step) {
	waits := map[string]*backoff.Backoff{}
	for i := 0; i < len(steps) && ctx.Err() == nil; {
		s := steps[i]
		r.Report.Event(api.Event{Step: s.Name, State: api.StateStart, Message: s.What})
		message, err := r.attempt(ctx, s)
		if err == nil {
			r.Report.Event(api.Event{Step: s.Name, State: api.StateDone, Message: message})
			delete(waits, s.Name)
			i++
			continue
		}
		if ctx.Err() != nil {
			return
		}
		lost, isLost := errors.AsType[*report.LostError](err)
		if waits[s.Name] == nil {
			waits[s.Name] = &backoff.Backoff{}
		}
		pause := waits[s.Name].Next()
		again := s.Again
		if isLost {
			// No failure: it is what the operator wanted.
			again = PlanStep
			message := fmt.Sprintf("%s: stopped, nothing more is written: %v", s.Name, lost)
			r.Report.Event(api.Event{Step: again, State: api.StateDone, Message: message})
		} else {
			r.Report.Event(api.Event{
				Step: s.Name, State: api.StateFailed, Cause: r.Cause(s.Name, err),
				Message: err.Error(), Retry: int(max(math.Ceil(pause.Seconds()), 1)),
			})
		}
		if r.sleep(ctx, pause) != nil {
			return
		}
		if again != "" {
			i = max(0, slices.IndexFunc(steps, func(t Step) bool { return t.Name == again }))
		}
	}
}

func (r *Runner) sleep(ctx context.Context, d time.Duration) error {
	if r.Wait != nil {
		return r.Wait(ctx, d)
	}
	return backoff.Sleep(ctx, d)
}

// attempt runs a step and makes a panic an error.
func (r *Runner) attempt(ctx context.Context, s Step) (message string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s: internal error: %v", s.What, p)
			r.Log.Error("panic", "step", s.Name, "value", p, "stack", string(debug.Stack()))
		}
	}()
	return s.Run(ctx)
}
