// Package flash is the commands that give or revoke the permission to flash
// machines.
package flash

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/pick"
	"github.com/gild-dev/gild/internal/cli/term"
)

// commands are run with what every command works with.
type commands struct{ *app.App }

// options are the flags of gild flash.
type options struct {
	api.FlashRequest
	selector string
	expires  flags.Lasting
	settings flags.Settings
	yes      bool
	dryRun   bool
	now      bool
}

const long = `Arm machines: each is flashed once with the image at its next network boot, and
boots from its local disk afterwards. A machine whose agent is waiting is flashed
immediately.

What is on each disk, and what will be lost, is shown first; then you are asked
to confirm. If a disk changes before you answer, its machine is not armed. A
machine that is refused does not stop the others.

With --now the machines are booted from the network at once, by their power
control (gild power): by an orderly shutdown, or a reset if that takes longer
than 2 minutes, or a power cycle if the machine is not seen on the network within
5. A machine without power control has to be restarted by hand.`

// Command is `gild flash`.
func Command(with *app.App) *cobra.Command {
	a := commands{with}
	var o options
	cmd := &cobra.Command{
		Use:   "flash MACHINE... --image NAME",
		Short: "arm machines for one flash each",
		Long:  long,
		Example: `  gild flash web-1 web-2 --image web
  gild flash -l rack=b7 --image web --disk 'transport=nvme,smallest'
  gild flash db-1 --image db --keep data --confirm tcp:22`,
		RunE: func(cmd *cobra.Command, names []string) error {
			if err := o.settings.Over(&o.Settings); err != nil {
				return err
			}
			return a.run(cmd.Context(), names, o)
		},
		ValidArgsFunction: complete.Machines(a.App),
	}
	f := cmd.Flags()
	flags.Selector(cmd, &o.selector)
	f.BoolVar(&o.Wipe, "wipe", false, "overwrite a disk that holds LVM, RAID, ZFS, LUKS, Ceph or partitions not created by gild")
	f.BoolVar(&o.NoGrow, "no-grow", false, "do not grow the last partition")
	f.BoolVar(&o.Unseen, "unseen", false, "arm machines that have never been seen")
	f.Var(&o.expires, "expires",
		"disarm the machine if it has not started flashing within this `duration`, or never (default: the server's, 24h)")
	o.settings.Register(cmd, true)
	f.BoolVar(&o.now, "now", false, "boot the machines from the network now, by their power control")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be lost, arm nothing")
	return cmd
}

// target is one machine on its way through gild flash.
type target struct {
	preview api.Preview
	now     bool  // it is booted at once
	err     error // why it is not armed
}

func (t *target) name() string { return phrase.Name(&t.preview.Machine) }

func (a commands) run(ctx context.Context, names []string, o options) error {
	if err := pick.Check(names, o.selector); err != nil {
		return err
	}
	o.Expires = int(o.expires)
	op, err := a.Operator()
	if err != nil {
		return err
	}
	targets, err := a.previews(ctx, op, names, o)
	if err != nil && len(targets) == 0 {
		return err
	}
	errs := []error{err}
	if o.dryRun {
		return errors.Join(err, a.printDryRun(targets))
	}
	if !a.JSON || !o.yes {
		a.printPreviews(a.Stderr, targets)
	}
	var ready []*target
	for _, t := range targets {
		if t.err == nil {
			ready = append(ready, t)
		}
	}
	if len(ready) > 0 {
		if err := a.agree(ctx, len(ready), o.yes); err != nil {
			return err
		}
		a.arm(ctx, op, ready, o.FlashRequest)
	}
	printed := a.printArmed(targets)
	if o.now {
		errs = append(errs, a.boot(ctx, op, ready))
	}
	for _, t := range targets {
		errs = append(errs, t.err)
	}
	return errors.Join(printed, pick.Joined(errs))
}

