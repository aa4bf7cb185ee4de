package image

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/complete"
)

func (a commands) verifyCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "verify [IMAGE...]",
		Short: "check every byte of stored images against its hash (default: all images)",
		Long: `Check every byte of stored images against its hash, by default of all images.

With --server (or GILD_SERVER) that server reads its images, one at a time, and
says how far it is.`,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runVerify(cmd.Context(), args) },
		ValidArgsFunction: complete.Images(a.App, math.MaxInt),
	}
}

func (a commands) runVerify(ctx context.Context, names []string) error {
	c, err := open(a.App)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		if names, err = c.names(ctx); err != nil {
			return err
		}
	}
	verified := []verifiedImage{}
	var failed []error
	for _, name := range names {
		err := c.verify(ctx, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		v := verifiedImage{Name: name, OK: err == nil}
		if err != nil {
			v.Error = err.Error()
			failed = append(failed, fmt.Errorf("image %s: %w", name, err))
		} else if !a.JSON {
			fmt.Fprintf(a.Stdout, "%s: OK\n", name)
		}
		verified = append(verified, v)
	}
	if a.JSON {
		if err := a.PrintJSON(verified); err != nil {
			return err
		}
	}
	return errors.Join(failed...)
}

// verifiedImage is one image of `gild image verify --json`.
type verifiedImage struct {
	Name  string `json:"name"`
	OK    bool   `json:"ok"`
	Error string `json:"error,omitempty"`
}
