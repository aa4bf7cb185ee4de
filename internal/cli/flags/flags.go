// Package flags is the flags that several commands have.
package flags

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/term"
)

// Selector lets a command be told machines by their labels.
func Selector(cmd *cobra.Command, to *string) {
	cmd.Flags().VarP((*selector)(to), "selector", "l", "select machines by label: a `selector` such as rack=b7 (see gild help selectors)")
}

// selector is a selector that was given. An empty one is refused: it is a
// shell variable without a value more often than a wish for every machine.
type selector string

// Set takes the flag's text.
func (s *selector) Set(text string) error {
	if strings.TrimSpace(text) == "" {
		return errors.New("it is empty, which would select every machine")
	}
	*s = selector(text)
	return nil
}

// String is the text as it was given.
func (s *selector) String() string { return string(*s) }

// Type is what the flag takes.
func (s *selector) Type() string { return "selector" }

// List makes a command one that lists.
func List(cmd *cobra.Command, to *term.ListOptions) {
	cmd.Flags().BoolVarP(&to.Quiet, "quiet", "q", false, "print names only, as -o name does")
	cmd.Flags().StringVar(&to.Sort, "sort", "", "sort by a `column`, by its header; -column turns it round")
}

// Lists reports whether a command lists.
func Lists(cmd *cobra.Command) bool { return cmd.Flags().Lookup("sort") != nil }

// Overwrite lets a command replace the file that it writes.
func Overwrite(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "force", false, "overwrite FILE if it exists")
}

// Force lets a command cut off what is under way.
func Force(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "force", false, "even while the disk is being written; it will not boot until flashed again")
}
