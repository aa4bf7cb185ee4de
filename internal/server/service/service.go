// Package service runs what a server is made of until one part of it ends.
package service

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// Service runs until its context ends.
type Service interface {
	Run(ctx context.Context) error
}

// Func is a function as a service.
type Func func(context.Context) error

// Run implements Service.
func (f Func) Run(ctx context.Context) error { return f(ctx) }

// Opener opens the sockets of one service, so that what cannot be opened is
// known before anything runs. What it serves is given to it then.
type Opener[Served any] struct {
	Name string // for errors and logs: "DHCP", "TFTP"
	// Open may ask what it serves at once. The service it returns runs until
	// its context ends; closed closes the sockets, also when Run was never
	// called, and may be nil.
	Open func(ctx context.Context, of Served) (s Service, closed func() error, err error)
}

// Named is a service with the name that its error is told under.
type Named struct {
	Name string
	Service
}

// OpenAll opens services one after the other. One that cannot be opened closes
// those before it; its error has its name.
func OpenAll[Served any](ctx context.Context, of Served, openers []Opener[Served]) (services []Named, closeAll func(), err error) {
	var closers []func() error
	closeAll = func() {
		for _, c := range closers {
			_ = c()
		}
	}
	for _, o := range openers {
		s, closer, err := o.Open(ctx, of)
		if err != nil {
			closeAll()
			return nil, nil, fmt.Errorf("%s: %w", o.Name, err)
		}
		services = append(services, Named{o.Name, s})
		if closer != nil {
			closers = append(closers, closer)
		}
	}
	return services, closeAll, nil
}

// RunAll runs the services until ctx ends, which is no error, or one of them
// does, and waits for all.
func RunAll(ctx context.Context, services []Named) error {
	group, inner := errgroup.WithContext(ctx)
	for _, s := range services {
		group.Go(func() error {
			err := s.Run(inner)
			if inner.Err() != nil {
				return nil //nolint:nilerr // ends because it was to, or after the first error
			}
			if err == nil {
				err = errors.New("stopped by itself")
			}
			return fmt.Errorf("%s: %w", s.Name, err)
		})
	}
	return group.Wait()
}
