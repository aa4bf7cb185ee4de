// Package state is the commands that back up, restore or check the state.
package state

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/etcd"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/server"
	"github.com/gild-dev/gild/internal/server/state/backup"
	"github.com/gild-dev/gild/internal/wholefile"
)

const long = `Back up, restore and check the server's state: machines, their history, the
fleet. Images are not included.

A backup contains secrets (identities, beacon tokens). It is written with mode
0600; keep it that way.`

// commands are run with what every command works with.
type commands struct{ *app.App }

// Command is `gild state`.
func Command(with *app.App) *cobra.Command {
	a := commands{with}
	cmd := &cobra.Command{Use: "state", Short: "back up, restore and check the server's state", Long: long, Args: cobra.NoArgs}
	cmd.AddCommand(a.backupCmd(), a.restoreCmd(), a.checkCmd())
	return cmd
}

func (a commands) backupCmd() *cobra.Command {
	var o etcd.Options
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "write the whole state to a file; the server may be running",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := app.Unused(args[0], force); err != nil {
				return err
			}
			if err := wholefile.Write(args[0], 0o600, func(f *os.File) error {
				out := bufio.NewWriterSize(f, 1<<20)
				return errors.Join(a.backup(cmd.Context(), &o, out), out.Flush())
			}); err != nil {
				return err
			}
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			// What was just written is read once more: an untried backup is none.
			n, _, err := backup.Check(f)
			if err != nil {
				return err
			}
			if a.JSON {
				return a.PrintJSON(backedUp{args[0], n})
			}
			fmt.Fprintf(a.Stdout, "%s: %d machines\n", args[0], n)
			return nil
		},
	}
	o.Register(cmd.Flags())
	flags.Overwrite(cmd, &force)
	return cmd
}

// backedUp and checked are what the commands print for scripts.
type (
	backedUp struct {
		File     string `json:"file"`
		Machines int    `json:"machines"`
	}
	checked struct {
		Machines int      `json:"machines"`
		Problems []string `json:"problems"`
	}
)

// backup writes a backup of the cluster or of the data directory.
func (a commands) backup(ctx context.Context, o *etcd.Options, w io.Writer) error {
	cluster, err := o.Cluster(a.EtcdPassword)
	if err != nil {
		return err
	}
	return server.State{DataDir: a.Data, Etcd: cluster, Prefix: o.Prefix}.Backup(ctx, w)
}

func (a commands) restoreCmd() *cobra.Command {
	var o etcd.Options
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "restore a backup into an empty data directory or etcd",
		Long: `Restore a backup into a data directory or an etcd that holds no state yet.

No machine is armed afterwards, whatever the backup says: what has happened since
it was taken is unknown, and no machine may be flashed by surprise.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			s, done, err := o.Store(cmd.Context(), a.EtcdPassword)
			if err != nil {
				return err
			}
			var r backup.Restored
			if s == nil {
				r, err = backup.RestoreDir(cmd.Context(), a.Data, o.Keys(), f)
			} else {
				defer done()
				r, err = backup.Restore(cmd.Context(), s, f)
			}
			if err != nil {
				return err
			}
			return a.printRestored(r)
		},
	}
	o.Register(cmd.Flags())
	return cmd
}

func (a commands) printRestored(r backup.Restored) error {
	if a.JSON {
		return a.PrintJSON(r)
	}
	fmt.Fprintf(a.Stdout, "restored %d machines as they were at %s\n", r.Machines, r.Taken.Format(time.RFC3339))
	if len(r.Disarmed) > 0 {
		fmt.Fprintf(a.Stdout, "disarmed %d that were armed at that time: %s\n", len(r.Disarmed), term.Printable(strings.Join(r.Disarmed, ", ")))
	}
	return nil
}

func (a commands) checkCmd() *cobra.Command {
	var o etcd.Options
	cmd := &cobra.Command{
		Use:   "check [FILE]",
		Short: "check the state, or a backup, for inconsistencies",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				return a.check(f)
			}
			r, w := io.Pipe()
			go func() { w.CloseWithError(a.backup(cmd.Context(), &o, w)) }()
			defer r.Close()
			return a.check(r)
		},
	}
	o.Register(cmd.Flags())
	return cmd
}

func (a commands) check(r io.Reader) error {
	n, problems, err := backup.Check(r)
	if err != nil {
		return err
	}
	if a.JSON {
		if err := a.PrintJSON(checked{n, term.NonNil(problems)}); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			fmt.Fprintln(a.Stdout, term.Printable(p))
		}
	}
	if len(problems) > 0 {
		return exit.Hint(fmt.Errorf("the state is inconsistent: %d problems found", len(problems)),
			"restore a backup, or report this with the output of gild state check")
	}
	if !a.JSON {
		fmt.Fprintf(a.Stdout, "%d machines, no problems\n", n)
	}
	return nil
}
