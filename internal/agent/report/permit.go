package report

import (
	"context"
	"sync"
)

// LostError ends a step whose plan the server has revoked: cancelled,
// replaced, or given to another agent.
type LostError struct{ why error }

func (e *LostError) Error() string { return "the server has revoked the plan: " + e.why.Error() }

func (e *LostError) Unwrap() error { return e.why }

// Permit is the server's permission to write, which comes with a plan and
// ends with it. The zero Permit permits nothing and has lost nothing.
type Permit struct {
	mu   sync.Mutex
	plan string
	lost *LostError              // nil as long as the permission holds
	end  context.CancelCauseFunc // of the step under way; nil between steps
}

// Grant begins to hold a plan.
func (p *Permit) Grant(plan string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plan, p.lost = plan, nil
}

// Revoke takes the permission back and ends the step under way. A word about
// another plan than the one held comes too late to matter.
func (p *Permit) Revoke(plan string, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if plan == "" || plan != p.plan || p.lost != nil {
		return
	}
	p.lost = &LostError{why}
	if p.end != nil {
		p.end(p.lost)
	}
}

// Begin returns the context of a step that the plan permits, and a function
// that ends it and says whether the plan was lost by then.
func (p *Permit) Begin(ctx context.Context) (context.Context, func() error) {
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

// IsLost reports whether the server has revoked the plan.
func (p *Permit) IsLost() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lost != nil
}
