// Package power is the commands that control the power of machines.
package power

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
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

// options are the flags of one verb.
type options struct {
	api.PowerRequest
	selector                string
	yes                     bool
	within, spread, lasting time.Duration
}

const long = `Read and switch the power of machines, by the power control that each is
configured with (gild machine edit --power-driver): a BMC by IPMI or Redfish,
Wake-on-LAN, or a program on the server.

A command waits until each machine has followed, and reports each as soon as it
is known. Only machines that are named or selected are touched. What interrupts
machines asks for confirmation first, and is refused for a machine whose disk is
being written. Interrupted, it touches no further machine.`

// Command is `gild power`.
func Command(with *app.App) *cobra.Command {
	a := commands{with}
	cmd := &cobra.Command{
		Use: "power", Short: "read and switch the power of machines", Long: long,
		Example: `  gild power status -l rack=b7
  gild power boot-once web-1 --from network && gild power cycle web-1
  gild power off web-1 --orderly --reason 'new memory'`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.verb(api.PowerStatus, "read whether machines are on", nil),
		a.verb(api.PowerOn, "switch machines on", nil),
		a.verb(api.PowerOff, "cut the power of machines", func(c *cobra.Command, o *options) {
			c.Flags().BoolVar(&o.Orderly, "orderly", false, "ask the operating system to shut down, and do not cut the power")
		}),
		a.verb(api.PowerCycle, "cut the power of machines and restore it; one that is off is switched on", nil),
		a.verb(api.PowerReset, "restart machines without cutting their power", nil),
		a.verb(api.PowerBootOnce, "set what machines boot from next, once", func(c *cobra.Command, o *options) {
			c.Flags().StringVar(&o.From, "from", "network", "what to boot from: disk, network, http, cd, or the `URL` of a UEFI boot file")
			_ = c.RegisterFlagCompletionFunc("from",
				cobra.FixedCompletions([]string{"disk", "network", "http", "cd"}, cobra.ShellCompDirectiveNoFileComp))
		}),
		a.verb(api.PowerIdentify, "light the identification lamp of machines", func(c *cobra.Command, o *options) {
			c.Flags().DurationVar(&o.lasting, "for", 15*time.Second,
				"for how long, up to 255s; 0s switches it off. Redfish has no timer: the lamp stays lit until it is switched off")
		}),
	)
	return cmd
}

// verb makes the command of a verb; more registers the flags of its own.
func (a commands) verb(verb, short string, more func(*cobra.Command, *options)) *cobra.Command {
	o := options{PowerRequest: api.PowerRequest{Verb: verb}}
	cmd := &cobra.Command{
		Use: verb + " MACHINE...", Short: short,
		RunE:              func(cmd *cobra.Command, names []string) error { return a.run(cmd.Context(), names, o) },
		ValidArgsFunction: complete.Machines(a.App),
	}
	f := cmd.Flags()
	flags.Selector(cmd, &o.selector)
	f.IntVar(&o.AtOnce, "at-once", 0, "how `many` machines are worked on at once (default 50)")
	f.DurationVar(&o.within, "within", 10*time.Minute, "`time` until all of it has ended")
	if verb != api.PowerStatus {
		f.StringVar(&o.Reason, "reason", "", "why, a `text` for the events of the machines")
		f.BoolVar(&o.Force, "force", false, "also a machine whose disk is being written, or whose power control another one has too")
	}
	if verb == api.PowerOn || verb == api.PowerCycle {
		f.DurationVar(&o.spread, "spread", 200*time.Millisecond,
			"`time` between two machines, so that not all draw their inrush current at once; 0s is none")
	}
	if interrupts(verb) {
		f.BoolVarP(&o.yes, "yes", "y", false, "do not ask for confirmation")
	}
	if more != nil {
		more(cmd, &o)
	}
	return cmd
}

func interrupts(verb string) bool {
	return verb == api.PowerOff || verb == api.PowerCycle || verb == api.PowerReset
}

// request brings the flags into the form of the API.
func (o *options) request() (api.PowerRequest, error) {
	q := o.PowerRequest
	for _, d := range []struct {
		flag string
		text time.Duration
		unit time.Duration
		most time.Duration
	}{
		{"within", o.within, time.Second, time.Hour},
		{"spread", o.spread, time.Millisecond, time.Minute},
		{"for", o.lasting, time.Second, 255 * time.Second},
	} {
		if d.text < 0 || d.text > d.most || d.text%d.unit != 0 {
			return q, exit.Usage(fmt.Errorf("--%s %s: give whole %s, up to %s", d.flag, d.text,
				map[time.Duration]string{time.Second: "seconds", time.Millisecond: "milliseconds"}[d.unit], d.most))
		}
	}
	q.Within, q.Spread, q.Seconds = int(o.within/time.Second), int(o.spread/time.Millisecond), int(o.lasting/time.Second)
	switch {
	case o.within == 0:
		return q, exit.Usage(errors.New("--within 0s leaves no time"))
	case q.Spread == 0 && (q.Verb == api.PowerOn || q.Verb == api.PowerCycle):
		q.Spread = -1
	}
	return q, nil
}

