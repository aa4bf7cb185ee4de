package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/ipxe"
)

// Bounds of free space, in bytes: below the first the database of a new
// server cannot be made, below the second no image of a usual size fits.
const (
	databaseNeeds = 240 << 20
	imagesNeed    = 4 << 30
)

func dataDir(_ context.Context, p *Patient) []Finding {
	st, err := os.Stat(p.DataDir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		parent := nearest(p.DataDir)
		if unix.Access(parent, unix.W_OK) != nil {
			return one(Problem, p.DataDir+" does not exist and cannot be made", "run as root, or give another one with --data")
		}
		return one(OK, p.DataDir+" will be made at the first start", "")
	case errors.Is(err, unix.ENOTDIR), err == nil && !st.IsDir():
		return one(Problem, p.DataDir+" is not, or not below, a directory", "give another one with --data")
	case err != nil:
		return one(Unknown, fmt.Sprintf("%s cannot be looked at: %v", p.DataDir, err), "run as the user that owns it")
	case unix.Access(p.DataDir, unix.W_OK) != nil:
		return one(Problem, p.DataDir+" is not writable", "run as the user that owns it, or give another one with --data")
	}
	var vfs unix.Statfs_t
	if unix.Statfs(p.DataDir, &vfs) == nil && (vfs.Type == unix.TMPFS_MAGIC || vfs.Type == unix.RAMFS_MAGIC) {
		return one(Warning, p.DataDir+" is in memory: a restart of this host forgets every machine and image", "move it to a disk with --data")
	}
	return one(OK, p.DataDir, "")
}

// nearest is the deepest directory on the way to path that exists.
func nearest(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

func diskSpace(_ context.Context, p *Patient) []Finding {
	var st unix.Statfs_t
	if err := unix.Statfs(nearest(p.DataDir), &st); err != nil {
		return one(Unknown, err.Error(), "")
	}
	free := int64(st.Bavail) * st.Bsize
	says := fmt.Sprintf("%.1f GB free for images and state", float64(free)/1e9)
	switch {
	case free < databaseNeeds:
		return one(Problem, says+": the state takes no changes when its disk is full", "free space, or move the data directory with --data")
	case free < imagesNeed:
		return one(Warning, says+": few images fit", "`gild image ls` shows what takes the space, `gild image rm` frees it")
	}
	return one(OK, says, "")
}

// stateUsage tells how full the database is. Without a server its file is all
// that can be looked at.
func stateUsage(ctx context.Context, p *Patient) []Finding {
	u, err := p.State(ctx)
	if err != nil {
		info, err := os.Stat(filepath.Join(p.DataDir, "etcd", "member", "snap", "db"))
		if errors.Is(err, fs.ErrNotExist) {
			return nil // there is none, or it is elsewhere
		}
		if err != nil {
			return one(Unknown, err.Error(), "run as the user that owns "+p.DataDir)
		}
		u = api.StateUsage{Size: info.Size(), InUse: info.Size(), Quota: budget.State}
	}
	says := fmt.Sprintf("%.1f MB of the state are in use, its database has %.1f MB", float64(u.InUse)/1e6, float64(u.Size)/1e6)
	if u.Quota > 0 {
		says += fmt.Sprintf(" of at most %.0f", float64(u.Quota)/1e6)
	}
	const remedy = "gild machine rm -l state=discovered forgets what was only seen; in the cluster of --etcd: etcdctl compact, " +
		"etcdctl defrag, etcdctl alarm disarm"
	switch {
	case u.Full:
		return one(Problem, says+": it takes no changes, no machine can be armed", remedy)
	case u.Percent() >= api.StateNearlyFull:
		return one(Warning, fmt.Sprintf("%s (%d %%)", says, u.Percent()), remedy)
	}
	return one(OK, says, "")
}

func images(_ context.Context, p *Patient) []Finding {
	list, err := p.Images()
	if err != nil {
		return one(Problem, "the stored images cannot be read: "+err.Error(), "`gild image verify` looks closer")
	}
	if len(list) == 0 {
		return one(Problem, "no images stored", "gild image add NAME FILE")
	}
	var found []Finding
	for _, im := range list {
		if im.Damage != "" {
			found = append(found, Finding{Level: Problem, Says: im.Name + " is damaged: " + im.Damage, Remedy: "gild image verify " + im.Name})
			continue
		}
		if err := p.Bootable(im.Digest); err != nil {
			found = append(found, Finding{
				Level: Warning, Says: fmt.Sprintf("image %q cannot be flashed: %v", im.Name, err),
				Remedy: exit.HintOf(err),
			})
		}
	}
	if len(found) == 0 {
		found = one(OK, fmt.Sprintf("%d stored, all can be flashed", len(list)), "")
	}
	return found
}

func ipxeFiles(_ context.Context, p *Patient) []Finding {
	files, err := ipxe.Find(p.IPXEDirs...)
	if err != nil {
		return one(Problem, err.Error(), "apt-get install ipxe, or name a directory with --ipxe")
	}
	var lacking []string
	for _, a := range []ipxe.Arch{ipxe.BIOS, ipxe.EFIX64} {
		if _, err := files.NBP(a); err != nil {
			lacking = append(lacking, a.String())
		}
	}
	if len(lacking) > 0 {
		return one(Warning, "no boot program for "+strings.Join(lacking, ", "), "apt-get install ipxe, or name a directory with --ipxe")
	}
	return one(OK, strings.Join(files.Names(), ", "), "")
}

// clockOff is how far a clock may be off before certificates and the order of
// events suffer.
const clockOff = 5 * time.Second

func clock(ctx context.Context, p *Patient) []Finding {
	var found []Finding
	if url := p.baseURL(); url != "" {
		if theirs, err := p.Answers(ctx, url); err == nil {
			if off := time.Since(theirs).Abs(); off > clockOff {
				found = append(found, Finding{
					Level: Warning, Says: fmt.Sprintf("the running server's clock is off by %v", off.Round(time.Second)),
					Remedy: "set the time of both hosts by NTP",
				})
			}
		}
	}
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	switch {
	case err != nil:
		found = append(found, Finding{Level: Unknown, Says: "adjtimex: " + err.Error()})
	case state == unix.TIME_ERROR || t.Status&unix.STA_UNSYNC != 0:
		found = append(found, Finding{
			Level: Warning, Says: "no time service keeps this clock: event times will be wrong, and servers in a cluster will disagree",
			Remedy: "apt-get install systemd-timesyncd or chrony",
		})
	default:
		found = append(found, Finding{Level: OK, Says: "kept by a time service"})
	}
	return found
}
