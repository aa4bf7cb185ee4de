// Package pick finds the machines that an operator means.
package pick

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/exit"
)

// errNoTargets and errBothTargets keep a command from meaning more machines
// than were given.
var (
	errNoTargets   = errors.New("no machine given")
	errBothTargets = errors.New("give either machine names or a selector, not both")
)

// Check wants either names or a selector. Nothing means all machines.
func Check(names []string, selector string) error {
	const hint = "give machine names, or select machines by label: -l rack=b7"
	switch {
	case len(names) == 0 && strings.TrimSpace(selector) == "":
		return exit.Usage(exit.Hint(errNoTargets, hint))
	case len(names) > 0 && selector != "":
		return exit.Usage(exit.Hint(errBothTargets, hint))
	}
	return nil
}

// Machines finds the machines that an operator means, each once. What cannot
// be found is an error beside the others.
func Machines(ctx context.Context, a *app.App, op *operatorclient.Client, names []string, selector string) ([]api.Machine, error) {
	if err := Check(names, selector); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		machines, err := op.Machines(ctx, selector)
		if err == nil && len(machines) == 0 {
			return nil, exit.NotFound(exit.Hint(fmt.Errorf("no machine matches %q", selector),
				"`gild machine ls` shows the labels, `gild help selectors` explains selectors"))
		}
		return machines, a.Reached(err)
	}
	found := make([]api.Machine, len(names))
	errs := Each(names, func(i int, name string) error {
		m, err := op.Machine(ctx, name)
		found[i] = m
		return a.Reached(Of(name, err))
	})
	var machines []api.Machine
	seen := map[string]bool{}
	for i, m := range found {
		if errs[i] == nil && !seen[m.ID] {
			seen[m.ID] = true
			machines = append(machines, m)
		}
	}
	return machines, Joined(errs)
}

// atOnce is how many requests a command has under way.
const atOnce = 8

// Each calls do for every item, some at once, and gives its errors in order.
func Each[T any](items []T, do func(i int, item T) error) []error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			errs[i] = do(i, item)
			<-slots
		})
	}
	wg.Wait()
	return errs
}

// Of says of which machine an error is.
func Of(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// Joined makes one error of many. That there is no server is said once.
func Joined(errs []error) error {
	for _, err := range errs {
		if exit.Has(err, exit.CodeNoServer) {
			return err
		}
	}
	return errors.Join(errs...)
}
