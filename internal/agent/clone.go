package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/handoff"
	"github.com/gild-dev/gild/internal/agent/identity"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/agent/newids"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

// errNoRoot stops a flash that could not end as its plan wants it, before
// anything is lost.
var errNoRoot = fmt.Errorf("the plan has an identity, and the image no root file system that it could be written to: %w", errUnfit)

// canClone reports why the plan's identity could not be written to the image.
func (a *Agent) canClone() error {
	if a.plan.Identity != "" && a.image.Config.Boot == nil {
		return errNoRoot
	}
	return nil
}

// clone makes the new system a machine of its own, as its plan has it. The
// identity is fetched when it is needed and kept nowhere: it may hold secrets.
func (a *Agent) clone(ctx context.Context) (string, error) {
	if a.plan.Identity == "" {
		return "none in the plan", nil
	}
	start := time.Now()
	id, err := a.fetchIdentity(ctx)
	if err != nil {
		return "", err
	}
	write := a.writeIdentity
	if id.NewIDs {
		write = a.writeWithNewIDs
	}
	if err := write(ctx, id); err != nil {
		return "", err
	}
	a.result.identity = a.plan.Identity
	a.result.times["identity"] = time.Since(start).Seconds()
	return "this system is " + id.Hostname, nil
}

// fetchIdentity gets what the plan wants the new system to be.
func (a *Agent) fetchIdentity(ctx context.Context) (api.Identity, error) {
	id, err := a.session.Client.Identity(ctx, api.IdentityRequest{Session: a.session.ID, MAC: a.session.MAC, Plan: a.plan.ID})
	if err != nil {
		return api.Identity{}, err
	}
	if id.Digest() != a.plan.Identity {
		return api.Identity{}, errors.New("the server sent another identity than the plan names")
	}
	return id, nil
}

func (a *Agent) writeIdentity(ctx context.Context, id api.Identity) error {
	fs := a.image.Config.Boot.Root
	if err := a.mountForeign(ctx, golden.Partition{Number: fs.Partition, FileSystem: fs.FileSystem}, handoff.NewRoot, true); err != nil {
		return err
	}
	return errors.Join(a.writeRoot(id, handoff.NewRoot), mount.Unmount(handoff.NewRoot))
}

// writeRoot writes the identity to the root that is mounted at dir.
func (a *Agent) writeRoot(id api.Identity, dir string) error {
	notes, err := identity.Write(dir, identity.Job{Identity: id, Plan: a.plan.ID, MAC: a.session.MAC})
	for _, n := range notes {
		a.report.Note("identity", "%s", n)
	}
	return err
}

// mountForeign mounts a partition of the new system to change files in it:
// nothing of it is started here.
func (a *Agent) mountForeign(ctx context.Context, p golden.Partition, dir string, writable bool) error {
	var flags uintptr
	var data string
	if fs := a.image.Config.Boot.Root; p.Number == fs.Partition {
		flags, data = mount.Options(fs.Options)
	}
	flags = flags&^unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	if !writable {
		flags |= unix.MS_RDONLY
	}
	return a.mountPartition(ctx, p.Number, p.FileSystem, dir, flags, data)
}

// writeWithNewIDs also gives the disk and its file systems IDs of their own. A
// try that failed half-way goes on with what it knows.
func (a *Agent) writeWithNewIDs(ctx context.Context, id api.Identity) error {
	if a.ids == nil {
		a.ids = newids.New(newids.Job{
			Plan: a.plan.ID, Image: a.image.Config, Preserved: a.preserved, Dir: handoff.NewRoot,
			Open: a.open,
			Mount: func(ctx context.Context, p golden.Partition, writable bool) error {
				return a.mountForeign(ctx, p, handoff.NewRoot, writable)
			},
			Note: func(format string, args ...any) { a.report.Note("identity", format, args...) },
		})
	}
	if err := a.ids.Run(ctx, func() error { return a.writeRoot(id, handoff.NewRoot) }); err != nil {
		return err
	}
	device, err := a.open()
	if err != nil {
		return err
	}
	defer device.Close()
	return a.reread(ctx, device)
}
