package image

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/golden/verify"
	"github.com/gild-dev/gild/internal/wholefile"
)

func (a commands) exportCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "export IMAGE FILE",
		Short: "write the raw disk to a file, byte for byte (FILE may be -)",
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runExport(cmd.Context(), args[0], args[1], force)
		},
		ValidArgsFunction: complete.Stored(a.App),
	}
	flags.Overwrite(cmd, &force)
	return cmd
}

func (a commands) runExport(ctx context.Context, name, to string, force bool) error {
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	im, err := st.Image(name)
	if err != nil {
		return err
	}
	if to != "-" {
		if err := app.Unused(to, force); err != nil {
			return err
		}
	}
	bar := a.Bar("exporting "+name, im.Table.DiskSize)
	defer bar.Done()
	if to == "-" {
		return verify.Chunks(ctx, st, im, func(_ golden.Chunk, raw []byte) error {
			bar.Add(int64(len(raw)))
			_, err := a.Stdout.Write(raw)
			return err
		})
	}
	return wholefile.Write(to, 0o644, func(f *os.File) error {
		var off int64
		err := verify.Chunks(ctx, st, im, func(c golden.Chunk, raw []byte) error {
			bar.Add(int64(len(raw)))
			if !c.Zero { // the file stays sparse where the disk is empty
				if _, err := f.WriteAt(raw, off); err != nil {
					return err
				}
			}
			off += int64(len(raw))
			return nil
		})
		if err != nil {
			return err
		}
		return f.Truncate(im.Table.DiskSize)
	})
}