func (a commands) run(ctx context.Context, names []string, o options) error {
	if err := pick.Check(names, o.selector); err != nil {
		return err
	}
	q, err := o.request()
	if err != nil {
		return err
	}
	op, err := a.Operator()
	if err != nil {
		return err
	}
	machines, err := pick.Machines(ctx, a.App, op, names, o.selector)
	if err != nil && len(machines) == 0 {
		return err
	}
	if interrupts(q.Verb) {
		if err := a.agree(ctx, q, machines, o.yes); err != nil {
			return err
		}
	}
	for i := range machines {
		q.Machines = append(q.Machines, machines[i].ID)
	}
	outcomes := []api.PowerOutcome{}
	asked := op.Power(ctx, q, func(out api.PowerOutcome) {
		outcomes = append(outcomes, out)
		if out.Done && !a.JSON {
			fmt.Fprintf(a.Stdout, "%s %s\n", term.Printable(out.Name), said(q, out))
		}
	})
	errs := []error{err, a.Reached(asked)}
	if a.JSON {
		errs = append(errs, a.PrintJSON(outcomes))
	}
	for _, out := range outcomes {
		errs = append(errs, failure(out))
	}
	errs = append(errs, missing(machines, outcomes, asked))
	return pick.Joined(errs)
}

// missing tells of the machines whose fate the server did not tell.
func missing(machines []api.Machine, outcomes []api.PowerOutcome, asked error) error {
	if asked != nil && len(outcomes) == 0 {
		return nil // it was refused as a whole
	}
	told := map[string]bool{}
	for _, out := range outcomes {
		told[out.ID] = true
	}
	var names []string
	for i := range machines {
		if !told[machines[i].ID] {
			names = append(names, phrase.Name(&machines[i]))
		}
	}
	if len(names) == 0 {
		return nil
	}
	return exit.Hint(fmt.Errorf("it is not known what became of %s", list(names)), "look: gild power status, gild machine show")
}

// agree asks the operator.
func (a commands) agree(ctx context.Context, q api.PowerRequest, machines []api.Machine, yes bool) error {
	if yes {
		return nil
	}
	if !a.Interactive() {
		return exit.Refused(exit.Hint(errors.New("not a terminal, so no machine was touched"), "add --yes to skip the prompt"))
	}
	names := make([]string, len(machines))
	for i := range machines {
		names[i] = phrase.Name(&machines[i])
	}
	what := map[string]string{
		api.PowerOff: "The power of %s will be cut.", api.PowerCycle: "The power of %s will be cut and restored.",
		api.PowerReset: "%s will be restarted.",
	}[q.Verb]
	if q.Orderly {
		what = "%s will be shut down."
	}
	if !a.Agreed(ctx, len(machines), fmt.Sprintf(what, list(names)), "continue") {
		return exit.Refused(errors.New("not confirmed; no machine was touched"))
	}
	return nil
}

// shownNames is how many machines are named one by one.
const shownNames = 20

// list names machines, and counts them where they are several.
func list(names []string) string {
	if len(names) == 1 {
		return names[0]
	}
	shown := strings.Join(names[:min(len(names), shownNames)], ", ")
	if len(names) > shownNames {
		shown += ", ..."
	}
	return fmt.Sprintf("%d machines (%s)", len(names), shown)
}

// said is what was done to a machine, in words.
func said(q api.PowerRequest, out api.PowerOutcome) string {
	blind := out.State == "unknown"
	switch {
	case q.Verb == api.PowerBootOnce:
		return "boots from " + q.From + " next" + map[bool]string{false: ", is " + out.State}[blind]
	case q.Verb == api.PowerIdentify && q.Seconds == 0:
		return "lamp off"
	case q.Verb == api.PowerIdentify:
		return "lamp lit"
	case q.Verb == api.PowerReset:
		return "restarted"
	case q.Verb == api.PowerStatus:
		return out.State
	case blind:
		return "command sent; its power control does not tell the state"
	case q.Verb == api.PowerCycle:
		return "cycled, is " + out.State
	}
	return out.State
}

// failure is the error of an outcome; nil: it is done. What to do stands with
// it: several machines may need several things.
func failure(out api.PowerOutcome) error {
	if out.Done {
		return nil
	}
	text := out.Error
	if out.Hint != "" {
		text += "; " + out.Hint
	}
	err := pick.Of(out.Name, errors.New(text))
	switch {
	case out.ID == "":
		return exit.NotFound(err)
	case out.Kind == "refused":
		return exit.Refused(err)
	}
	return err
}
