package instant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/background"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/agent/order"
	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/agentclient"
	"github.com/gild-dev/gild/internal/disk/blockdev"
	"github.com/gild-dev/gild/internal/disk/devmapper"
	"github.com/gild-dev/gild/internal/disk/nbd"
	"github.com/gild-dev/gild/internal/flash"
	"github.com/gild-dev/gild/internal/flash/supply"
	"github.com/gild-dev/gild/internal/golden"
)

// KeeperName is the keeper's argv[0]. systemd does not kill what begins like
// that (https://systemd.io/ROOT_STORAGE_DAEMONS).
const KeeperName = "@gild-keeper"

// keeper serves the disk to the system that runs from it, and completes it.
type keeper struct {
	job   *order.Job
	tasks background.Tasks
	log   *slog.Logger
	pid1  pidOne
	brief brief

	dm      *devmapper.Control
	device  *blockdev.Device
	network *nbd.Device
	parts   []livePartition
	parting parting
	stalls  stallLog
	reports background.Service

	flown chan outcome // gets how the flight has ended
	land  context.CancelFunc
}

const (
	// keeperMemory is what the collector keeps the keeper's heap under, in
	// bytes; with the program it stays below 64 MiB.
	keeperMemory = 40 << 20
	// keeperPatience is how long the last report may take. Nobody waits for
	// it, and without it the server would have the machine flashed again.
	keeperPatience = time.Hour
	// keeperStall is how long a connection may give no byte: the new system
	// may have taken the link down and given it another address, which leaves
	// connections that nobody answers.
	keeperStall = 3 * time.Second
)

// Keep is the program of the keeper. It returns when the disk is complete, or
// with why it is not.
func Keep() error {
	debug.SetMemoryLimit(keeperMemory)
	debug.SetGCPercent(50)
	// Only systemd's last kill spares the keeper for its name.
	signal.Ignore(unix.SIGTERM, unix.SIGHUP, unix.SIGINT, unix.SIGPIPE)
	stay()
	one, b, err := meetPidOne(os.Stdin, os.Stdout)
	if err != nil {
		return err
	}
	k := newKeeper(one, b)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = k.run(ctx)
	if err != nil {
		// To PID 1 if it still listens, to the server otherwise.
		k.reports.Stop()
		rest := k.job.Session.Queue.Take()
		_ = k.pid1.reply(reply{Error: err.Error(), Queue: &rest})
		k.log.Error("the disk is not complete", "error", err)
	}
	return err
}

// newKeeper is a keeper that continues PID 1's session and reports. It shows
// nothing: the consoles are the system's own by now.
func newKeeper(one pidOne, b brief) *keeper {
	kmsg := screen.OpenKmsg()
	log := kmsg.Logger(slog.LevelInfo)
	session := &report.Session{ID: b.Session, MAC: b.MAC, Queue: report.NewQueue()}
	session.Queue.Resume(b.Queue)
	reporter := &report.Reporter{Console: &screen.Console{}, Kmsg: kmsg, Queue: session.Queue, Uptime: machine.Uptime}
	job := order.New(machine.Here, reporter, session, log)
	job.Target.Plan, job.Target.Disk = b.Plan, b.Disk
	return &keeper{job: job, tasks: background.Tasks{Log: log}, log: log, stalls: stallLog{log: log}, pid1: one, brief: b}
}

// stay keeps the keeper in memory, come what may: the system's swap and its
// memory's last resort may both be on the disk that is served here.
func stay() {
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0)
	// Pages of Go's reserve that were never touched are not to be made.
	if unix.Mlockall(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT) != nil {
		_ = unix.Mlockall(unix.MCL_CURRENT) // before Linux 4.4
	}
}

