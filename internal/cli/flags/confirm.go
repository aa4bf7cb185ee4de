package flags

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/settings"
)

// Confirm is --confirm and --within: how it is known that a new system runs.
type Confirm struct {
	probe  string
	within time.Duration
	given  func(flag string) bool
}

// Register gives a command the flags.
func (c *Confirm) Register(cmd *cobra.Command) {
	c.given = cmd.Flags().Changed
	cmd.Flags().StringVar(&c.probe, "confirm", "",
		"how to check that the new system is up, a `probe`: tcp:22 or ping (default: the beacon that the identity sets up)")
	cmd.Flags().DurationVar(&c.within, "within", 0, "how long to wait for the new system to report in (default 10m)")
}

// Over lays the flags over what is set already; nil: neither says anything.
func (c *Confirm) Over(now *settings.Confirm) (*settings.Confirm, error) {
	if !c.given("confirm") && !c.given("within") {
		return now, nil
	}
	var out settings.Confirm
	if now != nil {
		out = *now
	}
	if c.given("confirm") {
		out.Probe = c.probe
	}
	if c.given("within") {
		if c.within < 0 || c.within%time.Second != 0 {
			return nil, exit.Usage(fmt.Errorf("--within %s: give whole seconds", c.within))
		}
		out.Within = int(c.within / time.Second)
	}
	if out == (settings.Confirm{}) {
		return nil, nil
	}
	return &out, nil
}
