package agent

import (
	"context"
	"fmt"

	"github.com/gild-dev/gild/internal/agent/boot"
	"github.com/gild-dev/gild/internal/agent/coldplug"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/order"
)

// steps is the boot: how the agent comes to its order, then what the order is
// made of.
func (a *Agent) steps() []boot.Step {
	if a.settings.Rescue {
		return []boot.Step{
			{Name: "drivers", What: "loading drivers", Run: a.loadDrivers},
			{Name: "network", What: "finding the network", Run: a.networkOnce},
			{Name: "rescue", What: "rescue shell", Run: a.rescue},
		}
	}
	asker := order.Asker{Job: a.job, Ticket: a.settings.Ticket}
	return append([]boot.Step{
		{Name: "drivers", What: "loading drivers", Run: a.loadDrivers},
		{Name: "network", What: "finding the network", Run: a.network},
		{Name: boot.PlanStep, What: "asking the server what to do", Run: asker.Ask},
	}, a.flashing()...)
}

// flashing is an order to flash, the only kind that [order.Asker] accepts. What
// fails once a plan is known goes back to the plan: the operator may have
// changed it meanwhile, and the same plan continues where it was. So does a
// step whose plan the server has revoked.
func (a *Agent) flashing() []boot.Step {
	return []boot.Step{
		{Name: "image", What: "fetching the image's description", Again: boot.PlanStep, Run: a.session.Permitted(a.job.PullImage)},
		{Name: "disk", What: "choosing the disk", Again: boot.PlanStep, Run: a.session.Permitted(a.job.ChooseDisk)},
		{Name: "flash", What: "writing the image", Again: boot.PlanStep, Run: a.session.Permitted(a.flash)},
		{Name: "grow", What: "fitting the disk", Run: a.session.Permitted(a.job.Grow)},
		{Name: "identity", What: "making it a machine of its own", Run: a.session.Permitted(a.job.Clone)},
		{Name: "handoff", What: "leaving to the new system", Run: a.session.Permitted(a.handoff)},
	}
}

// loadDrivers loads the drivers of the devices that are there, and of those
// that are plugged in later.
func (a *Agent) loadDrivers(ctx context.Context) (string, error) {
	modules, err := coldplug.New("/lib/modules/" + machine.Kernel())
	if err != nil {
		return "", err
	}
	modules.Sys, modules.Log = "/sys", a.log
	modules.Obey(a.line)
	a.job.Target.Modules = modules
	late, err := modules.Listen()
	if err != nil {
		a.log.Warn("drivers of late devices will not load", "error", err)
	} else {
		a.tasks.Go("uevents", func() {
			if err := late.Run(ctx); ctx.Err() == nil {
				a.log.Warn("drivers of late devices no longer load", "error", err)
			}
		})
	}
	a.tasks.Go("early modules", modules.LoadEarly)
	devices, err := modules.Coldplug(ctx)
	if err != nil {
		return "", err
	}
	// Some disks' driver hangs on a class that has no alias of its own.
	for _, name := range []string{"sd_mod", "nvme", "virtio_blk"} {
		if err := modules.Load(name); err != nil {
			a.log.Debug("module not loaded", "module", name, "error", err)
		}
	}
	return fmt.Sprintf("%d modules for %d devices", modules.Loaded(), devices), nil
}
