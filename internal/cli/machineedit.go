package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
)

// specFlags change what the operator says of a machine. Only flags that were
// given change anything; an empty text takes a setting back.
type specFlags struct {
	name, uuid, serial    string
	macs, sharedMACs      []string
	keep                  []string
	labels, values        []string
	image, disk, identity string
	readBack, handoff     string
	holdReboot            bool
	probe                 string
	within                time.Duration
	given                 func(flag string) bool
	forOne, forAny        []string // names of flags
}

func (s *specFlags) register(cmd *cobra.Command, naming bool) {
	f := cmd.Flags()
	s.given = f.Changed
	if naming {
		f.StringVar(&s.name, "name", "", "`name` for people: letters, digits, hyphens, dots")
	}
	f.StringSliceVar(&s.macs, "mac", nil, "`address` of a network interface; repeat for all of them")
	f.StringSliceVar(&s.sharedMACs, "shared-mac", nil, "`address` of an adapter that other machines use too: it identifies none of them")
	f.StringVar(&s.uuid, "uuid", "", "SMBIOS `UUID`")
	f.StringVar(&s.serial, "serial", "", "SMBIOS serial `number`")
	f.StringArrayVar(&s.labels, "label", nil, "set a label, `KEY=VALUE`, or remove one, KEY-; may be repeated")
	f.StringArrayVar(&s.values, "value", nil, "set a value for the templates of its identity, `KEY=VALUE`, or remove one, KEY-")
	f.StringVar(&s.image, "image", "", "`name` of the image that flashes take when they name none")
	f.StringVar(&s.disk, "disk", "", "disk `rule` (see gild help disk-rules)")
	f.StringVar(&s.identity, "identity", "", "`name` of its identity (see gild help identity)")
	f.StringVar(&s.readBack, "read-back", "", "how much of the disk to read back: full, sample or off")
	f.StringVar(&s.handoff, "handoff", "", "how to enter the system: "+api.HandoffList())
	f.BoolVar(&s.holdReboot, "hold-reboot", false, "after an instant handoff: an orderly reboot waits until the disk is complete")
	f.StringSliceVar(&s.keep, "keep", nil, "`partition` to preserve, by number or label; may be repeated")
	confirmFlags(cmd, &s.probe, &s.within)
	s.forOne = []string{"name", "mac", "shared-mac", "uuid", "serial"}
	s.forAny = []string{"label", "value", "image", "disk", "identity", "read-back", "handoff", "hold-reboot", "keep", "confirm", "within"}
}

// confirmFlags are how it is known that a new system runs.
func confirmFlags(cmd *cobra.Command, probe *string, within *time.Duration) {
	cmd.Flags().StringVar(probe, "confirm", "", "`probe` that shows that the new system runs: tcp:22 or ping (default: the beacon that the identity sets up)")
	cmd.Flags().DurationVar(within, "within", 0, "how long the new system may take to be heard of (default 10m)")
}

// any reports whether one of the flags was given.
func (s *specFlags) any(flags []string) bool {
	for _, f := range flags {
		if s.given(f) {
			return true
		}
	}
	return false
}

// apply changes spec.
func (s *specFlags) apply(spec *api.Spec) error {
	text := func(flag, value string, to *string) {
		if s.given(flag) {
			*to = value
		}
	}
	text("name", s.name, &spec.Name)
	text("uuid", s.uuid, &spec.UUID)
	text("serial", s.serial, &spec.Serial)
	text("image", s.image, &spec.Flash.Image)
	text("disk", s.disk, &spec.Flash.Disk)
	text("identity", s.identity, &spec.Flash.Identity)
	text("read-back", s.readBack, &spec.Flash.ReadBack)
	text("handoff", s.handoff, &spec.Flash.Handoff)
	if s.given("hold-reboot") {
		spec.Flash.HoldReboot = s.holdReboot
	}
	if s.given("mac") {
		spec.MACs = withoutEmpty(s.macs)
	}
	if s.given("shared-mac") {
		spec.SharedMACs = withoutEmpty(s.sharedMACs)
	}
	if s.given("keep") {
		spec.Flash.Keep = withoutEmpty(s.keep)
	}
	if s.given("confirm") || s.given("within") {
		c, err := confirmOf(spec.Flash.Confirm, s.given, s.probe, s.within)
		if err != nil {
			return err
		}
		spec.Flash.Confirm = c
	}
	if err := setPairs(&spec.Labels, "label", s.labels); err != nil {
		return err
	}
	return setPairs(&spec.Values, "value", s.values)
}

