// Package httpd answers HTTP: the boot network's by [Boot], the operators' by
// [Operator].
//
// It decides nothing and stores nothing: machines, images and boot files are
// behind the interfaces here, scripts behind functions.
package httpd

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
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

// Booter makes what a machine boots to receive an image. An image that cannot
// be booted or is not stored MUST be an error that is fs.ErrNotExist. The
// caller closes what it is given; the bytes for one image never change.
type Booter interface {
	Kernel(ctx context.Context, image golden.Digest) (io.ReadSeekCloser, error)
	Initramfs(ctx context.Context, image golden.Digest) (io.ReadSeekCloser, error)
	// Cmdline returns the image's own kernel command line.
	Cmdline(ctx context.Context, image golden.Digest) (string, error)
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

// writeProblem answers with an RFC 9457 problem. detail says what to do.
func writeProblem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Title: http.StatusText(status), Status: status, Detail: detail})
}

// retryAfter is what an answer that may be another one soon says, in seconds.
const retryAfter = "5"

// temporary tells whether asking again may help: the state says so of etcd,
// when that does not answer.
func temporary(err error) bool {
	t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err)
	return ok && t.Temporary()
}

// failed logs a failure of the server's own. One that passes is told as a
// warning: its cause is elsewhere, and every request of the room meets it.
func failed(ctx context.Context, log *slog.Logger, err error, args ...any) {
	level := slog.LevelError
	if temporary(err) {
		level = slog.LevelWarn
	}
	if ctx.Err() == nil {
		log.Log(ctx, level, "request failed", append(args, "err", err)...)
	}
}

// fail answers a request that the rooms behind could not: what is missing is
// 404, everything else is the server's own trouble and is logged.
func fail(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		writeProblem(w, http.StatusNotFound, err.Error())
		return
	}
	failed(r.Context(), log, err, "path", r.URL.Path, "client", r.RemoteAddr)
	w.Header().Set("Retry-After", retryAfter)
	writeProblem(w, http.StatusServiceUnavailable, "the server could not answer now, its log says why; try again")
}

// serveFile answers with content that never changes under its URL, whole or
// by one range. The caller has set Content-Type.
func serveFile(w http.ResponseWriter, r *http.Request, content io.ReadSeekCloser, etag string) {
	defer content.Close()
	// A thousand ranges in one request are an attack (CVE-2011-3192); nobody
	// who boots from here asks for two.
	if ranges := r.Header.Values("Range"); len(ranges) > 1 || strings.Contains(r.Header.Get("Range"), ",") {
		http.Error(w, "one range a request", http.StatusRequestedRangeNotSatisfiable)
		return
	}
	w.Header().Set("ETag", `"`+etag+`"`)
	http.ServeContent(&steadyWriter{ResponseWriter: w, ctl: http.NewResponseController(w)}, r, "", time.Time{}, content)
}

// answerWithin bounds an answer of a few pieces. A handler that sends a file
// or a stream gives each piece a deadline of its own, as it goes.
const answerWithin = 6 * time.Minute

// NewServer is an HTTP server whose limits suit both listeners: a client must
// get to the point quickly, but may take its time over a large file.
func NewServer(h http.Handler, gate *Gate, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           punctual(h),
		ReadHeaderTimeout: 10 * time.Second,
		WriteTimeout:      answerWithin,
		IdleTimeout:       90 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ConnState:         gate.State,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// `OPTIONS *` is for the handler to refuse, as anything else.
		DisableGeneralOptionsHandler: true,
	}
}
