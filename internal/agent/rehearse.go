package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/agent/boot"
	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/agentclient"
)

// Rehearsal is a machine that is only played: the agent in an ordinary
// process, with a file for its disk.
type Rehearsal struct {
	Servers   string        // base URLs, as gild.server= has them
	Ticket    string        // gild.ticket=, empty for none
	CA        []byte        // of the servers, in PEM, as the initramfs has it; empty: plain HTTP
	Inventory api.Inventory // all but Disks; MAC must be set
	// Disk is the file that is the machine's only disk, and Drive what it
	// claims to be: Name, Serial, Model, Transport.
	Disk  string
	Drive api.Disk
	// Console gets what a serial line would; nil: nobody reads it.
	Console io.Writer
	// ResolvConf has the network step taken too, in the network namespace of the
	// process: every wired link gets a lease, and this file its name servers.
	// Reported is not called then. Empty: the network is there.
	ResolvConf string
	// Became is called with the identity that the new system would have; nil:
	// not called.
	Became func(api.Identity)
	// Reported is called after each report, with how long it took and what came
	// of it. One that failed comes again until it does not. nil: not called.
	Reported func(r api.Report, took time.Duration, err error)
}

// ErrLocalDisk ends a rehearsal that the server sent to its local disk.
var ErrLocalDisk = machine.ErrLocalDisk

// Rehearse plays one boot of a machine against a real server: the boot table
// from the plan to the receipt, by the steps, the engine and the report queue
// of a real boot. What only PID 1 can do is left out: drivers, network,
// growing, and leaving, which is said to be a reboot. The identity is fetched
// and not written. It returns nil when the server has the receipt,
// ErrLocalDisk, or why ctx ended.
func Rehearse(ctx context.Context, r Rehearsal) error {
	c, err := agentclient.Trusting(r.Servers, r.CA)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	console := &screen.Console{}
	if r.Console != nil {
		console.Add(ctx, r.Console, false)
	}
	played := &machine.Played{Is: r.Inventory, File: r.Disk, Drive: r.Drive, Restarted: end}
	a := newAgent(rand.Text(), played, console, &screen.Kmsg{}, slog.New(slog.DiscardHandler))
	a.settings = cmdline.Settings{Server: r.Servers, Ticket: r.Ticket}
	a.session.Client, a.session.MAC = c, r.Inventory.MAC
	a.introduce(r.Inventory, r.Servers)
	console.Plate.Link(r.Inventory.MAC)
	taken := []string{boot.PlanStep, "image", "disk", "flash"}
	if r.ResolvConf != "" {
		a.ca, a.resolvConf = r.CA, r.ResolvConf
		taken = append(taken, "network")
	} else {
		a.rehearseReports(ctx, r)
	}
	steps := slices.DeleteFunc(a.steps(), func(s boot.Step) bool { return !slices.Contains(taken, s.Name) })
	identity := a.session.Permitted(func(ctx context.Context) (string, error) { return a.rehearseIdentity(ctx, r.Became) })
	leave := a.session.Permitted(func(ctx context.Context) (string, error) {
		a.job.Receipt(ctx, api.HandoffReboot, nil)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if !a.session.Queue.Empty() {
			return "", errors.New("the server does not take the receipt")
		}
		end(errLeft)
		return "", errLeft
	})
	a.runner.Walk(ctx, append(
		steps,
		boot.Step{Name: "identity", What: "making it a machine of its own", Run: identity},
		boot.Step{Name: "handoff", What: "leaving to the new system", Run: leave},
	))
	if cause := context.Cause(ctx); !errors.Is(cause, errLeft) {
		return cause
	}
	return nil
}

// rehearseReports delivers what is reported, and says so.
func (a *Agent) rehearseReports(ctx context.Context, r Rehearsal) {
	a.tasks.Go("report", func() {
		a.session.Queue.Deliver(ctx, func(ctx context.Context, plan string, events []api.Event) error {
			start := time.Now()
			err := a.session.Send(ctx, plan, events)
			if r.Reported != nil {
				r.Reported(api.Report{Session: a.session.ID, MAC: r.Inventory.MAC, Plan: plan, Events: events}, time.Since(start), err)
			}
			return err
		})
	})
}

// rehearseIdentity does with the plan's identity all but write it.
func (a *Agent) rehearseIdentity(ctx context.Context, became func(api.Identity)) (string, error) {
	if a.job.Target.Plan.Identity == "" {
		return "none in the plan", nil
	}
	id, err := a.job.FetchIdentity(ctx)
	if err != nil {
		return "", err
	}
	a.job.Result.Identity = a.job.Target.Plan.Identity
	if became != nil {
		became(id)
	}
	return "this system would be " + id.Hostname, nil
}

var errLeft = errors.New("left to the new system")
