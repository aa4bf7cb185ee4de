package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
	"github.com/gild-dev/gild/internal/cli/term"
)

func (a *app) machineCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "machine",
		Short: "see and describe the machines that a running server knows",
		Long: `See and describe the machines that a running server knows. MACHINE is anything
that one is known by: its name, a MAC, its SMBIOS UUID, its serial number.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.machineLsCmd(), a.machineShowCmd(), a.machineAddCmd(), a.machineEditCmd(), a.machineRmCmd())
	return cmd
}

func (a *app) machineLsCmd() *cobra.Command {
	var selector string
	cmd := &cobra.Command{
		Use: "ls", Short: "list the machines", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runMachineLs(cmd.Context(), selector) },
	}
	selectorFlag(cmd, &selector)
	return cmd
}

func selectorFlag(cmd *cobra.Command, to *string) {
	cmd.Flags().VarP((*selectorText)(to), "selector", "l", "machines whose labels match, a `selector` such as rack=b7 (see gild help selectors)")
}

// selectorText is a selector that was given. An empty one is refused: it is a
// shell variable without a value more often than a wish for every machine.
type selectorText string

// Set takes the flag's text.
func (s *selectorText) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("it is empty, and would pick every machine")
	}
	*s = selectorText(text)
	return nil
}

// String is the text as it was given.
func (s *selectorText) String() string { return string(*s) }

// Type is what the flag takes.
func (s *selectorText) Type() string { return "selector" }

func (a *app) runMachineLs(ctx context.Context, selector string) error {
	op, err := a.operator()
	if err != nil {
		return err
	}
	machines, err := op.Machines(ctx, selector)
	if err != nil {
		return a.reached(err)
	}
	if a.JSON {
		return a.PrintJSON(machines)
	}
	a.Table(a.Stdout, machineTable(machines, time.Now()))
	return nil
}

// machineTable is the room as a list.
func machineTable(machines []api.Machine, now time.Time) term.Table {
	t := term.Table{Header: []string{"MACHINE", "STATE", "IMAGE", "LABELS", "SEEN", "LAST"}, Soft: 3}
	for i := range machines {
		m := &machines[i]
		image := "-"
		switch {
		case m.Armed != nil:
			image = term.Printable(m.Armed.Plan.Image.Name)
		case m.System != nil:
			image = term.Printable(m.System.Name)
		}
		t.Rows = append(t.Rows, []string{
			display(m), doneText(m), image,
			term.OrDash(term.Pairs(m.Spec.Labels)), term.Ago(now, m.LastSeen), lastText(m),
		})
	}
	t.Paint = func(row, col int) term.Style {
		if col == 1 {
			return stateStyle(&machines[row])
		}
		return term.Plain
	}
	return t
}

// stateText is the state with what a person must know beside it.
func stateText(m *api.Machine) string {
	text := term.Printable(m.State)
	if m.Live && m.Progress != nil && m.Progress.Total > 0 {
		text += fmt.Sprintf(", %d %% on disk", onDisk(m))
	}
	switch {
	case !m.Stuck.IsZero():
		text += ", stuck"
	case m.Waiting:
		text += ", waiting"
	}
	if m.Conflict != "" {
		text += ", conflict"
	}
	return text
}

// onDisk is how much of a live machine's disk is there, in percent. When it is
// all written, what follows only proves it.
func onDisk(m *api.Machine) int {
	if m.Progress.Phase == "write" {
		return percent(m.Progress)
	}
	return 100
}

// doneText is the state with how far a flash is.
func doneText(m *api.Machine) string {
	done := progressText(m.Progress)
	if m.State != api.MachineFlashing || done == "-" {
		return stateText(m)
	}
	text, _ := strings.CutPrefix(stateText(m), m.State+", ") // "stuck: write 43%" says it all
	return text + ": " + done
}

func lastText(m *api.Machine) string {
	text := m.Message
	switch {
	case m.Conflict != "":
		text = m.Conflict
	case m.State == api.MachineFailed && m.Cause != "":
		text = m.Cause + ": " + m.Message
	}
	return term.Printable(text)
}

func progressText(p *api.Progress) string {
	if p == nil || p.Total <= 0 {
		return "-"
	}
	text := fmt.Sprintf("%s %d%%", term.Printable(p.Phase), percent(p))
	if p.Unanswered > 0 {
		text += fmt.Sprintf(", disk silent for %d s", p.Unanswered)
	}
	return text
}

// percent is how much of a phase is done, 0 to 100 whatever the wire says.
func percent(p *api.Progress) int {
	if p == nil || p.Total <= 0 {
		return 0
	}
	return int(100 * float64(min(max(p.Done, 0), p.Total)) / float64(p.Total))
}

func (a *app) machineRmCmd() *cobra.Command {
	var force bool
	var selector string
	cmd := &cobra.Command{
		Use:   "rm MACHINE... | -l SELECTOR",
		Short: "forget machines",
		Long: `Forget machines: their records, what they told, and their arms. Nothing on them
changes; one that boots from the network again is discovered anew. What operators
and the server did with them, and the receipts, stay in 'gild events --audit'.
-l state=discovered forgets all that were seen and never registered.

One whose disk is being written is not forgotten. With --force it is: its agent
is told at its next word, within ten seconds, and stops, and the disk does not
boot until it is flashed again.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			op, err := a.operator()
			if err != nil {
				return err
			}
			if selector != "" || len(names) == 0 {
				return a.forgetSelected(cmd.Context(), op, names, selector, force)
			}
			return joined(each(names, func(_ int, name string) error {
				return a.reached(of(name, op.Delete(cmd.Context(), name, force)))
			}))
		},
	}
	forceFlag(cmd, &force)
	selectorFlag(cmd, &selector)
	return cmd
}

// forgetSelected forgets every machine that a selector picks. One that is gone
// by the time that it is its turn is forgotten as well.
func (a *app) forgetSelected(ctx context.Context, op *client.Operator, names []string, selector string, force bool) error {
	machines, err := a.targets(ctx, op, names, selector)
	if err != nil {
		return err
	}
	var forgotten atomic.Int64
	errs := each(machines, func(_ int, m api.Machine) error {
		err := op.Delete(ctx, m.ID, force)
		if said, ok := errors.AsType[*client.ProblemError](err); ok && said.Status == http.StatusNotFound {
			return nil
		}
		if err == nil {
			forgotten.Add(1)
		}
		return a.reached(of(display(&m), err))
	})
	fmt.Fprintf(a.Stdout, "%d forgotten\n", forgotten.Load())
	return joined(errs)
}

// stateStyle stresses the states that a person looks for.
func stateStyle(m *api.Machine) term.Style {
	switch {
	case m.State == api.MachineFailed, !m.Stuck.IsZero(), m.Conflict != "":
		return term.Red
	case m.State == api.MachineUnconfirmed, m.State == api.MachineArmed:
		return term.Yellow
	case m.State == api.MachineRunning:
		return term.Green
	case m.State == api.MachineBooting, m.State == api.MachineFlashing, m.State == api.MachineHandingOff:
		return term.Cyan
	}
	return term.Plain
}
