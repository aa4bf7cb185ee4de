package report

import (
	"context"
	"errors"
	"net/http"
	"testing"
)

func TestPermitIgnoresOtherPlans(t *testing.T) {
	var p Permit
	p.Revoke("", http.ErrAbortHandler)
	p.Grant("new")
	ctx, end := p.Begin(t.Context())
	p.Revoke("old", http.ErrAbortHandler)
	p.Revoke("", http.ErrAbortHandler)
	if err := end(); err != nil || !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Errorf("after a word about another plan the step ends with %v; want nil", err)
	}
	p.Revoke("new", http.ErrAbortHandler)
	if ctx, end := p.Begin(t.Context()); ctx.Err() == nil || end() == nil {
		t.Error("a step begins although its plan is lost")
	}
	p.Grant("new")
	if ctx, end := p.Begin(t.Context()); ctx.Err() != nil || end() != nil {
		t.Error("a plan that was granted again permits nothing")
	}
}
