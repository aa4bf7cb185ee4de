package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gild-dev/gild/internal/agent/backoff"
	"github.com/gild-dev/gild/internal/agent/boot"
	"github.com/gild-dev/gild/internal/agent/coldplug"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/api/client"
)

// steps is the boot. What fails once a plan is known goes back to the plan:
// the operator may have changed it meanwhile, and the same plan goes on where
// it was. So does what the server has taken the plan back from.
func (a *Agent) steps() []boot.Step {
	if a.settings.Rescue {
		return []boot.Step{
			{Name: "drivers", What: "loading drivers", Run: a.loadDrivers},
			{Name: "network", What: "finding the network", Run: a.networkOnce},
			{Name: "rescue", What: "rescue shell", Run: a.rescue},
		}
	}
	return []boot.Step{
		{Name: "drivers", What: "loading drivers", Run: a.loadDrivers},
		{Name: "network", What: "finding the network", Run: a.network},
		{Name: "plan", What: "asking the server what to do", Run: a.askPlan},
		{Name: "image", What: "fetching the image's description", Again: boot.PlanStep, Run: a.session.Permitted(a.pullImage)},
		{Name: "disk", What: "choosing the disk", Again: boot.PlanStep, Run: a.session.Permitted(a.chooseDisk)},
		{Name: "flash", What: "writing the image", Again: boot.PlanStep, Run: a.session.Permitted(a.flash)},
		{Name: "grow", What: "fitting the disk", Run: a.session.Permitted(a.grow)},
		{Name: "identity", What: "making it a machine of its own", Run: a.session.Permitted(a.clone)},
		{Name: "handoff", What: "leaving to the new system", Run: a.session.Permitted(a.handoff)},
	}
}

// loadDrivers loads the drivers of what is there and goes on to do so for
// what comes.
func (a *Agent) loadDrivers(ctx context.Context) (string, error) {
	modules, err := coldplug.New("/lib/modules/" + machine.Kernel())
	if err != nil {
		return "", err
	}
	modules.Sys, modules.Log = "/sys", a.log
	modules.Obey(a.line)
	a.modules = modules
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

var errNoServer = errors.New("no server is named on the kernel command line: gild.server=http://host:port is missing")

// network finds the link that leads to the server, and begins to report.
func (a *Agent) network(ctx context.Context) (string, error) {
	if a.settings.Server == "" {
		return "", errNoServer
	}
	if a.session.Client == nil {
		c, err := client.New(a.settings.Server)
		if err != nil {
			return "", fmt.Errorf("gild.server on the kernel command line: %w", err)
		}
		a.session.Client = c
	}
	return a.connect(ctx, netif.Config{Reach: a.session.Client.Ping})
}

// connect brings a link up and begins to report over it.
func (a *Agent) connect(ctx context.Context, cfg netif.Config) (string, error) {
	cfg.ResolvConf, cfg.Log = "/etc/resolv.conf", a.log
	conn, err := netif.Up(ctx, cfg)
	if err != nil {
		return "", err
	}
	a.conn, a.session.MAC = conn, conn.MAC
	said := fmt.Sprintf("%s (%s) has %v", conn.Link, conn.MAC, conn.Lease)
	a.report.Console.Plate.Link(conn.MAC)
	a.lease = a.tasks.Serve(ctx, "lease", conn.Keep)
	if a.session.Client != nil {
		a.startReports(ctx)
	}
	return said, nil
}

// startReports begins to deliver the queue's events, until the end of ctx, which
// must outlast all steps.
func (a *Agent) startReports(ctx context.Context) {
	a.reports = a.tasks.Serve(ctx, "report", a.session.Deliver)
}

// rescuePatience is how long a rescue shell waits for the network.
const rescuePatience = 20 * time.Second

// networkOnce is the network of the rescue mode. Any lease will do, as the
// server may be what is broken, and a shell without a network is better than
// none: the search then goes on beside it.
func (a *Agent) networkOnce(ctx context.Context) (string, error) {
	if c, err := client.New(a.settings.Server); err == nil {
		a.session.Client = c
	}
	said, err := a.connect(ctx, netif.Config{Patience: rescuePatience})
	if err == nil {
		return said, nil
	}
	a.tasks.Go("network", func() {
		for ctx.Err() == nil {
			if said, err := a.connect(ctx, netif.Config{}); err == nil {
				a.report.Note("network", "%s", said)
				return
			}
			_ = backoff.Sleep(ctx, 10*time.Second)
		}
	})
	return "not yet: " + err.Error(), nil
}
