package machine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/settings"
	"github.com/gild-dev/gild/internal/units"
)

func (a commands) showCmd() *cobra.Command {
	var events int
	cmd := &cobra.Command{
		Use: "show MACHINE", Short: "show one machine: inventory, disks, flashes, events", Args: cobra.ExactArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runShow(cmd.Context(), args[0], events) },
		ValidArgsFunction: complete.Machine(a.App),
	}
	cmd.Flags().IntVarP(&events, "events", "n", 20, "how many of the newest events to show; 0 shows all")
	return cmd
}

func (a commands) runShow(ctx context.Context, name string, limit int) error {
	op, err := a.Operator()
	if err != nil {
		return err
	}
	m, err := op.Machine(ctx, name)
	if err != nil {
		return a.Reached(err)
	}
	// By its ID from here on: it may be renamed in between.
	events, err := op.Events(ctx, m.ID)
	if err != nil {
		return a.Reached(err)
	}
	events = slices.DeleteFunc(events, func(e api.Event) bool { return !e.Happened() })
	flashes, err := op.Flashes(ctx, m.ID)
	if err != nil {
		return a.Reached(err)
	}
	if a.JSON {
		return a.PrintJSON(struct {
			api.Machine
			Flashes []api.Flash `json:"flashes"`
			Events  []api.Event `json:"events"`
		}{m, term.NonNil(flashes), term.NonNil(events)})
	}
	if limit > 0 && len(events) > limit {
		events = events[len(events)-limit:]
	}
	return a.Paged(func() error {
		a.printMachine(&m)
		a.printDisks(m.Inventory)
		a.printFlashes(flashes)
		fmt.Fprintln(a.Stdout, "\nevents")
		for _, e := range events {
			fmt.Fprintf(a.Stdout, "  %s  %s\n", term.Time(e.Time), phrase.Event(&e))
		}
		return nil
	})
}

// printMachine prints what is known of a machine, a line a fact.
func (a commands) printMachine(m *api.Machine) {
	line := a.Fact
	line("machine", "%s", phrase.Name(m))
	line("known by", "%s", labelsText(m))
	line("state", "%s since %s", phrase.State(m), m.Since.Local().Format(term.Moment))
	if tr := m.Trouble; tr != nil {
		line("trouble", "%s, %s", tr.Cause, tr.Course(time.Now()))
		line("because", "%s", tr.Message)
	} else if m.Conflict != "" {
		line("because", "%s", m.Conflict)
	}
	if m.NotBooted != "" {
		line("not booted", "%s (%s)", m.NotBooted, term.Ago(time.Now(), m.NotBootedSeen))
	}
	if text := adviceText(m); text != "" {
		line("what to do", "%s", text)
	}
	if !m.Stuck.IsZero() {
		line("stuck", "silent since %s", m.Stuck.Local().Format(term.Moment))
	}
	if shared := append(slices.Clone(m.Spec.SharedMACs), m.SharedMACs...); len(shared) > 0 {
		line("shared", "%s: used by several machines, identifies none", strings.Join(shared, ", "))
	}
	if n := m.Dropped; n > 0 {
		line("dropped", "%d events: the machine reports more than is kept", n)
	}
	if m.Estimate != nil {
		line("done", "%s", term.Printable(m.Estimate.String()))
	}
	if len(m.Spec.Labels) > 0 {
		line("labels", "%s", term.Pairs(m.Spec.Labels))
	}
	if len(m.Spec.Values) > 0 {
		line("values", "%s", term.Pairs(m.Spec.Values))
	}
	if text := defaultsText(&m.Spec.Flash); text != "" {
		line("defaults", "%s", text)
	}
	if text := powerText(&m.Spec.Power); text != "" {
		line("power", "%s", text)
	}
	line("firmware", "%s", term.OrDash(m.Firmware))
	if m.LastSeen.IsZero() {
		line("seen", "never")
	} else {
		line("seen", "%s, at %s", term.Ago(time.Now(), m.LastSeen), term.OrDash(m.Address))
	}
	if i := m.Inventory; i != nil {
		line("hardware", "%s", term.OrDash(strings.Join(strings.Fields(i.Vendor+" "+i.Product+" "+i.Serial), " ")))
		if i.Memory > 0 {
			line("cpu, memory", "%s (%d), %s", i.CPU, i.CPUs, units.Bytes(i.Memory))
		}
		for _, n := range i.NICs {
			line("nic "+term.Printable(n.Name), "%s %s%s", n.MAC, n.Driver, map[bool]string{false: ", no carrier"}[n.Carrier])
		}
	}
	if r := m.Armed; r != nil {
		line("armed", "%s on %s, by %s at %s%s", r.Plan.Image.Name, cmp.Or(r.Plan.Disk, "its only disk"),
			term.OrDash(r.By), r.Since.Local().Format(term.Moment), until(r.Expires))
		if b := r.Boots; b != nil {
			line("boots", "the agent %s; then %s", b.Agent(), b.Then())
		}
	}
	if w := m.Awaited; w != nil {
		line("awaited", "report of the new system by %s (%s), %d of %d network boots without it",
			w.Until.Local().Format(term.Moment), cmp.Or(w.Probe, "beacon"), w.Boots, w.Limit)
	}
}

