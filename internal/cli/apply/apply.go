// Package apply makes the fleet what files say.
package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/fleetfile"
	"github.com/gild-dev/gild/internal/cli/term"
)

// commands are run with what every command works with.
type commands struct{ *app.App }

const long = `Apply fleet files: machines, groups, identities, images.

The files are YAML and parsed strictly: unknown or repeated keys and wrong types
are errors, all reported at once with their lines. Either everything is changed
or nothing. Applying the same files again changes nothing. What the files do not
mention is kept; --prune removes it if an earlier apply had named it. A machine
that is armed is never removed.

  machines:
    - name: web-1
      macs: [52:54:00:12:34:56]     # or uuid, or serial
      labels: {rack: b7, role: web}
      values: {address: 10.0.7.11/24}
      flash: {disk: "transport=nvme,smallest"}
  groups:
    - name: web
      selector: role=web            # gild help selectors
      flash: {image: web, identity: node, confirm: {probe: "tcp:22"}}
  identities:
    node:                           # gild help identity
      network: [{addresses: ["{{ .Values.address }}"], gateway: 10.0.7.1}]
      authorizedKeys: {root: !file keys/ops.pub}
  images:
    web: sha256:...                 # refused when another one is stored

A value with the tag !file is replaced by the content of that file. Its path is
relative to the file that names it, and must be below the directory given with
-f, or below that of the file. With --files-from DIR the paths are relative to
DIR and must be below it, so secrets can be kept elsewhere. The difference lists
every file that was read.`

// Command is `gild apply`.
func Command(with *app.App) *cobra.Command {
	a := commands{with}
	var files []string
	var from string
	var dryRun, prune bool
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "apply fleet files: machines, groups, identities",
		Long:  long,
		Example: `  gild apply -f fleet.yaml --dry-run
  gild apply -f fleet/ --prune`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(files) == 0 {
				return exit.Usage(exit.Hint(errors.New("no file given"), "give files or directories with -f; -f - reads standard input"))
			}
			return a.run(cmd.Context(), files, from, dryRun, prune)
		},
	}
	cmd.Flags().StringArrayVarP(&files, "file", "f", nil, "`file`, directory of .yaml files, or - for standard input; may be repeated")
	cmd.Flags().StringVar(&from, "files-from", "",
		"`directory` that paths of !file are relative to and must be below (default: that of the file)")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would change; exit code 8 if anything would")
	cmd.Flags().BoolVar(&prune, "prune", false, "remove what earlier applies named and these files do not")
	return cmd
}

func (a commands) run(ctx context.Context, files []string, from string, dryRun, prune bool) error {
	fleet, err := fleetfile.Loader{FilesFrom: from}.Load(files, a.Stdin)
	if errors.Is(err, fs.ErrNotExist) {
		return exit.NotFound(err)
	}
	if err != nil {
		return exit.Input(err)
	}
	fleet.Prune = prune
	op, err := a.Operator()
	if err != nil {
		return err
	}
	diff, err := op.Fleet().Apply(ctx, fleet.Fleet, dryRun)
	if err != nil {
		return a.Reached(placed(fleet, err))
	}
	diff.Files = fleet.Files
	if a.JSON {
		err = a.PrintJSON(diff)
	} else {
		a.printDiff(diff)
	}
	for _, w := range diff.Warnings {
		fmt.Fprintf(a.Stderr, "warning: %s: %s\n", cmp.Or(fleet.At(w.Path), w.Path), term.Printable(w.Message))
	}
	if n := len(diff.Changes); err == nil && dryRun && n > 0 {
		return exit.Differs(fmt.Errorf("%d changes (dry run, nothing was changed)", n))
	}
	return err
}

// placed puts what the server found wrong into the words of the files: where
// it stands.
func placed(fleet *fleetfile.Fleet, err error) error {
	said, ok := errors.AsType[*operatorclient.ProblemError](err)
	if !ok || len(said.Errors) == 0 {
		return err
	}
	var errs []error
	for _, e := range said.Errors {
		path := strings.TrimPrefix(e.Location, "body.")
		line := path + ": " + e.Message
		if at := fleet.At(path); at != "" {
			line = at + ": " + line
		}
		errs = append(errs, errors.New(line))
	}
	return exit.Input(errors.Join(errs...))
}

// keptBy is why a prune leaves a thing.
var keptBy = map[string]string{"machine": "it is armed", "identity": "something that stays names it"}

// printDiff writes a line for each difference, marked as diff(1) marks them.
func (a commands) printDiff(diff api.FleetDiff) {
	marks := map[string]struct {
		mark  string
		style term.Style
	}{"add": {"+", term.Green}, "change": {"~", term.Yellow}, "remove": {"-", term.Red}, "keep": {"!", term.Yellow}}
	p := a.Palette(a.Stdout)
	for _, name := range diff.Files {
		fmt.Fprintf(a.Stdout, "< file %s\n", term.Printable(name))
	}
	for _, c := range diff.Changes {
		m := marks[c.Do]
		line := fmt.Sprintf("%s %s %s", m.mark, term.Printable(c.Kind), term.Printable(c.Name))
		switch c.Do {
		case "change":
			line += fmt.Sprintf(": %s %s -> %s", term.Printable(c.Field), shownOr(c.Old), shownOr(c.New))
		case "keep":
			line += ": kept, because " + keptBy[c.Kind]
		}
		fmt.Fprintln(a.Stdout, p.Paint(m.style, line))
	}
	switch n := len(diff.Changes); {
	case n == 0:
		fmt.Fprintln(a.Stdout, "no changes")
	case !diff.DryRun:
		fmt.Fprintf(a.Stderr, "%d changes applied\n", n)
	}
}

func shownOr(text string) string {
	if text == "" {
		return "(none)"
	}
	return term.Printable(text)
}
