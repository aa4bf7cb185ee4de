package flags

import (
	"slices"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/settings"
)

// Settings are the flags of a flash's settings.
type Settings struct {
	said    settings.Settings
	confirm Confirm
	given   func(flag string) bool
}

// Register gives a command a flag for each. With unset their help tells what
// holds where they are not given.
func (x *Settings) Register(cmd *cobra.Command, unset bool) {
	flags := cmd.Flags()
	x.given = flags.Changed
	for i := range settings.Fields {
		f := &settings.Fields[i]
		usage := f.Usage()
		if unset && f.Unset != "" {
			usage += " (default: " + f.Unset + ")"
		}
		switch to := f.In(&x.said).(type) {
		case *string:
			flags.StringVar(to, f.Flag, "", usage)
		case *bool:
			flags.BoolVar(to, f.Flag, false, usage)
		case *[]string:
			flags.StringSliceVar(to, f.Flag, nil, usage)
		}
	}
	x.confirm.Register(cmd)
}

// Names are the flags that Register gives a command.
func (x *Settings) Names() []string {
	names := []string{"within"}
	for _, f := range settings.Fields {
		names = append(names, f.Flag)
	}
	return names
}

// Over lays the flags that were given over what is set already. An empty text
// takes a setting back.
func (x *Settings) Over(now *settings.Settings) error {
	confirm, err := x.confirm.Over(now.Confirm)
	if err != nil {
		return err
	}
	for i := range settings.Fields {
		f := &settings.Fields[i]
		if !x.given(f.Flag) || f.Kind == settings.Other {
			continue
		}
		f.Copy(now, &x.said)
		if list, ok := f.In(now).(*[]string); ok {
			*list = slices.DeleteFunc(slices.Clone(*list), func(s string) bool { return s == "" })
		}
	}
	now.Confirm = confirm
	return nil
}
