package machine

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
)

// specFlags change what the operator says of a machine. Only flags that were
// given change anything; an empty text takes a setting back.
type specFlags struct {
	name, uuid, serial string
	macs, sharedMACs   []string
	labels, values     []string
	settings           flags.Settings
	power              powerFlags
	given              func(flag string) bool
	forOne, forAny     []string // names of flags
}

func (s *specFlags) register(cmd *cobra.Command, naming bool) {
	f := cmd.Flags()
	s.given = f.Changed
	if naming {
		f.StringVar(&s.name, "name", "", "`name` of the machine: letters, digits, hyphens, dots")
	}
	f.StringSliceVar(&s.macs, "mac", nil, "MAC `address` of a network interface; may be repeated")
	f.StringSliceVar(&s.sharedMACs, "shared-mac", nil, "MAC `address` of an adapter that several machines use; it identifies none of them")
	f.StringVar(&s.uuid, "uuid", "", "SMBIOS `UUID`")
	f.StringVar(&s.serial, "serial", "", "SMBIOS serial `number`")
	f.StringArrayVar(&s.labels, "label", nil, "set a label, `KEY=VALUE`, or remove one, KEY-; may be repeated")
	f.StringArrayVar(&s.values, "value", nil, "set a value for identity templates, `KEY=VALUE`, or remove one, KEY-; may be repeated")
	s.settings.Register(cmd, false)
	s.power.register(cmd)
	s.forOne = []string{"name", "mac", "shared-mac", "uuid", "serial"}
	s.forAny = slices.Concat([]string{"label", "value"}, s.settings.Names(), powerNames)
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
	if s.given("mac") {
		spec.MACs = withoutEmpty(s.macs)
	}
	if s.given("shared-mac") {
		spec.SharedMACs = withoutEmpty(s.sharedMACs)
	}
	if err := s.settings.Over(&spec.Flash); err != nil {
		return err
	}
	if err := s.power.over(&spec.Power, s.given); err != nil {
		return err
	}
	for _, p := range []struct {
		flag    string
		to      *map[string]string
		changes []string
	}{{"label", &spec.Labels, s.labels}, {"value", &spec.Values, s.values}} {
		changed, err := specs.Pairs(*p.to, p.changes)
		if err != nil {
			return exit.Usage(fmt.Errorf("--%s %w", p.flag, err))
		}
		*p.to = changed
	}
	return nil
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
