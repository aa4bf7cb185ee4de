package report

import (
	"context"
	"errors"
	"net/http"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/agentclient"
	"github.com/gild-dev/gild/internal/api/cluster"
)

// Session is one agent's with its server: what it says under one name, and what
// it may do meanwhile.
type Session struct {
	ID     string              // made up by the agent, once a boot
	MAC    string              // of the link in use
	Client *agentclient.Client // nil before there is a network
	Queue  *Queue
	Permit Permit
}

// Deliver sends what is queued, until ctx is done.
func (s *Session) Deliver(ctx context.Context) { s.Queue.Deliver(ctx, s.Send) }

// Permitted makes a step one that the plan permits: it is cancelled, and does
// not begin, once the plan is lost. Its error is then a *LostError.
func (s *Session) Permitted(run func(context.Context) (string, error)) func(context.Context) (string, error) {
	return func(ctx context.Context) (message string, err error) {
		step, end := s.Permit.Begin(ctx)
		defer func() {
			if lost := end(); lost != nil {
				message, err = "", lost
				// What happens from here on is not of that plan any more, and
				// the server would refuse to hear of it.
				s.Queue.Under("")
			}
		}()
		if step.Err() != nil {
			return "", context.Cause(step)
		}
		return run(step)
	}
}

// Send reports events of a plan. The server answers 409 when that plan is not
// this agent's any more (api.PathEvents).
func (s *Session) Send(ctx context.Context, plan string, events []api.Event) error {
	err := s.Client.Report(ctx, api.Report{Session: s.ID, MAC: s.MAC, Plan: plan, Events: events})
	if lost, ok := errors.AsType[*cluster.StatusError](err); ok && lost.Status == http.StatusConflict {
		why := err
		if lost.Detail != "" {
			why = errors.New(lost.Detail)
		}
		s.Permit.Revoke(plan, why)
	}
	return err
}
