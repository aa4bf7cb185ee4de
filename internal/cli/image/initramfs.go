package image

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/busybox"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/server"
)

// InitramfsCommand is `gild initramfs`.
func InitramfsCommand(with *app.App) *cobra.Command {
	a := commands{with}
	var out string
	var rescue bool
	cmd := &cobra.Command{
		Use:   "initramfs IMAGE -o FILE",
		Short: "write the initramfs that a machine boots for an image",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.runInitramfs(args[0], out, rescue)
		},
		ValidArgsFunction: complete.Stored(a.App),
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "`file` to write (required)")
	cmd.Flags().BoolVar(&rescue, "rescue-shell", false, "include busybox and its applets")
	return cmd
}

// builtInitramfs is `gild initramfs --json`.
type builtInitramfs struct {
	File string `json:"file"`
	Size int64  `json:"size"` // bytes
}

func (a commands) runInitramfs(ref, out string, rescue bool) error {
	if out == "" {
		return exit.Usage(errors.New("no output file: give one with -o FILE"))
	}
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	im, err := st.Image(ref)
	if err != nil {
		return err
	}
	builder := server.InitramfsBuilder{Store: st}
	if rescue {
		if builder.Busybox, err = busybox.Find(); err != nil {
			return err
		}
	}
	err = app.WriteFile(out, 0o644, func(f *os.File) error { return builder.Build(f, im) })
	if err != nil {
		return err
	}
	info, err := os.Stat(out)
	if err != nil {
		return err
	}
	if a.JSON {
		return a.PrintJSON(builtInitramfs{out, info.Size()})
	}
	fmt.Fprintf(a.Stdout, "%s: %s\n", out, term.Bytes(info.Size()))
	return nil
}