// run is the life of the keeper.
func (k *keeper) run(ctx context.Context) error {
	c, err := agentclient.Trusting(k.brief.Servers, k.brief.CA)
	if err != nil {
		return err
	}
	k.job.Session.Client = c
	if err := k.takeImage(os.NewFile(tableFD, "chunks")); err != nil {
		return err
	}
	k.job.Session.Permit.Grant(k.job.Target.Plan.ID)
	k.job.Session.Queue.Under(k.job.Target.Plan.ID)
	k.reports = k.tasks.Serve(ctx, "report", k.job.Session.Deliver)
	step, end := k.job.Session.Permit.Begin(ctx)
	step, hangUp := context.WithCancelCause(step)
	start := time.Now()
	k.job.Begin(start)
	type goodbye struct {
		left bool
		err  error
	}
	said := make(chan goodbye, 1)
	k.tasks.Go("PID 1", func() {
		left, err := k.listen()
		hangUp(errors.New("PID 1 waits no longer"))
		said <- goodbye{left, err}
	})
	left := false
	if err = k.takeOff(ctx, step); err == nil {
		last := <-said
		left, err = last.left, last.err
	}
	if lost := end(); lost != nil && !left {
		err = lost
	}
	if err != nil || !left {
		k.job.Session.Queue.Flush(ctx, time.Second)
		return errors.Join(err, k.giveUp())
	}
	return k.complete(ctx, start)
}

// takeImage takes over the image that PID 1 has fetched and checked.
func (k *keeper) takeImage(chunks io.ReadCloser) error {
	table, err := golden.ReadTable(chunks)
	if err = errors.Join(err, chunks.Close()); err != nil {
		return fmt.Errorf("taking over the chunk table: %w", err)
	}
	k.job.Use(&golden.Image{Digest: golden.Digest(k.job.Target.Plan.Image.Digest), Config: k.brief.Config, Table: table, Disk: k.brief.Blob})
	return nil
}

// outcome is how a flight has ended.
type outcome struct {
	flash.Result
	err error
}

// takeOff begins to write the disk, and gives it to PID 1.
func (k *keeper) takeOff(ctx, step context.Context) error {
	verify, err := order.ParseVerify(k.job.Target.Plan.ReadBack)
	if err != nil {
		return err
	}
	if k.device, err = k.job.Target.Open(); err != nil {
		return err
	}
	kept, err := k.job.Target.Keep(k.device)
	if err != nil {
		return err
	}
	load := &cores{proc: "/proc"}
	f, err := flash.New(flash.Job{
		Image: k.job.Target.Image, Keep: kept, Source: k.job.From(moving{k.job.Session.Client, k.job.Source}), Disk: k.device, Verify: verify,
		Workers: 4, Retry: supply.Retry{First: 200 * time.Millisecond, Longest: 10 * time.Second, Stall: keeperStall},
		Progress: k.reportProgress, Move: k.move, Spare: func() bool { return load.spare(time.Now()) },
	})
	if err != nil {
		return err
	}
	ctx, k.land = context.WithCancel(ctx)
	k.flown = make(chan outcome, 1)
	go func() {
		result, err := f.Run(ctx)
		k.flown <- outcome{result, err}
	}()
	live, err := f.Live(step)
	if err != nil {
		return err
	}
	ready, err := k.serve(ctx, live)
	if err != nil {
		return err
	}
	return k.pid1.reply(ready)
}

// reportProgress is called by the engine, from one goroutine.
func (k *keeper) reportProgress(p flash.Progress) {
	k.job.Progress(p)
	k.stalls.see(time.Now(), p)
}

// listen takes in what PID 1 says until it is gone: into the new system, left
// says, or because it has given up.
func (k *keeper) listen() (left bool, err error) {
	for {
		w, err := k.pid1.hear()
		if errors.Is(err, io.EOF) {
			return left, nil
		}
		if err != nil {
			return left, err
		}
		for _, e := range w.Events {
			k.job.Session.Queue.Add(e)
		}
		if w.Leave != nil {
			if k.parting = *w.Leave; k.job.Session.Permit.IsLost() {
				return false, errors.New("the server has revoked the plan")
			}
			left = true
			if err := k.pid1.reply(reply{}); err != nil {
				return false, err
			}
		}
	}
}

