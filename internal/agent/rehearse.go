package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
	"github.com/gild-dev/gild/internal/disk/blockdev"
)

// Rehearsal is a machine that is only played: the agent in an ordinary
// process, with a file for its disk.
type Rehearsal struct {
	Servers   string        // base URLs, as gild.server= has them
	Ticket    string        // gild.ticket=, empty for none
	Inventory api.Inventory // all but Disks; MAC must be set
	// Disk is the file that is the machine's only disk, and Drive what it
	// claims to be: Name, Serial, Model, Transport.
	Disk  string
	Drive api.Disk
	// Console gets what a serial line would; nil: nobody reads it.
	Console io.Writer
	// Became is called with the identity that the new system would have; nil:
	// not called.
	Became func(api.Identity)
	// Reported is called after each report, with how long it took and what came
	// of it. One that failed comes again until it does not. nil: not called.
	Reported func(r api.Report, took time.Duration, err error)
}

// ErrLocalDisk ends a rehearsal that the server sent to its local disk.
var ErrLocalDisk = errors.New("the machine restarts for its local disk")

// Rehearse plays one boot of a machine against a real server: the boot table
// from the plan to the receipt, by the steps, the engine and the report queue
// of a real boot. What only PID 1 can do is left out: drivers, network,
// growing, and leaving, which is said to be a reboot. The identity is fetched
// and not written. It returns nil when the server has the receipt,
// ErrLocalDisk, or why ctx ended.
func Rehearse(ctx context.Context, r Rehearsal) error {
	c, err := client.New(r.Servers)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	console := &screen.Console{}
	if r.Console != nil {
		console.Add(ctx, r.Console, false)
	}
	a := &Agent{
		runner:  runner{console: console, kmsg: &screen.Kmsg{}, queue: newQueue(), uptime: uptime, log: slog.New(slog.DiscardHandler)},
		console: console, settings: cmdline.Settings{Server: r.Servers, Ticket: r.Ticket}, client: c, conn: &netif.Conn{MAC: r.Inventory.MAC}, host: &stage{r, end}, session: rand.Text(),
	}
	a.introduce(r.Inventory, r.Servers)
	console.Plate.Link(r.Inventory.MAC)
	a.guard("report", func() {
		a.queue.deliver(ctx, func(ctx context.Context, plan string, events []api.Event) error {
			start := time.Now()
			err := a.send(ctx, r.Inventory.MAC, plan, events)
			if r.Reported != nil {
				r.Reported(api.Report{Session: a.session, MAC: r.Inventory.MAC, Plan: plan, Events: events}, time.Since(start), err)
			}
			return err
		})
	})
	played := slices.DeleteFunc(a.steps(), func(s step) bool {
		return !slices.Contains([]string{"plan", "image", "disk", "flash"}, s.name)
	})
	played = append(played, step{name: "identity", what: "making it a machine of its own", run: a.permitted(func(ctx context.Context) (string, error) {
		return a.rehearseIdentity(ctx, r.Became)
	})})
	a.walk(ctx, append(played, step{name: "handoff", what: "leaving to the new system", run: a.permitted(func(ctx context.Context) (string, error) {
		a.receipt(ctx, handoff.Reboot, nil)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if !a.queue.empty() {
			return "", errors.New("the server does not take the receipt")
		}
		end(errLeft)
		return "", errLeft
	})}))
	if cause := context.Cause(ctx); !errors.Is(cause, errLeft) {
		return cause
	}
	return nil
}

// rehearseIdentity does with the plan's identity all but write it.
func (a *Agent) rehearseIdentity(ctx context.Context, became func(api.Identity)) (string, error) {
	if a.plan.Identity == "" {
		return "none in the plan", nil
	}
	id, err := a.fetchIdentity(ctx)
	if err != nil {
		return "", err
	}
	a.result.identity = a.plan.Identity
	if became != nil {
		became(id)
	}
	return "this system would be " + id.Hostname, nil
}

var errLeft = errors.New("left to the new system")

// stage is the host of a rehearsal.
type stage struct {
	Rehearsal
	end context.CancelCauseFunc
}

func (s *stage) inventory(mac string) api.Inventory {
	inv := s.labels(mac)
	inv.Disks = s.disks()
	return inv
}

func (s *stage) labels(mac string) api.Inventory {
	inv := s.Inventory
	inv.MAC, inv.Disks = mac, nil
	return inv
}

func (s *stage) disks() []api.Disk {
	f, err := os.Open(s.Disk)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	d := s.Drive
	d.Size, d.SectorSize = info.Size(), 512
	d.Holds = blockdev.Signatures(f, d.Size)
	addContent(&d, f)
	return []api.Disk{d}
}

func (s *stage) open(string) (*blockdev.Device, error) {
	return blockdev.Open(s.Disk, blockdev.Options{AllowFile: true})
}

func (s *stage) identify(device *blockdev.Device) (api.Disk, error) {
	d := s.Drive
	d.Size, d.SectorSize = device.Size(), device.SectorSize()
	return d, nil
}

// setClock leaves the clock alone: it is that of whoever plays.
func (s *stage) setClock(time.Time) error { return errors.ErrUnsupported }

func (s *stage) restart() error {
	s.end(ErrLocalDisk)
	return ErrLocalDisk
}
