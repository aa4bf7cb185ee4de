package handoff

import (
	"context"

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/api"
)

// reboot starts the system through the firmware.
type reboot struct{}

// Name implements Way.
func (reboot) Name() string { return api.HandoffReboot }

// Prepare implements Way: a finished disk boots by itself.
func (reboot) Prepare(context.Context, Target) (Jump, error) {
	return func() (bool, error) { return true, machine.Reboot() }, nil
}
