package flash

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/pick"
	"github.com/gild-dev/gild/internal/cli/term"
)

// nowLines say how the machine is brought to the network at once.
func (t *target) nowLines() []string {
	m := &t.preview.Machine
	switch {
	case !t.now:
		return nil
	case m.Waiting:
		return []string{"now: its agent is waiting; flashing starts as soon as it is armed"}
	case m.Spec.Power.Driver == "":
		return []string{"now: it has no power control; restart it by hand, from the network"}
	case m.Spec.Power.Driver == api.PowerWOL:
		return []string{"now: woken by Wake-on-LAN, if it is off; one that is on has to be restarted by hand"}
	}
	return []string{"now: restarted by " + term.Printable(m.Spec.Power.Driver) + ": orderly shutdown, else reset, else power cycle; " +
		"what runs on it ends"}
}

// nowWithin is how long machines may take to come to the network, in seconds:
// every way that there is, for as many as come one after the other.
const nowWithin = 3600

// boot has the machines that were armed boot from the network.
func (a commands) boot(ctx context.Context, op *operatorclient.Client, targets []*target) error {
	q := api.PowerRequest{Verb: api.PowerNetboot, Reason: "gild flash --now", Within: nowWithin}
	for _, t := range targets {
		if m := &t.preview.Machine; t.err == nil && !m.Waiting && m.Spec.Power.Driver != "" {
			q.Machines = append(q.Machines, m.ID)
		}
	}
	if len(q.Machines) == 0 {
		return nil
	}
	told := map[string]bool{}
	var errs []error
	err := op.Power(ctx, q, func(o api.PowerOutcome) {
		told[o.ID] = true
		if !o.Done {
			text := "it is armed, and was not brought to the network: " + o.Error
			if o.Hint != "" {
				text += "; " + o.Hint
			}
			errs = append(errs, pick.Of(o.Name, errors.New(text)))
			return
		}
		fmt.Fprintf(a.Stderr, "%s boots from the network\n", term.Printable(o.Name))
	})
	for _, t := range targets {
		if id := t.preview.Machine.ID; err == nil && t.err == nil && !told[id] && slices.Contains(q.Machines, id) {
			errs = append(errs, exit.Hint(pick.Of(t.name(), errors.New("it is armed, and not known whether it boots from the network")),
				"gild watch shows it"))
		}
	}
	return errors.Join(a.Reached(err), errors.Join(errs...))
}
