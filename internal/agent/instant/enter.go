// Package instant enters a system whose disk is still being written.
//
// That takes two: PID 1 enters the new system at once, and a child of it, the
// keeper, serves that system's disk, completes it, and ends. They talk by one
// protocol (protocol.go) until PID 1 is the new system's init.
package instant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/background"
	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/agent/order"
	"github.com/gild-dev/gild/internal/agent/proc"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

// Bounds of the talk with the keeper.
const (
	startPatience = time.Minute
	readyPatience = 2 * time.Minute // for the first chunks
	leavePatience = 30 * time.Second
	endPatience   = 15 * time.Second
)

// Entry is PID 1's half.
type Entry struct {
	Job   *order.Job
	Tasks background.Tasks
	Kids  *proc.Children
	Line  cmdline.Line
	Conn  *netif.Conn
	// Reports and Lease are stopped when the keeper takes over, and resumed when
	// there was no handoff after all.
	Reports, Lease *background.Service
	// Restore gives the kernel's settings back to the system that comes.
	Restore func()
}

// Enter enters the new system while its disk is being written. It returns only
// with why it did not.
func (e *Entry) Enter(ctx context.Context) error {
	if err := e.possible(ctx); err != nil {
		return err
	}
	if err := e.Job.Target.Modules.Load("dm-mod"); err != nil {
		return err
	}
	// Without partitions of its own: the system is to find them on the
	// device-mapper devices, which outlive the network's.
	if err := e.Job.Target.Modules.LoadWith("nbd", "max_part=0 nbds_max=1"); err != nil {
		return err
	}
	k, err := e.startKeeper()
	if err != nil {
		return errors.Join(err, clearRoot())
	}
	if err = e.handOver(ctx, k); err == nil {
		err = e.enterLive(ctx, k)
	}
	err = errors.Join(err, k.dismiss(), clearRoot())
	e.takeBack(k)
	return err
}

// possible reports what is missing for it.
func (e *Entry) possible(ctx context.Context) error {
	boot := e.Job.Target.Image.Config.Boot
	switch {
	case boot == nil:
		return handoff.ErrNoKernel
	case boot.Instant == "":
		return errors.New("the image was stored without a look at whether its system can; add it again")
	case boot.Instant != golden.InstantReady:
		return errors.New(boot.Instant)
	case boot.Root.Partition == 0:
		return errors.New("its root is no partition")
	case e.Job.Target.Plan.Identity == "":
		return nil
	}
	id, err := e.Job.FetchIdentity(ctx)
	if err != nil {
		return err
	}
	if id.NewIDs {
		return errors.New("new IDs can only be given to a disk that is not in use")
	}
	return nil
}

// tableFile returns a file without a name that holds a chunk table.
func tableFile(t *golden.Table) (*os.File, error) {
	fd, err := unix.MemfdCreate("chunks", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("handing over the chunk table: %w", err)
	}
	f := os.NewFile(uintptr(fd), "chunks")
	_, err = t.WriteTo(f)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("handing over the chunk table: %w", err), f.Close())
	}
	return f, nil
}

// enterLive prepares the new root on the live disk, and switches to it.
func (e *Entry) enterLive(ctx context.Context, k *process) error {
	r, err := k.await(ctx, readyPatience)
	if err != nil {
		return err
	}
	e.Job.Target.Nodes = map[int]string{}
	for number, part := range r.Parts {
		e.Job.Target.Nodes[number] = part.Node
	}
	defer func() { e.Job.Target.Nodes = nil }()
	e.Job.Result = order.Result{Times: map[string]float64{}}
	left := parting{Times: e.Job.Result.Times}
	switch root := e.Job.Target.Image.Config.Boot.Root; {
	case r.Grown == nil:
	case r.Grown.Number == root.Partition && mount.CanGrow(root.FileSystem):
		left.Grow = r.Grown.Size // the system need not wait for that
	default:
		if note, err := e.Job.GrowFileSystem(ctx, *r.Grown); err != nil {
			e.Job.Report.Event(api.Event{Step: "grow", State: api.StateFailed, Cause: api.CauseGrow, Message: err.Error()})
		} else {
			e.Job.Report.Note("grow", "%s%s", "the last partition ends with the disk", note)
		}
	}
	if _, err := e.Job.Clone(ctx); err != nil {
		return err
	}
	leave, err := handoff.SwitchRoot.Prepare(ctx, e.Job.Leaving(e.Line))
	if err != nil {
		return err
	}
	err = errors.Join(seedUdev(r.Parts), giveLink(runNetworkManager, e.Job.Session.MAC))
	if e.Job.Target.Plan.HoldReboot {
		err = errors.Join(err, holdReboot(runUnits, k.os.Pid))
	}
	if err != nil {
		return errors.Join(err, mount.Unmount(handoff.NewRoot))
	}
	e.Job.Report.Note("handoff", "entering the system, whose disk is completed underneath")
	k.telling.Stop()
	e.Lease.Stop()
	left.Link, left.Identity = e.Conn.Handed(), e.Job.Result.Identity
	if err := k.tell(word{Leave: &left}); err != nil {
		return errors.Join(err, mount.Unmount(handoff.NewRoot))
	}
	if _, err := k.await(ctx, leavePatience); err != nil {
		return errors.Join(err, mount.Unmount(handoff.NewRoot))
	}
	e.Job.Report.Console.Drain(time.Second)
	proc.KillOthers("/proc", k.os.Pid)
	e.Restore()
	committed, err := leave()
	if committed {
		return errors.Join(err, machine.Reboot())
	}
	return errors.Join(err, mount.Unmount(handoff.NewRoot))
}
