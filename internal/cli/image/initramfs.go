package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api/cluster"
	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/busybox"
	"github.com/gild-dev/gild/internal/cli/complete"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/server"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/units"
	"github.com/gild-dev/gild/internal/wholefile"
)

// InitramfsCommand is `gild initramfs`.
func InitramfsCommand(with *app.App) *cobra.Command {
	a := commands{with}
	var out, ca string
	var rescue bool
	cmd := &cobra.Command{
		Use:   "initramfs IMAGE -o FILE",
		Short: "write the initramfs that a machine boots for an image",
		Long: `Writes the initramfs that a machine boots for an image, as gild serve does.

Its agent speaks to servers that the CA has signed for, by TLS. Without a CA it
speaks plain HTTP to any server: it gets a plan, and no identity.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return a.runInitramfs(args[0], out, ca, rescue)
		},
		ValidArgsFunction: complete.Stored(a.App),
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "`file` to write (required)")
	cmd.Flags().StringVar(&ca, "ca", "",
		"`file` with the certificates of the servers' CA, or of several (default: ca.pem in the data directory, which gild serve writes)")
	cmd.Flags().BoolVar(&rescue, "rescue-shell", false, "include busybox and its applets")
	return cmd
}

// builtInitramfs is `gild initramfs --json`.
type builtInitramfs struct {
	File string `json:"file"`
	Size int64  `json:"size"` // bytes
	CA   bool   `json:"ca"`   // its agent speaks TLS
}

func (a commands) runInitramfs(ref, out, ca string, rescue bool) error {
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
	files := &bootspec.Files{Store: st}
	if files.CA, err = bootCA(ca, a.Data); err != nil {
		return err
	}
	if rescue {
		if files.Busybox, err = busybox.Find(); err != nil {
			return err
		}
	}
	err = wholefile.Write(out, 0o644, func(f *os.File) error { return files.WriteInitramfs(f, im.Digest) })
	if err != nil {
		return err
	}
	info, err := os.Stat(out)
	if err != nil {
		return err
	}
	if a.JSON {
		return a.PrintJSON(builtInitramfs{out, info.Size(), len(files.CA) > 0})
	}
	if len(files.CA) == 0 {
		fmt.Fprintln(a.Stderr, "no CA: this agent speaks plain HTTP and gets no identity; start gild serve once, or give --ca")
	}
	fmt.Fprintf(a.Stdout, "%s: %s\n", out, units.Bytes(info.Size()))
	return nil
}

// bootCA reads the certificate of the servers' CA. That there is none yet is no
// error, unless a file was named.
func bootCA(file, dataDir string) ([]byte, error) {
	named := file != ""
	if !named {
		file = server.FileCA(dataDir)
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the CA of the servers: %w", err)
	}
	if _, err := cluster.Trusting("https://127.0.0.1", text); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return text, nil
}
