// Package cli is the front door: it puts the commands together.
//
// It is the only reader of the environment and of configuration, and the only
// place that turns errors into words for a person.
package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/apply"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/definition"
	"github.com/gild-dev/gild/internal/cli/doctor"
	"github.com/gild-dev/gild/internal/cli/etcd"
	"github.com/gild-dev/gild/internal/cli/events"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/flash"
	"github.com/gild-dev/gild/internal/cli/image"
	"github.com/gild-dev/gild/internal/cli/kernel"
	"github.com/gild-dev/gild/internal/cli/login"
	"github.com/gild-dev/gild/internal/cli/logins"
	"github.com/gild-dev/gild/internal/cli/machine"
	"github.com/gild-dev/gild/internal/cli/power"
	"github.com/gild-dev/gild/internal/cli/serve"
	"github.com/gild-dev/gild/internal/cli/state"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/cli/token"
	"github.com/gild-dev/gild/internal/cli/watch"
	"github.com/gild-dev/gild/internal/cli/write"
	"github.com/gild-dev/gild/internal/server/confine"
	"github.com/gild-dev/gild/internal/version"
)

// Host gives the surroundings of this process.
func Host() app.Surroundings {
	return app.Surroundings{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Confine: confine.Process, Ready: tellSystemd,
	}
}

// Main runs one command line and returns its exit code.
func Main(ctx context.Context, args []string, s app.Surroundings) int {
	// The first signal asks every command to stop and clean up, the second
	// one ends the process as usual.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, unix.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	a := fill(s)
	root := root(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if left := leaveToOwner(a.Data); left != nil {
		err = errors.Join(err, left)
	}
	if err == nil {
		return exit.CodeOK
	}
	code := exit.Code(ctx, err)
	explain(a, err, code)
	return code
}

// fill takes what the environment says.
func fill(s app.Surroundings) *app.App {
	return &app.App{
		Console: term.Console{
			Stdin: s.Stdin, Stdout: s.Stdout, Stderr: s.Stderr,
			Mono:  s.Getenv("NO_COLOR") != "" || s.Getenv("TERM") == "dumb",
			Pager: pager(s.Getenv),
		},
		Server: app.Server{
			URL:   s.Getenv("GILD_SERVER"),
			Token: app.Token{DefaultFile: s.Getenv("GILD_TOKEN_FILE"), Default: s.Getenv("GILD_TOKEN")},
		},
		Data:         defaultData(s.Getenv),
		DataNamed:    s.Getenv("GILD_DATA") != "",
		Logins:       logins.Path(s.Getenv),
		EtcdPassword: s.Getenv(etcd.PasswordVariable),
		Confine:      s.Confine,
		Ready:        s.Ready,
	}
}

// pager is the one that the user wants. less passes colours on and leaves the
// text on the screen, unless the user has told it what to do.
func pager(getenv func(string) string) term.Pager {
	p := term.Pager{Command: cmp.Or(getenv("GILD_PAGER"), getenv("PAGER"))}
	if getenv("LESS") == "" {
		p.Env = []string{"LESS=FRX"}
	}
	return p
}

// tellSystemd says to the service manager that the server serves, if there is
// one that waits for it: sd_notify(3).
func tellSystemd() error {
	_, err := daemon.SdNotify(false, daemon.SdNotifyReady)
	return err
}

const rootLong = `gild writes golden disk images to bare machines over the network and starts the
new system without a reboot.

  gild image add debian-12 golden.qcow2     store a golden image
  gild serve --interface eth1               answer network boots
  gild flash 52:54:00:12:34:56 --image debian-12
                                            arm a machine for one flash
  gild write debian-12 /dev/sdx             the same engine on a local disk

Exit codes: 0 success; 1 failure; 2 usage error; 3 invalid input; 4 no such
image, machine or file; 5 refused for safety; 6 server unreachable; 7 not
authorised, or a server whose certificate is not trusted; 8 a dry run of gild
apply that would change something; 130 interrupted. For several machines the
exit code is that of one of the failures.`

func root(a *app.App) *cobra.Command {
	root := &cobra.Command{
		Use:           "gild",
		Short:         "write golden disk images to bare machines and start them without a reboot",
		Long:          rootLong,
		Version:       version.String(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.Stdin)
	root.SetOut(a.Stdout)
	root.SetErr(a.Stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return exit.Usage(fmt.Errorf("%w (see `%s --help`)", err, cmd.CommandPath()))
	})
	persistent := root.PersistentFlags()
	persistent.StringVar(&a.Data, "data", a.Data, "data `directory` (GILD_DATA)")
	persistent.StringVar(&a.URL, "server", a.URL, "operator API of a running server, a `URL` (GILD_SERVER; "+
		"default: that of gild login, else the socket in --data, else http://"+app.DefaultOperator+")")
	persistent.StringVar(&a.Token.File, "token-file", "",
		"`file` with the admin token of a server elsewhere (GILD_TOKEN_FILE, or GILD_TOKEN itself)")
	persistent.StringVar(&a.CA, "ca", "", "`file` with CA certificates to verify the server with")
	persistent.BoolVar(&a.JSON, "json", false, "print JSON, as -o json does")
	persistent.VarP(a.OutputFlag(), "output", "o", "`form` of what is printed: json or yaml; of lists also wide or name")
	persistent.BoolFunc("no-pager", "do not show long output with GILD_PAGER or PAGER", func(string) error {
		a.Pager = term.Pager{}
		return nil
	})
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(term.Outputs, cobra.ShellCompDirectiveNoFileComp))
	settings := func(path string, flags *pflag.FlagSet) (string, error) { return readConfig(a.Data, path, flags) }
	root.AddCommand(
		image.Command(a), image.InitramfsCommand(a), kernel.Command(a), write.Command(a),
		serve.Command(a, settings), serve.ServersCommand(a), doctor.Command(a, settings), state.Command(a), token.Command(a),
		machine.Command(a), apply.Command(a), definition.GroupCommand(a), definition.IdentityCommand(a, identityHelp),
		flash.Command(a), flash.CancelCommand(a), power.Command(a), watch.Command(a), events.Command(a),
		login.Command(a), login.LogoutCommand(a), login.ContextCommand(a), manCommand(), versionCommand(a),
	)
	root.AddCommand(topics()...)
	for _, c := range allCommands(root) {
		complete.Flags(a, c)
		c.Aliases = append(c.Aliases, aliases[c.Name()]...)
		c.SuggestionsMinimumDistance = 2
		c.PreRunE = prepare(a, c)
		switch {
		case c.HasSubCommands():
			c.Args = noSuchCommand
		case c.Args != nil:
			c.Args = asUsage(c.Args)
		}
	}
	return root
}

