package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/identity"
	"github.com/gild-dev/gild/internal/agent/mount"
	"github.com/gild-dev/gild/internal/api"
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
	notes, err := a.writeIdentity(ctx, id)
	for _, n := range notes {
		a.note("identity", "%s", n)
	}
	if err != nil {
		return "", err
	}
	a.result.identity = a.plan.Identity
	a.result.times["identity"] = time.Since(start).Seconds()
	return "this system is " + id.Hostname, nil
}

// fetchIdentity gets what the plan wants the new system to be.
func (a *Agent) fetchIdentity(ctx context.Context) (api.Identity, error) {
	id, err := a.client.Identity(ctx, api.IdentityRequest{Session: a.session, MAC: a.conn.MAC, Plan: a.plan.ID})
	if err != nil {
		return api.Identity{}, err
	}
	if id.Digest() != a.plan.Identity {
		return api.Identity{}, errors.New("the server sent another identity than the plan names")
	}
	return id, nil
}

func (a *Agent) writeIdentity(ctx context.Context, id api.Identity) (notes []string, err error) {
	fs := a.image.Config.Boot.Root
	flags, data := mount.Options(fs.Options)
	// Foreign until the system itself runs: nothing of it is started here.
	flags = flags&^unix.MS_RDONLY | unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC
	if err := a.mountPartition(ctx, fs.Partition, fs.FileSystem, newRoot, flags, data); err != nil {
		return nil, err
	}
	notes, err = identity.Write(newRoot, identity.Job{Identity: id, Plan: a.plan.ID, MAC: a.conn.MAC})
	return notes, errors.Join(err, mount.Unmount(newRoot))
}
