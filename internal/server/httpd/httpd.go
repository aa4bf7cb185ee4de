// Package httpd answers HTTP: the boot network's by [Boot], the operators' by
// [Operator].
//
// It decides nothing and stores nothing: machines, images and what machines boot
// are behind the interfaces here, scripts behind functions.
package httpd

import (
	"context"
	"io"
	"log/slog"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// Machines is what the boot network asks about machines. What it is given was
// checked: MACs are in the form of wire.ParseMAC, text is clean.
type Machines interface {
	// Seen notes that the machine fetched something.
	Seen(ctx context.Context, s fleet.Sighting) error
	// Boot decides what the machine boots that who describes, and that asks from
	// the IP address from.
	Boot(ctx context.Context, who api.Inventory, from string) (fleet.Decision, error)
	// Hello answers an agent that speaks from the IP address from, maybe after
	// a while.
	Hello(ctx context.Context, h api.Hello, from string) (api.Answer, error)
	// Report takes events; a *fleet.SessionError refuses them for good, a
	// *fleet.EarlyError until its agent has said hello.
	Report(ctx context.Context, r api.Report, from string) error
	// Identity gives the agent that holds a plan what its clone is to be,
	// false when that is nothing. Any other agent gets a *fleet.SessionError.
	Identity(ctx context.Context, r api.IdentityRequest, from string) (api.Identity, bool, error)
	// Beacon takes the call of a new system; false: nobody waits for it.
	Beacon(ctx context.Context, token, from string) (bool, error)
}

// Images is the store as it is read. What is not stored MUST be an error that
// is fs.ErrNotExist.
type Images interface {
	List(ctx context.Context) ([]api.Image, error)
	// Resolve returns the digest of the manifest that the name stands for now.
	Resolve(ctx context.Context, name string) (golden.Digest, error)
	// Describe returns what List shows of one image, by name or digest.
	Describe(ctx context.Context, name string) (api.Image, error)
	// Blob opens any stored content, manifests too. The caller closes it.
	Blob(ctx context.Context, d golden.Digest) (io.ReadSeekCloser, error)
}

// Specs tells what machines boot.
type Specs interface {
	// Spec is what one machine boots, or why it cannot be booted.
	Spec(ctx context.Context, q bootspec.Question) (bootspec.Spec, error)
	// Open opens a file of a spec, by the source of the spec. What is not there
	// MUST be an error that is fs.ErrNotExist. The caller closes the file.
	Open(ctx context.Context, from golden.Digest, file string) (bootspec.File, error)
}

// Scripts writes what iPXE is told. All three escape what they are given.
type Scripts struct {
	// Chain goes to the script at url, with the machine's mac, uuid, serial,
	// manufacturer, product, arch and platform as its query.
	Chain func(url string) ([]byte, error)
	// LocalDisk boots the local disk; why is shown on the console.
	LocalDisk func(why string) []byte
	// Boot boots a kernel; again is the URL to ask anew after a failure.
	Boot func(kernel, initrd, cmdline, why, again string) ([]byte, error)
}

// weight keeps agents that wait, each of which says hello every twenty seconds,
// out of the log.
func weight(a api.Answer) slog.Level {
	if a.Action == api.ActionWait {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}
