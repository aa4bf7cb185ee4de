package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
)

func (a *app) machineCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "machine",
		Short: "see the machines that a running server knows",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "ls", Short: "list the machines", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return a.runMachineLs(cmd.Context()) },
		},
		&cobra.Command{
			Use: "show MAC", Short: "show one machine and its past", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error { return a.runMachineShow(cmd.Context(), args[0]) },
		},
		&cobra.Command{
			Use: "rm MAC", Short: "forget a machine", Args: cobra.ExactArgs(1),
			RunE: func(cmd *cobra.Command, args []string) error {
				return a.reached(a.operator().Delete(cmd.Context(), args[0]))
			},
		})
	return cmd
}

// flashOptions are the flags of gild flash.
type flashOptions struct {
	api.FlashRequest
	expires time.Duration
}

func (a *app) flashCmd() *cobra.Command {
	var o flashOptions
	cmd := &cobra.Command{
		Use:   "flash MAC... --image NAME",
		Short: "arm machines for one flash each",
		Long: `Arm machines: at its next network boot each is flashed once with the image, and
boots its local disk from then on. What is on the disk is lost.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runFlash(cmd.Context(), args, o) },
	}
	f := cmd.Flags()
	f.StringVar(&o.Image, "image", "", "`name` of a stored image (required)")
	f.StringVar(&o.Disk, "disk", "", "disk `rule` such as serial=S4EW, size>=100G or smallest (default: the only disk)")
	f.StringVar(&o.ReadBack, "read-back", "full", "how much of the disk to read back: full, sample or off")
	f.StringVar(&o.Handoff, "handoff", "auto", "how to enter the system: auto, switch_root, kexec or reboot")
	f.BoolVar(&o.NoGrow, "no-grow", false, "leave the last partition as the image has it")
	f.BoolVar(&o.Unseen, "unseen", false, "arm machines that were never seen yet")
	f.DurationVar(&o.expires, "expires", 0, "take the permission back after this time")
	return cmd
}

func (a *app) runFlash(ctx context.Context, macs []string, o flashOptions) error {
	if o.Image == "" {
		return usageError{hinted{errors.New("--image is missing"), "`gild image ls` lists the stored images"}}
	}
	o.Expires = int(o.expires.Seconds())
	armed := []api.Machine{}
	for _, mac := range macs {
		m, err := a.operator().Flash(ctx, mac, o.FlashRequest)
		if err != nil {
			return a.reached(err)
		}
		armed = append(armed, m)
		if !a.json {
			fmt.Fprintf(a.Stdout, "%s is armed with %s: its next network boot flashes it once\n", m.MAC, printable(o.Image))
		}
	}
	if a.json {
		return a.printJSON(armed)
	}
	return nil
}

func (a *app) cancelCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "cancel MAC",
		Short: "take the permission to flash a machine back",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			m, err := a.operator().Cancel(cmd.Context(), args[0])
			if err != nil {
				return a.reached(err)
			}
			if a.json {
				return a.printJSON(m)
			}
			fmt.Fprintf(a.Stdout, "%s is not armed any more\n", m.MAC)
			return nil
		},
	}
}

func (a *app) runMachineLs(ctx context.Context) error {
	machines, err := a.operator().Machines(ctx, "")
	if err != nil {
		return a.reached(err)
	}
	if a.json {
		return a.printJSON(machines)
	}
	var rows [][]string
	for _, m := range machines {
		image := "-"
		if m.Armed != nil {
			image = m.Armed.Plan.Image.Name
		}
		rows = append(rows, []string{m.MAC, m.State, progressText(m.Progress), image, orDash(m.Firmware), ago(time.Now(), m.LastSeen), printable(m.Message)})
	}
	return a.printTable("MAC | STATE | DONE | IMAGE | FIRMWARE | SEEN | LAST", rows)
}

func progressText(p *api.Progress) string {
	if p == nil || p.Total <= 0 {
		return "-"
	}
	text := fmt.Sprintf("%s %d%%", p.Phase, p.Done*100/p.Total)
	if p.Unanswered > 0 {
		text += fmt.Sprintf(", disk silent for %d s", p.Unanswered)
	}
	return text
}

func (a *app) runMachineShow(ctx context.Context, mac string) error {
	m, err := a.operator().Machine(ctx, mac)
	if err != nil {
		return a.reached(err)
	}
	events, err := a.operator().Events(ctx, mac)
	if err != nil {
		return a.reached(err)
	}
	if a.json {
		return a.printJSON(struct {
			api.Machine
			Events []api.Event `json:"events"`
		}{m, events})
	}
	a.printMachine(m)
	fmt.Fprintln(a.Stdout, "\nevents")
	for _, e := range events {
		text := strings.Join(strings.Fields(strings.Join([]string{e.Step, e.State, e.Cause, e.Message}, " ")), " ")
		fmt.Fprintf(a.Stdout, "  %s  %s\n", e.Time.Local().Format("2006-01-02 15:04:05.000"), printable(text))
	}
	return nil
}

func (a *app) printMachine(m api.Machine) {
	line := func(key, format string, args ...any) {
		fmt.Fprintf(a.Stdout, "%-12s %s\n", key, printable(fmt.Sprintf(format, args...)))
	}
	line("machine", "%s", m.MAC)
	line("state", "%s since %s", m.State, m.Since.Local().Format(time.DateTime))
	line("firmware", "%s", orDash(m.Firmware))
	if i := m.Inventory; i != nil {
		line("hardware", "%s", orDash(strings.Join(strings.Fields(i.Vendor+" "+i.Product+" "+i.Serial), " ")))
		if i.Memory > 0 {
			line("cpu, memory", "%s (%d), %s", i.CPU, i.CPUs, bytesText(i.Memory))
		}
		for _, d := range i.Disks {
			line("  "+d.Name, "%s %s %s %s: %s", bytesText(d.Size), d.Transport, d.Model, d.Serial, cmp.Or(strings.Join(d.Holds, ", "), "empty"))
		}
	}
	if m.Armed != nil {
		line("armed", "%s on %s", m.Armed.Plan.Image.Name, cmp.Or(m.Armed.Plan.Disk, "its only disk"))
	}
	if r := m.Receipt; r != nil {
		line("flashed", "%s on %s, %s written, %s zeroed, read back: %s, handoff: %s",
			r.Image, r.Disk.Name, bytesText(r.Written), bytesText(r.Zeroed), r.ReadBack, r.Handoff)
	}
	if m.Cause != "" {
		line("failed", "%s: %s", m.Cause, m.Message)
	}
}

// operator talks to the running server.
func (a *app) operator() *client.Operator {
	return &client.Operator{BaseURL: strings.TrimSuffix(a.server, "/"), HTTP: a.httpClient()}
}

// reached sorts the errors of a call: what the server said, and that there is
// none.
func (a *app) reached(err error) error {
	var transport *url.Error
	var said *client.ProblemError
	switch {
	case errors.As(err, &transport):
		return unreachable{hinted{fmt.Errorf("no server answers at %s: %w", a.server, err), "start one with `gild serve`, or name it with --server"}}
	case errors.As(err, &said) && said.Status == http.StatusNotFound:
		return notFound{err}
	case errors.As(err, &said) && said.Status == http.StatusConflict:
		return refusal{err}
	case errors.As(err, &said) && said.Status/100 == 4:
		return usageError{err}
	}
	return err
}
