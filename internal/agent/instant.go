package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/agent/netif"
	"github.com/gild-dev/gild/internal/agent/proc"
	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk/partition"
	"github.com/gild-dev/gild/internal/golden"
)

// The instant handoff takes two: PID 1 enters the new system at once, and a
// child of it, the keeper, serves that system's disk, completes it, and ends
// (keeper.go). They talk in JSON over two pipes until PID 1 is the new
// system's init.

// brief is what the keeper is told first. The image's chunk table, which may
// be long, comes as the file tableFD.
type brief struct {
	Config  *golden.Config
	Blob    golden.Descriptor // of the disk
	Servers string            // of client.New
	Session string
	MAC     string
	Plan    *api.Plan
	Disk    api.Disk
	Queue   report.Backlog
}

// word is what PID 1 says afterwards.
type word struct {
	Plan   string
	Events []api.Event
	Leave  *parting
}

// parting is what PID 1 leaves to the keeper: what goes into the receipt, and
// what is still to be done.
type parting struct {
	Link     netif.Handed
	Identity string
	Times    map[string]float64
	// Grow is the size of the grown root partition in bytes, 0 if it is not.
	Grow int64
}

// reply is what the keeper says: when it is there, when the disk can be used, and
// when PID 1 may leave; or why not, with what it has not reported.
type reply struct {
	Error string               `json:",omitempty"`
	Queue *report.Backlog      `json:",omitempty"`
	Parts map[int]livePart     `json:",omitempty"` // by number
	Grown *partition.Partition `json:",omitempty"`
}

// livePart is the block device that stands for a partition of a live disk.
type livePart struct {
	Node         string // "/dev/dm-0"
	Major, Minor uint32
}

// Bounds of the talk with the keeper.
const (
	startPatience = time.Minute
	readyPatience = 2 * time.Minute // for the first chunks
	leavePatience = 30 * time.Second
	endPatience   = 15 * time.Second
)

// keeperName is the keeper's argv[0]. systemd does not kill what begins like
// that (https://systemd.io/ROOT_STORAGE_DAEMONS).
const keeperName = "@gild-keeper"

// instant enters the new system while its disk is being written. It returns
// only with why it did not.
func (a *Agent) instant(ctx context.Context) error {
	if err := a.canBeInstant(ctx); err != nil {
		return err
	}
	if err := a.modules.Load("dm-mod"); err != nil {
		return err
	}
	// Without partitions of its own: the system is to find them on the
	// device-mapper devices, which outlive the network's.
	if err := a.modules.LoadWith("nbd", "max_part=0 nbds_max=1"); err != nil {
		return err
	}
	k, err := a.startKeeper()
	if err != nil {
		return errors.Join(err, clearCage())
	}
	if err = a.handOver(ctx, k); err == nil {
		err = a.enterLive(ctx, k)
	}
	err = errors.Join(err, k.dismiss(), clearCage())
	a.takeBack(k)
	return err
}

// canBeInstant reports what is missing for it.
func (a *Agent) canBeInstant(ctx context.Context) error {
	boot := a.image.Config.Boot
	switch {
	case boot == nil:
		return handoff.ErrNoKernel
	case boot.Instant == "":
		return errors.New("the image was stored without a look at whether its system can; add it again")
	case boot.Instant != golden.InstantReady:
		return errors.New(boot.Instant)
	case boot.Root.Partition == 0:
		return errors.New("its root is no partition")
	case a.plan.Identity == "":
		return nil
	}
	id, err := a.fetchIdentity(ctx)
	if err != nil {
		return err
	}
	if id.NewIDs {
		return errors.New("new IDs are given to a disk that nobody uses")
	}
	return nil
}

// tableFD is the keeper's descriptor of the chunk table.
const tableFD = 3

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
func (a *Agent) enterLive(ctx context.Context, k *keeperProc) error {
	r, err := k.await(ctx, readyPatience)
	if err != nil {
		return err
	}
	a.parts = r.Parts
	defer func() { a.parts = nil }()
	a.result = flashed{times: map[string]float64{}}
	left := parting{Times: a.result.times}
	switch root := a.image.Config.Boot.Root; {
	case r.Grown == nil:
	case r.Grown.Number == root.Partition && mount.CanGrow(root.FileSystem):
		left.Grow = r.Grown.Size // the system need not wait for that
	default:
		if note, err := a.growFileSystem(ctx, *r.Grown); err != nil {
			a.report.Event(api.Event{Step: "grow", State: api.StateFailed, Cause: api.CauseGrow, Message: err.Error()})
		} else {
			a.report.Note("grow", "%s%s", "the last partition ends with the disk", note)
		}
	}
	if _, err := a.clone(ctx); err != nil {
		return err
	}
	leave, err := handoff.SwitchRoot.Prepare(ctx, a.target())
	if err != nil {
		return err
	}
	err = errors.Join(seedUdev(r.Parts), giveLink(runNetworkManager, a.session.MAC))
	if a.plan.HoldReboot {
		err = errors.Join(err, holdReboot(runUnits, k.process.Pid))
	}
	if err != nil {
		return errors.Join(err, mount.Unmount(handoff.NewRoot))
	}
	a.report.Note("handoff", "entering the system, whose disk is completed underneath")
	k.telling.Stop()
	a.lease.Stop()
	left.Link, left.Identity = a.conn.Handed(), a.result.identity
	if err := k.tell(word{Leave: &left}); err != nil {
		return errors.Join(err, mount.Unmount(handoff.NewRoot))
	}
	if _, err := k.await(ctx, leavePatience); err != nil {
		return errors.Join(err, mount.Unmount(handoff.NewRoot))
	}
	a.report.Console.Drain(time.Second)
	proc.KillOthers("/proc", k.process.Pid)
	a.tuning.restore()
	committed, err := leave()
	if committed {
		return errors.Join(err, machine.Reboot())
	}
	return errors.Join(err, mount.Unmount(handoff.NewRoot))
}