// complete waits until the disk is, and lets the system have it.
func (k *keeper) complete(ctx context.Context, start time.Time) error {
	k.job.Report.Event(api.Event{
		Step: "handoff", State: api.StateDone, Live: true, Message: "runs the new system; its disk is completed underneath",
	})
	k.tasks.Go("link", func() {
		netif.Tend(ctx, k.parting.Link, k.job.Session.Client.Addresses(), k.job.Session.Client.Reset, k.log)
	})
	k.tasks.Go("link name", func() { netif.Name(ctx, k.parting.Link, systemRoot, k.log) })
	o := <-k.flown
	if o.err != nil {
		k.job.Report.Event(api.Event{
			Step: "flash", State: api.StateFailed, Cause: order.Cause("flash", o.err),
			Message: fmt.Sprintf("the running system's disk was not completed: %v; restart the machine: it is flashed again", o.err),
		})
		k.job.Session.Queue.Flush(ctx, keeperPatience)
		return o.err
	}
	if err := k.network.Detach(); err != nil {
		k.log.Warn("the network's device stays", "error", err)
	}
	k.job.Finish(o.Result, k.parting.Times)
	k.job.Result.Identity = k.parting.Identity
	k.job.Result.Times["live"] = time.Since(start).Seconds()
	k.growRoot(ctx)
	if err := k.device.DropCache(); err != nil {
		k.log.Warn("the page cache may be old", "error", err)
	}
	machine.AddContent(&k.job.Target.Disk, k.device)
	k.job.Target.Disk.Holds = blockdev.Signatures(k.device, k.device.Size())
	k.job.Receipt(ctx, api.HandoffInstant, nil)
	if !k.job.Session.Queue.Flush(ctx, keeperPatience) {
		k.log.Error("the server did not take the receipt: it may have the machine flashed again")
	}
	k.log.Info("the disk is complete")
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		_ = mount.Unmount(dir)
	}
	return nil
}

// systemRoot is the root of the system that PID 1 has become.
const systemRoot = "/proc/1/root"

// writablePatience is how long the system may take to make its root writable. A
// disk can be complete before a system has come so far.
const writablePatience = 3 * time.Minute

// growRoot lets the system have the rest of its disk, as the plan wants it.
func (k *keeper) growRoot(ctx context.Context) {
	if k.parting.Grow == 0 {
		return
	}
	start := time.Now()
	root := k.job.Target.Image.Config.Boot.Root
	before, after, err := mount.GrowWhenWritable(ctx, systemRoot, root.FileSystem, k.parting.Grow, writablePatience)
	if err != nil {
		k.job.Report.Event(api.Event{Step: "grow", State: api.StateFailed, Cause: api.CauseGrow, Message: err.Error()})
		return
	}
	k.job.Result.Times["grow"] = time.Since(start).Seconds()
	k.job.Report.Note("grow", "the root grew from %.1f to %.1f GB", float64(before)/1e9, float64(after)/1e9)
}

// giveUp takes the live disk away again: nobody runs from it.
func (k *keeper) giveUp() error {
	var failures []error
	for _, p := range k.parts {
		failures = append(failures, k.dm.Remove(p.name))
	}
	if k.network != nil {
		failures = append(failures, k.network.Detach())
	}
	if k.land != nil {
		k.land()
		if o := <-k.flown; !errors.Is(o.err, context.Canceled) {
			failures = append(failures, o.err)
		}
	}
	if k.device != nil {
		failures = append(failures, k.device.Close())
	}
	return errors.Join(failures...)
}

// moving gives ranges to a machine that may get another address at any time:
// after a failure no connection is kept.
type moving struct {
	client *agentclient.Client
	supply.Ranges
}

// ReadRange implements supply.Ranges.
func (s moving) ReadRange(ctx context.Context, off, length int64) (io.ReadCloser, error) {
	body, err := s.Ranges.ReadRange(ctx, off, length)
	if err != nil {
		s.client.Reset()
	}
	return body, err
}
