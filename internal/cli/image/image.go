// Package image is the commands of the image store.
package image

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/golden"
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
	cmd.AddCommand(a.addCmd(), a.checkCmd(), a.lsCmd(), a.showCmd(), a.verifyCmd(), a.renameCmd(), a.rmCmd(), a.exportCmd())
	return cmd
}

func (a commands) lsCmd() *cobra.Command {
	var o term.ListOptions
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "list the stored images",
		Long:  "List the images of the data directory, or with --server (or GILD_SERVER) those of that server.",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.runLs(cmd.Context(), o) },
	}
	flags.List(cmd, &o)
	return cmd
}

func (a commands) runLs(ctx context.Context, o term.ListOptions) error {
	c, err := open(a.App)
	if err != nil {
		return err
	}
	images, damaged, err := c.list(ctx)
	if err != nil {
		return err
	}
	return errors.Join(append(damaged, term.PrintList(&a.Console, imageList(images), o))...)
}

func imageList(images []api.Image) term.List[api.Image] {
	return term.List[api.Image]{Items: images, Columns: []term.Column[api.Image]{
		{Header: "NAME", Text: func(i *api.Image) string { return i.Name }},
		{Header: "DIGEST", Text: func(i *api.Image) string { return golden.Digest(i.Digest).Short() }},
		{
			Header: "RAW", Text: func(i *api.Image) string { return units.Bytes(i.Size) },
			Compare: func(a, b *api.Image) int { return cmp.Compare(a.Size, b.Size) },
		},
		{
			Header: "STORED", Text: func(i *api.Image) string { return units.Bytes(i.Stored) },
			Compare: func(a, b *api.Image) int { return cmp.Compare(a.Stored, b.Stored) },
		},
		{Header: "ARCH", Text: func(i *api.Image) string { return term.OrDash(i.Arch) }},
		{Header: "FIRMWARE", Wide: true, Text: func(i *api.Image) string { return term.OrDash(strings.Join(i.Firmware, ",")) }},
		{Header: "TABLE", Wide: true, Text: func(i *api.Image) string { return term.OrDash(i.Scheme) }},
		{Header: "HANDOFF", Wide: true, Text: func(i *api.Image) string { return term.OrDash(i.Handoff) }},
		{Header: "KERNEL", Text: func(i *api.Image) string { return term.OrDash(term.Printable(i.Release)) }},
	}}
}
