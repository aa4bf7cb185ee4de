package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/agent/netif"
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
	Link    netif.Handed
	Plan    *api.Plan
	Disk    api.Disk
	Queue   backlog
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
	Identity string
	Times    map[string]float64
	// Grow is the size of the grown root partition in bytes, 0 if it is not.
	Grow int64
}

// reply is what the keeper says: once when the disk can be used, once when
// PID 1 may leave.
type reply struct {
	Error string               `json:",omitempty"`
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
	k, err := a.startKeeper(ctx)
	if err != nil {
		return errors.Join(err, clearCage())
	}
	err = errors.Join(a.enterLive(ctx, k), k.dismiss())
	a.takeBack()
	return err
}

// canBeInstant reports what is missing for it.
func (a *Agent) canBeInstant(ctx context.Context) error {
	boot := a.image.Config.Boot
	switch {
	case boot == nil:
		return errNoKernel
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

// keeperProc is the keeper as PID 1 sees it.
type keeperProc struct {
	process *os.Process
	kids    *children
	say     *json.Encoder
	hear    chan reply // closed at the keeper's end
	pipes   []*os.File
	stop    context.CancelFunc // of what tells it the events
	stopped chan struct{}
}

// startKeeper starts the keeper and hands the reports over to it.
func (a *Agent) startKeeper(ctx context.Context) (*keeperProc, error) {
	if err := buildCage(); err != nil {
		return nil, err
	}
	toRead, say, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer toRead.Close()
	hear, toWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, say.Close())
	}
	defer toWrite.Close()
	lastWords := toWrite
	// Should the keeper crash, the system's own log goes with the disk it is on.
	if console, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
		defer console.Close()
		lastWords = console
	}
	table, err := tableFile(a.image.Table)
	if err != nil {
		return nil, errors.Join(err, say.Close(), hear.Close())
	}
	defer table.Close()
	k := &keeperProc{kids: a.kids, say: json.NewEncoder(say), hear: make(chan reply, 2), pipes: []*os.File{say, hear}, stopped: make(chan struct{})}
	k.process, err = startFlusher(a.kids, "/init", []string{keeperName}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{toRead, toWrite, lastWords, tableFD: table}, Sys: &syscall.SysProcAttr{Chroot: cage, Setsid: true},
	})
	if err != nil {
		return nil, errors.Join(err, say.Close(), hear.Close())
	}
	a.guard("keeper", func() {
		defer close(k.hear)
		for dec := json.NewDecoder(hear); ; {
			var r reply
			if dec.Decode(&r) != nil {
				return
			}
			k.hear <- r
		}
	})
	a.stopReports()
	b := brief{
		Config: a.image.Config, Blob: a.image.Disk,
		Servers: a.client.Servers(), Session: a.session, MAC: a.conn.MAC, Link: a.conn.Handed(), Plan: a.plan, Disk: a.disk, Queue: a.queue.take(),
	}
	err = k.say.Encode(b)
	telling, stop := context.WithCancel(ctx)
	k.stop = stop
	a.guard("report", func() {
		defer close(k.stopped)
		a.queue.deliver(telling, func(_ context.Context, plan string, events []api.Event) error {
			if len(events) == 0 {
				return nil // the keeper has a heart of its own
			}
			return k.say.Encode(word{Plan: plan, Events: events})
		})
	})
	return k, err
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

// startFlusher starts a program that the kernel may need in order to free
// memory: none of its threads waits for that (prctl(2), PR_SET_IO_FLUSHER, since
// Linux 5.6, which children inherit).
func startFlusher(kids *children, path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0) == nil {
		defer func() { _ = unix.Prctl(unix.PR_SET_IO_FLUSHER, 0, 0, 0, 0) }()
	}
	return kids.start(path, argv, attr)
}

// await hears what the keeper says next.
func (k *keeperProc) await(ctx context.Context, d time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case r, ok := <-k.hear:
		if !ok {
			return r, errors.New("the keeper of the disk has ended")
		}
		if r.Error != "" {
			return r, errors.New(r.Error)
		}
		return r, nil
	case <-ctx.Done():
		return reply{}, fmt.Errorf("waiting for the keeper of the disk: %w", context.Cause(ctx))
	}
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
			a.event(api.Event{Step: "grow", State: api.StateFailed, Cause: api.CauseGrow, Message: err.Error()})
		} else {
			a.note("grow", "%s%s", "the last partition ends with the disk", note)
		}
	}
	if _, err := a.clone(ctx); err != nil {
		return err
	}
	leave, err := a.prepareSwitch(ctx)
	if err != nil {
		return err
	}
	err = errors.Join(seedUdev(r.Parts), giveLink(runNetworkManager, a.conn.MAC))
	if a.plan.HoldReboot {
		err = errors.Join(err, holdReboot(runUnits, k.process.Pid))
	}
	if err != nil {
		return errors.Join(err, mount.Unmount(newRoot))
	}
	a.note("handoff", "entering the system, whose disk is completed underneath")
	k.stop()
	<-k.stopped
	left.Identity = a.result.identity
	if err := k.say.Encode(word{Leave: &left}); err != nil {
		return errors.Join(err, mount.Unmount(newRoot))
	}
	if _, err := k.await(ctx, leavePatience); err != nil {
		return errors.Join(err, mount.Unmount(newRoot))
	}
	a.console.drain(time.Second)
	killOthers("/proc", k.process.Pid)
	a.tuning.restore()
	committed, err := leave()
	if committed {
		return errors.Join(err, handoff.RebootNow())
	}
	return errors.Join(err, mount.Unmount(newRoot))
}

// dismiss ends the keeper, which lets the disk go.
func (k *keeperProc) dismiss() error {
	k.stop()
	<-k.stopped
	_ = k.pipes[0].Close() // its end: nobody needs it
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = k.kids.wait(k.process) // how it ends is nothing to us: it has told, or was told to
	}()
	var err error
	select {
	case <-ended:
	case <-time.After(endPatience):
		_ = k.process.Kill()
		<-ended
		err = errors.New("the keeper of the disk had to be ended by force")
	}
	return errors.Join(err, k.pipes[1].Close(), clearCage())
}

// takeBack goes on with the reports where the keeper left off: with higher
// numbers than any of its own.
func (a *Agent) takeBack() {
	a.queue.skip(keeperEvents)
	a.resumeReports()
}

// keeperEvents is more than a keeper ever has to tell before it is dismissed.
const keeperEvents = 1 << 20