// previews asks what arming each machine would do. A machine that was named
// and not seen may be meant: the server knows whether that is allowed, so it
// is asked by the name and not looked for first.
func (a commands) previews(ctx context.Context, op *operatorclient.Client, names []string, o options) ([]*target, error) {
	if len(names) == 0 {
		machines, err := pick.Machines(ctx, a.App, op, nil, o.selector)
		if err != nil {
			return nil, err
		}
		for i := range machines {
			names = append(names, machines[i].ID)
		}
	}
	found := make([]api.Preview, len(names))
	errs := pick.Each(names, func(i int, name string) error {
		p, err := op.Preview(ctx, name, o.FlashRequest)
		found[i] = p
		return a.Reached(pick.Of(name, err))
	})
	var targets []*target
	seen := map[string]bool{}
	for i, p := range found {
		if errs[i] != nil || seen[p.Machine.ID] {
			continue
		}
		seen[p.Machine.ID] = true
		t := &target{preview: p, now: o.now}
		if p.Refusal != "" {
			t.err = exit.Refused(pick.Of(t.name(), errors.New(p.Refusal)))
		}
		targets = append(targets, t)
	}
	return targets, pick.Joined(errs)
}

// agree asks the operator. More than one machine needs their number: a yes is
// typed too easily when forty are meant by mistake.
func (a commands) agree(ctx context.Context, n int, yes bool) error {
	if yes {
		return nil
	}
	if !a.Interactive() {
		return exit.Refused(exit.Hint(errors.New("not a terminal, so nothing was armed"), "add --yes to skip the prompt"))
	}
	what := "Data on this machine will be erased."
	if n > 1 {
		what = fmt.Sprintf("Data on %d machines will be erased.", n)
	}
	if !a.Agreed(ctx, n, what, "continue") {
		return exit.Refused(errors.New("not confirmed; nothing was armed"))
	}
	return nil
}

// arm arms each for what was shown of it.
func (a commands) arm(ctx context.Context, op *operatorclient.Client, targets []*target, f api.FlashRequest) {
	errs := pick.Each(targets, func(_ int, t *target) error {
		f := f
		f.Shown = t.preview.Digest
		m, err := op.Flash(ctx, t.preview.Machine.ID, f)
		if err == nil {
			t.preview.Machine = m
		}
		return a.Reached(pick.Of(t.name(), err))
	})
	for i, t := range targets {
		t.err = errs[i]
	}
}

// armOutcome is what happened to one machine, for scripts.
type armOutcome struct {
	ID    string `json:"id"`
	Name  string `json:"name,omitempty"`
	MAC   string `json:"mac,omitempty"`
	Armed bool   `json:"armed"`
	Plan  string `json:"plan,omitempty"`
	Error string `json:"error,omitempty"`
}

func (a commands) printArmed(targets []*target) error {
	outcomes := []armOutcome{}
	armed := 0
	for _, t := range targets {
		m := &t.preview.Machine
		o := armOutcome{ID: m.ID, Name: m.Spec.Name, MAC: m.MAC, Armed: t.err == nil}
		if t.err != nil {
			o.Error = t.err.Error()
		} else {
			armed++
			if m.Armed != nil {
				o.Plan = m.Armed.Plan.ID
			}
		}
		outcomes = append(outcomes, o)
	}
	if a.JSON {
		return a.PrintJSON(outcomes)
	}
	for _, t := range targets {
		if t.err == nil {
			fmt.Fprintf(a.Stdout, "%s armed with %s: %s\n", t.name(), term.Printable(t.preview.Image.Name), whenFlashed(&t.preview.Machine))
		}
	}
	if len(targets) > 1 {
		fmt.Fprintf(a.Stdout, "%d of %d armed; `gild watch` shows progress\n", armed, len(targets))
	}
	return nil
}

func whenFlashed(m *api.Machine) string {
	if m.Waiting {
		return "its agent is waiting; flashing starts now"
	}
	return "it will be flashed once, at its next network boot"
}
