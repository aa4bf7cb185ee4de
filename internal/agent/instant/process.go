package instant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/background"
	"github.com/gild-dev/gild/internal/agent/proc"
	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/api"
)

// process is the keeper as PID 1 sees it. PID 1 waits for it nowhere without
// a bound: what a keeper that has died or hangs would have said is an error.
type process struct {
	os      *os.Process
	kids    *proc.Children
	say     *os.File // what it hears
	hear    chan reply
	heard   *os.File           // what hear is read from
	telling background.Service // of the events
	briefed bool               // the queue is its own
	rest    *report.Backlog    // what it gave back of that
	// How long a keeper may take to be there, to listen, and to end.
	startPatience, tellPatience, endPatience time.Duration
}

// startKeeper starts the keeper in a root of its own.
func (e *Entry) startKeeper() (*process, error) {
	if err := buildRoot(); err != nil {
		return nil, err
	}
	table, err := tableFile(e.Job.Target.Image.Table)
	if err != nil {
		return nil, err
	}
	defer table.Close()
	return e.talkTo(func(in, out *os.File) (*os.Process, error) {
		lastWords := out
		// Should the keeper crash, the system's own log goes with the disk it is on.
		if console, err := os.OpenFile("/dev/console", os.O_WRONLY|unix.O_NOCTTY, 0); err == nil {
			defer console.Close()
			lastWords = console
		}
		return startFlusher(e.Kids, "/init", []string{KeeperName}, &os.ProcAttr{
			Dir: "/", Env: []string{}, Files: []*os.File{in, out, lastWords, tableFD: table},
			Sys: &syscall.SysProcAttr{Chroot: keeperRoot, Setsid: true},
		})
	})
}

// talkTo starts a keeper with two pipes to it. PID 1 keeps none of the keeper's
// ends: with them open, the end of the keeper would go unnoticed.
func (e *Entry) talkTo(start func(in, out *os.File) (*os.Process, error)) (*process, error) {
	in, say, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("talking to the keeper of the disk: %w", err)
	}
	heard, out, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("talking to the keeper of the disk: %w", err), in.Close(), say.Close())
	}
	started, err := start(in, out)
	err = errors.Join(err, in.Close(), out.Close())
	if err != nil {
		return nil, errors.Join(err, say.Close(), heard.Close())
	}
	k := &process{
		os: started, kids: e.Kids, say: say, heard: heard, hear: make(chan reply, 1),
		startPatience: startPatience, tellPatience: leavePatience, endPatience: endPatience,
	}
	e.Tasks.Go("keeper", func() {
		defer close(k.hear)
		for dec := json.NewDecoder(heard); ; {
			var r reply
			if dec.Decode(&r) != nil {
				return
			}
			k.hear <- r
		}
	})
	return k, nil
}

// startFlusher starts a program that the kernel may need in order to free
// memory: none of its threads waits for that (prctl(2), PR_SET_IO_FLUSHER,
// since Linux 5.6, which children inherit).
func startFlusher(kids *proc.Children, path string, argv []string, attr *os.ProcAttr) (*os.Process, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0) == nil {
		defer func() { _ = unix.Prctl(unix.PR_SET_IO_FLUSHER, 0, 0, 0, 0) }()
	}
	return kids.Start(path, argv, attr)
}

// handOver gives the reports, and the disk, to the keeper, once it is there.
// When it fails, both are still PID 1's.
func (e *Entry) handOver(ctx context.Context, k *process) error {
	if err := k.meet(ctx); err != nil {
		return err
	}
	e.Reports.Stop()
	session, target := e.Job.Session, &e.Job.Target
	b := brief{
		Version: version, Config: target.Image.Config, Blob: target.Image.Disk, Plan: target.Plan, Disk: target.Disk,
		Servers: session.Client.Bases(), CA: session.Client.CA(), Session: session.ID, MAC: session.MAC, Queue: session.Queue.Take(),
	}
	if err := k.tell(b); err != nil {
		session.Queue.Resume(b.Queue) // a keeper that has not heard all of it has done nothing
		return err
	}
	k.briefed = true
	k.telling = e.Tasks.Serve(ctx, "report", func(ctx context.Context) {
		e.Job.Session.Queue.Deliver(ctx, func(_ context.Context, plan string, events []api.Event) error {
			if len(events) == 0 {
				return nil // the keeper has a heart of its own
			}
			return k.tell(word{Plan: plan, Events: events})
		})
	})
	return nil
}

// takeBack continues the reports where the keeper left off: with what it gave
// back, or with higher numbers than any of its own.
func (e *Entry) takeBack(k *process) {
	switch {
	case k.rest != nil:
		e.Job.Session.Queue.Resume(*k.rest)
	case k.briefed:
		e.Job.Session.Queue.Skip(keeperEvents)
	}
	e.Reports.Resume()
	e.Lease.Resume()
}

// keeperEvents is more than a keeper ever has to tell before it is dismissed.
const keeperEvents = 1 << 20

// tell says v to the keeper. After an error it is to be dismissed: it may have
// heard a part.
func (k *process) tell(v any) error {
	err := k.say.SetWriteDeadline(time.Now().Add(k.tellPatience))
	if err == nil {
		err = json.NewEncoder(k.say).Encode(v)
	}
	if err != nil {
		return fmt.Errorf("talking to the keeper of the disk: %w", err)
	}
	return nil
}

// meet waits until the keeper is there.
func (k *process) meet(ctx context.Context) error {
	r, err := k.await(ctx, k.startPatience)
	if err == nil && r.Version != version {
		err = fmt.Errorf("talking to the keeper of the disk: %w", versionError(r.Version))
	}
	return err
}

// await hears what the keeper says next.
func (k *process) await(ctx context.Context, d time.Duration) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	select {
	case r, ok := <-k.hear:
		if !ok {
			return r, errors.New("the keeper of the disk has ended")
		}
		if r.Error != "" {
			k.rest = r.Queue
			return r, errors.New(r.Error)
		}
		return r, nil
	case <-ctx.Done():
		return reply{}, fmt.Errorf("waiting for the keeper of the disk: %w", context.Cause(ctx))
	}
}

// dismiss ends the keeper, which lets the disk go.
func (k *process) dismiss() error {
	_ = k.say.Close() // who talks to it stops, and so does the keeper
	k.telling.Stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = k.kids.Wait(k.os) // how it ends says nothing new: it has replied, or was killed
	}()
	err := k.hearOut(ended)
	// The reader may wait for bytes, or for somebody to take what it has read.
	err = errors.Join(err, k.heard.Close())
	for r := range k.hear {
		if r.Queue != nil {
			k.rest = r.Queue
		}
	}
	return err
}

// hearOut hears what the keeper has to say until it has ended, by force if need
// be.
func (k *process) hearOut(ended <-chan struct{}) error {
	patience := time.NewTimer(k.endPatience)
	defer patience.Stop()
	var forced error
	said := k.hear
	for ended != nil || said != nil {
		select {
		case r, ok := <-said:
			switch {
			case !ok:
				said = nil
			case r.Queue != nil:
				k.rest = r.Queue
			}
		case <-ended:
			ended = nil
		case <-patience.C:
			if forced != nil {
				return errors.New("the keeper of the disk does not end, even by force: it may hang in the disk")
			}
			forced = errors.New("the keeper of the disk had to be ended by force")
			_ = k.os.Kill()
			patience.Reset(k.endPatience)
		}
	}
	return forced
}