// confirmOf lays the flags --confirm and --within over what is set already;
// nil: neither says anything.
func confirmOf(now *api.Confirm, given func(string) bool, probe string, within time.Duration) (*api.Confirm, error) {
	if !given("confirm") && !given("within") {
		return now, nil
	}
	var c api.Confirm
	if now != nil {
		c = *now
	}
	if given("confirm") {
		c.Probe = probe
	}
	if given("within") {
		if within < 0 || within%time.Second != 0 {
			return nil, exit.Usage(fmt.Errorf("--within %s: give whole seconds", within))
		}
		c.Within = int(within / time.Second)
	}
	if c == (api.Confirm{}) {
		return nil, nil
	}
	return &c, nil
}

func withoutEmpty(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

// setPairs carries out KEY=VALUE and KEY-.
func setPairs(m *map[string]string, what string, changes []string) error {
	for _, c := range changes {
		key, value, set := strings.Cut(c, "=")
		bare, remove := strings.CutSuffix(c, "-")
		switch {
		case set && key != "":
			if *m == nil {
				*m = map[string]string{}
			}
			(*m)[key] = value
		case !set && remove && bare != "":
			delete(*m, bare)
		default:
			return exit.Usage(fmt.Errorf("--%s %.60q is neither KEY=VALUE nor KEY-", what, c))
		}
	}
	return nil
}

func (a *app) machineAddCmd() *cobra.Command {
	var s specFlags
	cmd := &cobra.Command{
		Use:   "add NAME --mac MAC",
		Short: "register a machine, seen or not",
		Long: `Register a machine, which need not have been seen yet. One label by which it can
be recognised is needed: --mac, --uuid or --serial.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runMachineAdd(cmd.Context(), args[0], &s) },
	}
	s.register(cmd, false)
	return cmd
}

func (a *app) runMachineAdd(ctx context.Context, name string, s *specFlags) error {
	if !s.any([]string{"mac", "uuid", "serial"}) {
		return exit.Usage(exit.Hint(errors.New("nothing says how to recognise it"), "give --mac, --uuid or --serial"))
	}
	spec := api.Spec{Name: name}
	if err := s.apply(&spec); err != nil {
		return err
	}
	op, err := a.operator()
	if err != nil {
		return err
	}
	m, err := op.Register(ctx, spec)
	if err != nil {
		return a.reached(err)
	}
	if a.JSON {
		return a.PrintJSON(m)
	}
	fmt.Fprintf(a.Stdout, "%s is %s\n", display(&m), term.Printable(m.State))
	return nil
}

func (a *app) machineEditCmd() *cobra.Command {
	var s specFlags
	var selector string
	cmd := &cobra.Command{
		Use:   "edit MACHINE...",
		Short: "change what is said of machines",
		Long: `Change what is said of machines: their names, labels and defaults for flashes.
Only what flags name is changed; an empty text takes a setting back. What
'gild apply' said of a machine it will say again. A machine that somebody else
changes at the same moment is left as it is, and the answer says so. One that was
only seen is registered by it, by the address that it was seen by unless flags
say another label.`,
		Example: `  gild machine edit 52:54:00:12:34:56 --name web-1 --label rack=b7
  gild machine edit -l rack=b7 --image web --label old-`,
		RunE: func(cmd *cobra.Command, names []string) error {
			return a.runMachineEdit(cmd.Context(), names, selector, &s)
		},
	}
	s.register(cmd, true)
	selectorFlag(cmd, &selector)
	return cmd
}

func (a *app) runMachineEdit(ctx context.Context, names []string, selector string, s *specFlags) error {
	if !s.any(s.forOne) && !s.any(s.forAny) {
		return exit.Usage(exit.Hint(errors.New("nothing to change"), "see `gild machine edit --help`"))
	}
	op, err := a.operator()
	if err != nil {
		return err
	}
	machines, err := a.targets(ctx, op, names, selector)
	if err != nil {
		return err
	}
	if len(machines) > 1 && s.any(s.forOne) {
		return exit.Usage(fmt.Errorf("--name, --mac, --uuid and --serial are of one machine, and %d are meant", len(machines)))
	}
	edited := make([]api.Machine, len(machines))
	errs := each(machines, func(i int, m api.Machine) error {
		err := s.apply(&m.Spec)
		if err == nil {
			edited[i], err = op.EditRead(ctx, m, m.Spec)
		}
		return a.reached(of(display(&m), err))
	})
	var done []api.Machine
	for i, m := range edited {
		if errs[i] == nil {
			done = append(done, m)
		}
	}
	if a.JSON {
		return errors.Join(a.PrintJSON(term.NonNil(done)), joined(errs))
	}
	for _, m := range done {
		fmt.Fprintf(a.Stdout, "%s is changed\n", display(&m))
	}
	return joined(errs)
}
