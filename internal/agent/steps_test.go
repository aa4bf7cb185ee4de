package agent

import (
	"errors"
	"testing"

	"github.com/gild-dev/gild/internal/agent/order"
	"github.com/gild-dev/gild/internal/api"
)

// Whatever fails, the person before the screen is told what to do.
func TestEveryStepHasAdvice(t *testing.T) {
	a := &Agent{}
	steps := a.steps()
	a.settings.Rescue = true
	for _, s := range append(steps, a.steps()...) {
		if code := order.Cause(s.Name, errors.New("anything")); api.Advice(code, "") == "" {
			t.Errorf("no advice for %q, which step %q fails with", code, s.Name)
		}
	}
}
