package cli

import (
	"fmt"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/version"
)

// built is `gild version --json`.
type built struct {
	Version   string    `json:"version"`
	Committed time.Time `json:"committed,omitzero"` // its source
	Go        string    `json:"go"`
	Platform  string    `json:"platform"`
}

func versionCommand(a *app.App) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "show the version of this program",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b := built{version.String(), version.Time(), runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			if a.JSON {
				return a.PrintJSON(b)
			}
			text := "gild " + b.Version
			if !b.Committed.IsZero() {
				text += ", " + b.Committed.Format(time.DateOnly)
			}
			fmt.Fprintf(a.Stdout, "%s, %s, %s\n", text, b.Go, b.Platform)
			return nil
		},
	}
}
