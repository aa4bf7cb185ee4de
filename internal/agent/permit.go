package agent

import (
	"context"
	"errors"
	"net/http"
	"sync"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
)

// lostError ends a step whose plan the server has taken back: cancelled,
// replaced, or given to another agent.
type lostError struct{ why error }

func (e *lostError) Error() string { return "the server has taken the plan back: " + e.why.Error() }

func (e *lostError) Unwrap() error { return e.why }

// permit is the server's permission to write, which comes with a plan and
// ends with it. The zero permit permits nothing and has lost nothing.
type permit struct {
	mu   sync.Mutex
	plan string
	lost *lostError              // nil as long as the permission holds
	end  context.CancelCauseFunc // of the step under way; nil between steps
}

// grant begins to hold a plan.
func (p *permit) grant(plan string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan, p.lost = plan, nil
}

// revoke takes the permission back and ends the step under way. A word about
// another plan than the one held comes too late to matter.
func (p *permit) revoke(plan string, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if plan == "" || plan != p.plan || p.lost != nil {
		return
	}
	p.lost = &lostError{why}
	if p.end != nil {
		p.end(p.lost)
	}
}

// begin returns the context of a step that the plan permits, and a function
// that ends it and says whether the plan was lost by then.
func (p *permit) begin(ctx context.Context) (context.Context, func() error) {
	ctx, end := context.WithCancelCause(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end = end
	if p.lost != nil {
		end(p.lost)
	}
	return ctx, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.end = nil
		end(nil)
		if p.lost == nil {
			return nil
		}
		return p.lost
	}
}

// isLost reports whether the server has taken the plan back.
func (p *permit) isLost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost != nil
}

// permitted makes a step one that the plan permits: it is cancelled, and does
// not begin, once the plan is lost. Its error is then a *lostError.
func (a *Agent) permitted(run func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (message string, err error) {
		step, end := a.permit.begin(ctx)
		defer func() {
			if lost := end(); lost != nil {
				message, err = "", lost
				// What happens from here on is not of that plan any more, and
				// the server would refuse to hear of it.
				a.queue.under("")
			}
		}()
		if step.Err() != nil {
			return "", context.Cause(step)
		}
		return run(step)
	}
}

// send reports events of a plan. The server answers 409 when that plan is not
// this agent's any more (api.PathEvents).
func (a *Agent) send(ctx context.Context, mac, plan string, events []api.Event) error {
	err := a.client.Report(ctx, api.Report{Session: a.session, MAC: mac, Plan: plan, Events: events})
	if lost, ok := errors.AsType[*client.StatusError](err); ok && lost.Status == http.StatusConflict {
		why := err
		if lost.Detail != "" {
			why = errors.New(lost.Detail)
		}
		a.permit.revoke(plan, why)
	}
	return err
}