func allCommands(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		all = append(all, allCommands(sub)...)
	}
	return all
}

// aliases are the words that other tools have for the same.
var aliases = map[string][]string{
	"ls": {"list"}, "rm": {"delete", "remove"}, "image": {"images"}, "group": {"groups"}, "identity": {"identities"},
	"machine": {"machines"}, "token": {"tokens"},
}

// prepare refuses a form that only lists have, and finds the server that the
// user works with.
func prepare(a *app.App, c *cobra.Command) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error {
		if a.Output.OfLists() && !flags.Lists(c) {
			return exit.Usage(fmt.Errorf("-o %s is for lists; `%s` prints none", a.Output, c.CommandPath()))
		}
		if asks(c) {
			return a.Current(c.Flags().Changed("data"))
		}
		return nil
	}
}

// askers are the commands that talk to a server, by the first word.
var askers = []string{
	"machine", "apply", "group", "identity", "flash", "cancel", "power", "watch", "events", "image", "servers",
}

// asks reports whether a command talks to a server.
func asks(c *cobra.Command) bool {
	for c.HasParent() && c.Parent().HasParent() {
		c = c.Parent()
	}
	return slices.Contains(askers, c.Name())
}

// asUsage says in gild's own words what an argument check finds, and marks it
// as wrong use.
func asUsage(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return exit.Usage(fmt.Errorf("wrong number of arguments, %d: want `%s` (see `%s --help`)", len(args), cmd.UseLine(), cmd.CommandPath()))
		}
		return nil
	}
}

// noSuchCommand refuses what is no command below this one, and says which may
// be meant.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for `%s` (see `%s --help`)", args[0], cmd.CommandPath(), cmd.CommandPath())
	if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
		return exit.Usage(exit.Hint(err, "did you mean `"+cmd.CommandPath()+" "+strings.Join(meant, "` or `"+cmd.CommandPath()+" ")+"`?"))
	}
	return exit.Usage(err)
}

// defaultData is where images and state live unless the operator says
// otherwise: the system's place for root, the user's own for anybody else.
func defaultData(getenv func(string) string) string {
	if dir := getenv("GILD_DATA"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return systemData
	}
	if dir := getenv("XDG_DATA_HOME"); dir != "" {
		return filepath.Join(dir, "gild")
	}
	return filepath.Join(getenv("HOME"), ".local", "share", "gild")
}

// explain tells a person what went wrong. Errors may quote what an image or a
// server holds.
func explain(a *app.App, err error, code int) {
	hint := exit.HintOf(err)
	switch {
	case code == exit.CodeInterrupted && hint != "":
		fmt.Fprintln(a.Stderr, "gild: interrupted")
	case code == exit.CodeInterrupted:
		fmt.Fprintln(a.Stderr, "gild: interrupted; nothing incomplete was left behind")
	default:
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(a.Stderr, "gild: %s\n", term.Printable(strings.TrimSuffix(line, "\n")))
		}
	}
	if hint != "" {
		fmt.Fprintf(a.Stderr, "hint: %s\n", term.Printable(hint))
	}
}
