// Package background runs what goes on beside the steps of a boot.
package background

import (
	"context"
	"log/slog"
	"runtime/debug"
)

// Tasks runs functions of which none may end the process.
type Tasks struct{ Log *slog.Logger }

// Go runs do. A panic ends it and not the machine.
func (t Tasks) Go(name string, do func()) {
	go func() {
		defer func() {
			if p := recover(); p != nil {
				t.Log.Error("panic", "in", name, "value", p, "stack", string(debug.Stack()))
			}
		}()
		do()
	}()
}

// Service is a task that can be stopped, and resumed, until the end of the
// context that it was begun with. The zero Service does nothing. Not safe for
// concurrent use.
type Service struct {
	begin func() (end func())
	end   func() // nil while it is stopped
}

// Serve begins a service. Its run ends with its context.
func (t Tasks) Serve(ctx context.Context, name string, run func(context.Context)) Service {
	s := Service{begin: func() func() {
		running, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		t.Go(name, func() {
			defer close(ended)
			run(running)
		})
		return func() {
			stop()
			<-ended
		}
	}}
	s.Resume()
	return s
}

// Stop returns when the service has ended.
func (s *Service) Stop() {
	if s.end != nil {
		s.end()
		s.end = nil
	}
}

// Resume begins a stopped service again.
func (s *Service) Resume() {
	if s.end == nil && s.begin != nil {
		s.end = s.begin()
	}
}
