package clitest

import (
	"context"

	"github.com/gild-dev/gild/internal/api"
)

// Power keeps what is asked of the power controls, and tells of each machine
// what the test has said.
func (c control) Power(ctx context.Context, _ string, q api.PowerRequest) (func(context.Context, func(api.PowerOutcome)), error) {
	for _, id := range q.Machines {
		if _, err := c.Machine(ctx, id); err != nil {
			return nil, err
		}
	}
	c.f.Mu.Lock()
	defer c.f.Mu.Unlock()
	c.f.Powered = append(c.f.Powered, q)
	outcomes := c.f.Fates
	return func(_ context.Context, tell func(api.PowerOutcome)) {
		for _, id := range q.Machines {
			if o, ok := outcomes[id]; ok {
				tell(o)
			}
		}
	}, nil
}
