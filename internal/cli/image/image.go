// Package image is the commands of the image store.
package image

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/server"
	"github.com/gild-dev/gild/internal/units"
)

// commands are run with what every command works with.
type commands struct{ *app.App }

// Command is `gild image`.
func Command(with *app.App) *cobra.Command {
	a := commands{with}
	cmd := &cobra.Command{
		Use:   "image",
		Short: "store and inspect golden images",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.addCmd(), a.lsCmd(), a.showCmd(), a.verifyCmd(), a.rmCmd(), a.exportCmd())
	return cmd
}

func (a commands) lsCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "list the stored images",
		Args:  cobra.NoArgs,
		RunE:  func(*cobra.Command, []string) error { return a.runLs() },
	}
}

func (a commands) runLs() error {
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	named, err := st.List()
	if err != nil {
		return err
	}
	images := []api.Image{}
	var rows [][]string
	var damaged []error
	for _, n := range named {
		im, err := st.Image(n.Name)
		if err != nil {
			damaged = append(damaged, fmt.Errorf("image %s: %w", n.Name, err))
			continue
		}
		s := server.Summary(n.Name, im)
		images = append(images, s)
		rows = append(rows, []string{s.Name, im.Digest.Short(), units.Bytes(s.Size), units.Bytes(s.Stored), term.OrDash(s.Arch), term.OrDash(term.Printable(s.Release))})
	}
	if a.JSON {
		err = a.PrintJSON(images)
	} else {
		a.PrintTable("NAME | DIGEST | RAW | STORED | ARCH | KERNEL", rows)
	}
	return errors.Join(append(damaged, err)...)
}
