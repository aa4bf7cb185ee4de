package order

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
func (j *Job) canClone() error {
	if j.Target.Plan.Identity != "" && j.Target.Image.Config.Boot == nil {
		return errNoRoot
	}
	return nil
}

// Clone makes the new system a machine of its own, as its plan has it. The
// identity is fetched when it is needed and kept nowhere: it may hold secrets.
func (j *Job) Clone(ctx context.Context) (string, error) {
	if j.Target.Plan.Identity == "" {
		return "none in the plan", nil
	}
	start := time.Now()
	id, err := j.FetchIdentity(ctx)
	if err != nil {
		return "", err
	}
	write := j.writeIdentity
	if id.NewIDs {
		write = j.writeWithNewIDs
	}
	if err := write(ctx, id); err != nil {
		return "", err
	}
	j.Result.Identity = j.Target.Plan.Identity
	j.Result.Times["identity"] = time.Since(start).Seconds()
	return "this system is " + id.Hostname, nil
}

// FetchIdentity gets what the plan wants the new system to be.
func (j *Job) FetchIdentity(ctx context.Context) (api.Identity, error) {
	id, err := j.Session.Client.Identity(ctx, api.IdentityRequest{Session: j.Session.ID, MAC: j.Session.MAC, Plan: j.Target.Plan.ID})
	if err != nil {
		return api.Identity{}, err
	}
	if id.Digest() != j.Target.Plan.Identity {
		return api.Identity{}, errors.New("the server sent another identity than the plan names")
	}
	return id, nil
}

func (j *Job) writeIdentity(ctx context.Context, id api.Identity) error {
	fs := j.Target.Image.Config.Boot.Root
	if err := j.mountForeign(ctx, golden.Partition{Number: fs.Partition, FileSystem: fs.FileSystem}, handoff.NewRoot, true); err != nil {
		return err
	}
	return errors.Join(j.writeRoot(id, handoff.NewRoot), mount.Unmount(handoff.NewRoot))
}

// writeRoot writes the identity to the root that is mounted at dir.
func (j *Job) writeRoot(id api.Identity, dir string) error {
	notes, err := identity.Write(dir, identity.Job{Identity: id, Plan: j.Target.Plan.ID, MAC: j.Session.MAC, CA: j.Session.Client.CA()})
	for _, n := range notes {
		j.Report.Note("identity", "%s", n)
	}
	return err
}

// mountForeign mounts a partition of the new system to change files in it:
// nothing of it is started here.
func (j *Job) mountForeign(ctx context.Context, p golden.Partition, dir string, writable bool) error {
	var flags uintptr
	var data string
	if fs := j.Target.Image.Config.Boot.Root; p.Number == fs.Partition {
		flags, data = mount.Options(fs.Options)
	}
	flags = flags&^unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	if !writable {
		flags |= unix.MS_RDONLY
	}
	return j.Target.Mount(ctx, p.Number, p.FileSystem, dir, flags, data)
}

// writeWithNewIDs also gives the disk and its file systems IDs of their own. A
// try that failed half-way continues with what it knows.
func (j *Job) writeWithNewIDs(ctx context.Context, id api.Identity) error {
	if j.ids == nil {
		j.ids = newids.New(newids.Job{
			Plan: j.Target.Plan.ID, Image: j.Target.Image.Config, Preserved: j.Target.preserved, Dir: handoff.NewRoot,
			Open: j.Target.Open,
			Mount: func(ctx context.Context, p golden.Partition, writable bool) error {
				return j.mountForeign(ctx, p, handoff.NewRoot, writable)
			},
			Note: func(format string, args ...any) { j.Report.Note("identity", format, args...) },
		})
	}
	if err := j.ids.Run(ctx, func() error { return j.writeRoot(id, handoff.NewRoot) }); err != nil {
		return err
	}
	device, err := j.Target.Open()
	if err != nil {
		return err
	}
	defer device.Close()
	return j.Target.reread(ctx, device)
}