// adviceText says what to do about a machine that is not as it should be.
func adviceText(m *api.Machine) string {
	switch {
	case m.Trouble != nil:
		return api.Advice(m.Trouble.Cause, phrase.Name(m))
	case m.Conflict != "":
		return api.Advice(api.CauseConflict, phrase.Name(m))
	case m.NotBooted != "":
		return api.Advice(api.CauseOtherMachine, phrase.Name(m))
	}
	return ""
}

// labelsText is everything that a machine is recognised by.
func labelsText(m *api.Machine) string {
	var all []string
	add := func(s string) {
		for _, have := range all {
			if have == s {
				return
			}
		}
		if s != "" {
			all = append(all, s)
		}
	}
	add(m.MAC)
	for _, mac := range m.Spec.MACs {
		add(mac)
	}
	add(m.Spec.UUID)
	add(m.Spec.Serial)
	if i := m.Inventory; i != nil {
		add(i.UUID)
		add(i.Serial)
	}
	return cmp.Or(strings.Join(all, ", "), m.ID)
}

// defaultsText writes what is set for flashes of a machine.
func defaultsText(d *settings.Settings) string {
	var parts []string
	add := func(key, value string) {
		if value != "" {
			parts = append(parts, key+" "+value)
		}
	}
	for i := range settings.Fields {
		if f := &settings.Fields[i]; f.Kind != settings.Other {
			add(f.Flag, strings.Join(f.Strings(d), ","))
		}
	}
	if c := d.Confirm; c != nil {
		add("confirm", c.Probe)
		if c.Within > 0 {
			add("within", (time.Duration(c.Within) * time.Second).String())
		}
	}
	return strings.Join(parts, "; ")
}

func (a commands) printDisks(i *api.Inventory) {
	if i == nil || len(i.Disks) == 0 {
		return
	}
	t := term.Table{Header: []string{"DISK", "SIZE", "KIND", "MODEL", "SERIAL", "HOLDS"}, Wrap: true}
	for _, d := range i.Disks {
		var holds []string
		if len(d.Holds) > 0 {
			holds = append(holds, term.Printable(strings.Join(d.Holds, ", ")))
		}
		for _, p := range d.Partitions {
			holds = append(holds, partitionText(&p))
		}
		if len(holds) == 0 {
			holds = append(holds, "no known data")
		}
		t.Rows = append(t.Rows, []string{
			term.Printable(d.Name), units.Disk(d.Size), term.OrDash(term.Printable(d.Transport)),
			term.OrDash(term.Printable(d.Model)), term.OrDash(term.Printable(d.Serial)), strings.Join(holds, "\n"),
		})
	}
	fmt.Fprintln(a.Stdout)
	a.Table(a.Stdout, t)
}

func partitionText(p *api.Partition) string {
	name := cmp.Or(p.FSLabel, p.Label)
	if name != "" {
		name = " " + name
	}
	return term.Printable(fmt.Sprintf("  %d: %s %s%s", p.Number, units.Disk(p.Size), cmp.Or(p.FileSystem, "unknown"), name))
}

// shownFlashes is how many of a machine's flashes are shown to a person.
const shownFlashes = 10

func (a commands) printFlashes(flashes []api.Flash) {
	if len(flashes) == 0 {
		return
	}
	t := term.Table{Header: []string{"ARMED", "IMAGE", "BY", "OUTCOME", "PHASES"}, Wrap: true}
	for _, f := range flashes[:min(len(flashes), shownFlashes)] {
		outcome := f.Outcome
		if f.Cause != "" {
			outcome += ": " + f.Cause
		}
		what := []string{phasesText(f.Phases)}
		if r := f.Receipt; r != nil {
			what = append(what, fmt.Sprintf("%s written, %s zeroed, %s kept on %s; read back: %s; handoff: %s",
				units.Bytes(r.Written), units.Bytes(r.Zeroed), units.Bytes(r.Kept), r.Disk.Name, r.ReadBack, r.Handoff))
			if r.Demanded > 0 {
				what = append(what, fmt.Sprintf("the system waited for %d chunks, %.1f s in total", r.Demanded, r.Waited))
			}
		}
		if f.Message != "" {
			what = append(what, f.Message)
		}
		for i := range what {
			what[i] = term.Printable(what[i])
		}
		t.Rows = append(t.Rows, []string{
			f.Armed.Local().Format(term.Moment), term.Printable(cmp.Or(f.Image.Name, f.Image.Digest)),
			term.OrDash(term.Printable(f.By)), term.Printable(outcome), strings.Join(what, "\n"),
		})
	}
	fmt.Fprintln(a.Stdout)
	a.Table(a.Stdout, t)
}

// phasesText writes the steps of a flash with their times.
func phasesText(phases []api.Phase) string {
	var parts []string
	for _, p := range phases {
		text := p.Step
		switch {
		case p.End.IsZero() && p.State != api.StateFailed:
			text += " under way"
		case p.State != api.StateDone:
			text += " " + p.State
		}
		if !p.End.IsZero() {
			text += fmt.Sprintf(" %.1fs", p.End.Sub(p.Start).Seconds())
		}
		if p.Tries > 1 {
			text += fmt.Sprintf(" (%d tries)", p.Tries)
		}
		parts = append(parts, text)
	}
	return cmp.Or(strings.Join(parts, ", "), "-")
}

// until says when an arm expires, for the end of a sentence.
func until(t time.Time) string {
	if t.IsZero() {
		return ", until cancelled"
	}
	return ", until " + t.Local().Format(term.Moment)
}
