package machine

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/phrase"
	"github.com/gild-dev/gild/internal/cli/term"
)

func (a commands) addCmd() *cobra.Command {
	var s specFlags
	cmd := &cobra.Command{
		Use:   "add NAME --mac MAC",
		Short: "register a machine",
		Long: `Register a machine, whether or not it has been seen yet. Give at least one way to
recognise it: --mac, --uuid or --serial.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runAdd(cmd.Context(), args[0], &s) },
	}
	s.register(cmd, false)
	return cmd
}

func (a commands) runAdd(ctx context.Context, name string, s *specFlags) error {
	if !s.any([]string{"mac", "uuid", "serial"}) {
		return exit.Usage(exit.Hint(errors.New("no way to recognise the machine given"), "give --mac, --uuid or --serial"))
	}
	spec := api.Spec{Name: name}
	if err := s.apply(&spec); err != nil {
		return err
	}
	op, err := a.Operator()
	if err != nil {
		return err
	}
	m, err := op.Register(ctx, spec)
	if err != nil {
		return a.Reached(err)
	}
	if a.JSON {
		return a.PrintJSON(m)
	}
	fmt.Fprintf(a.Stdout, "%s is %s\n", phrase.Name(&m), term.Printable(m.State))
	return nil
}
