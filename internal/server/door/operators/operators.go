// Package operators answers operators: their API, with the pages beside it.
//
// It decides nothing and stores nothing: machines and images are behind the
// interfaces here.
package operators

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/door/reply"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/apply"
	"github.com/gild-dev/gild/internal/server/turns"
)

// Control is what operators do to machines. A name is anything that a machine
// is known by; an actor is an api.ActorOperator, maybe more closely named.
// Refusals are the typed errors of fleet.
type Control interface {
	Machines(ctx context.Context, selector string) ([]api.Machine, error)
	Machine(ctx context.Context, name string) (api.Machine, error)
	Register(ctx context.Context, actor string, spec api.Spec) (api.Machine, error)
	// Edit refuses when the spec is not of the revision that was read; empty:
	// whatever it is.
	Edit(ctx context.Context, actor, name, revision string, spec api.Spec) (api.Machine, error)
	// Delete and Cancel refuse while a live agent writes the disk, unless they
	// are forced: the disk does not boot then.
	Delete(ctx context.Context, actor, name string, force bool) error
	Preview(ctx context.Context, name string, f api.FlashRequest) (api.Preview, error)
	Flash(ctx context.Context, actor, name string, f api.FlashRequest) (api.Machine, error)
	Cancel(ctx context.Context, actor, name string, force bool) (api.Machine, error)
	// RemoveImages removes all or none, and refuses one that something names
	// unless it is forced.
	RemoveImages(ctx context.Context, actor string, names []string, force bool) ([]api.RemovedImage, error)
	// RemoveNamed removes a group or an identity (api.KindGroup, KindIdentity),
	// and refuses one that something names unless it is forced.
	RemoveNamed(ctx context.Context, actor, kind, name string, force bool) (api.Removed, error)
	Events(ctx context.Context, name string) ([]api.Event, error)
	Flashes(ctx context.Context, name string) ([]api.Flash, error)
	Applied(ctx context.Context) (api.Applied, error)
	// Apply refuses with a *apply.BadFilesError, and nothing is changed then.
	Apply(ctx context.Context, actor string, f api.Fleet, dryRun bool) (api.FleetDiff, error)
	// Log has only what operators and the server did, and receipts, for audit.
	Log(ctx context.Context, limit int, audit bool) ([]api.LogEntry, error)
	Servers(ctx context.Context) ([]api.Server, error)
	StateUsage(ctx context.Context) (api.StateUsage, error)
	// Follow calls send with every change after the one with the given id, in
	// order, until ctx ends or send fails; none, or an id that is too long ago,
	// begins with a reset and all machines. A change without an id is not yet
	// a place to continue from.
	Follow(ctx context.Context, after string, send func(id string, c api.Change) error) error
}

// PathMetrics is what a monitoring system reads, for operators only.
const PathMetrics = "/metrics"

// Images is the store as operators see it. What is not stored MUST be an error
// that is fs.ErrNotExist.
type Images interface {
	List(ctx context.Context) ([]api.Image, error)
}

// Door lets operators in. Without a Guard it is safe only on a loopback
// listener, from which it keeps web pages out.
type Door struct {
	Control Control
	Images  Images
	// Inspector looks closely at one image; nil: nobody does.
	Inspector Inspector
	Uploads   Uploads // nil: none are taken
	Power     Power   // nil: it is not controlled
	Version   string  // of gild, for the OpenAPI document
	// Pages answers the paths that are not the API's, behind the same guards;
	// nil: not found.
	Pages http.Handler
	// Metrics answers a scrape at /metrics; nil: not found.
	Metrics http.Handler
	// Guard asks who it is; nil: nobody does, and the listener is loopback.
	Guard *access.Guard
	// Loopback says that only this machine reaches the listener. What comes
	// there for another, or was forwarded by a program, is refused.
	Loopback bool
	Log      *slog.Logger // nil: discard
}

type (
	byName struct {
		Name string `path:"machine" doc:"name, MAC in any common spelling, SMBIOS UUID or serial" maxLength:"128"`
	}
	forceInput struct {
		Name  string `path:"machine" doc:"name, MAC in any common spelling, SMBIOS UUID or serial" maxLength:"128"`
		Force bool   `query:"force" doc:"also while its disk is being written: the agent stops at its next word, and the disk does not boot"`
	}
	flashInput struct {
		Name string `path:"machine" doc:"name, MAC in any common spelling, SMBIOS UUID or serial" maxLength:"128"`
		Body api.FlashRequest
	}
	specInput struct {
		Name     string `path:"machine" doc:"name, MAC in any common spelling, SMBIOS UUID or serial" maxLength:"128"`
		Revision string `query:"revision" doc:"specRevision of what was read: when the spec is another by now, nothing is changed and the answer is 409" maxLength:"64"`
		Body     api.Spec
	}
	newInput  struct{ Body api.Spec }
	listInput struct {
		Selector string `query:"selector" doc:"which machines, such as rack=b7,role!=db; all when it is empty" maxLength:"512"`
	}
	logInput struct {
		Limit int  `query:"limit" doc:"how many events at most" minimum:"0" maximum:"1000" default:"100"`
		Audit bool `query:"audit" doc:"only what operators and the server did, and receipts: it outlives the machines"`
	}
	body[T any] struct{ Body T }
)

// Handler returns the handler of the operator API, with the document that
// describes it at /openapi.json.
func (d *Door) Handler() http.Handler {
	h := d.Unguarded()
	if d.Guard != nil {
		h = d.Guard.Wrap(h)
	}
	if d.Guard == nil || d.Loopback {
		h = loopbackOnly(h)
	}
	return ownOrigin(h)
}

// Unguarded is the handler for a listener that lets in nobody who may not do
// all of it.
func (d *Door) Unguarded() http.Handler {
	mux := http.NewServeMux()
	config := document(d.Version)
	// The page for reading the document loads scripts from elsewhere, and
	// links to schemas are noise in a terminal.
	config.DocsPath, config.CreateHooks = "", nil
	config.Transformers = []huma.Transformer{spellOut}
	h := humago.New(mux, config)
	register := operations{h, cmp.Or(d.Log, slog.New(slog.DiscardHandler))}
	d.machines(register)
	d.stream(register)
	if d.Power != nil {
		d.power(register)
	}
	if d.Uploads != nil {
		d.uploads(register)
	}
	finish(h.OpenAPI())
	if d.Metrics != nil {
		mux.Handle("GET "+PathMetrics, d.Metrics)
	}
	if d.Pages != nil {
		mux.Handle("/", d.Pages)
	}
	// What an operator wants of a machine goes before what its agents want.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux.ServeHTTP(w, r.WithContext(turns.Ahead(r.Context())))
	})
}

func (d *Door) machines(r operations) {
	d.records(r)
	d.flashes(r)
	d.fleet(r)
	d.images(r)
	handle(r, http.MethodGet, api.PathEventLog, "list-log", "The newest events of all machines",
		func(ctx context.Context, in *logInput) (api.Log, error) {
			entries, err := d.Control.Log(ctx, in.Limit, in.Audit)
			return api.Log{Entries: orEmpty(entries)}, err
		})
	handle(r, http.MethodGet, api.PathServers, "list-servers", "The servers of this cluster",
		func(ctx context.Context, _ *struct{}) (api.Servers, error) {
			servers, err := d.Control.Servers(ctx)
			return api.Servers{Servers: orEmpty(servers)}, err
		})
	handle(r, http.MethodGet, api.PathState, "get-state-usage", "How full the database of the state is",
		func(ctx context.Context, _ *struct{}) (api.StateUsage, error) {
			return d.Control.StateUsage(ctx)
		})
}

// records registers what is done to what is known of machines.
func (d *Door) records(r operations) {
	handle(r, http.MethodGet, api.PathMachines, "list-machines", "The machines that are known",
		func(ctx context.Context, in *listInput) (api.Machines, error) {
			list, err := d.Control.Machines(ctx, in.Selector)
			return api.Machines{Machines: orEmpty(list)}, err
		})
	handle(r, http.MethodPost, api.PathMachines, "register-machine", "Make a machine known",
		func(ctx context.Context, in *newInput) (api.Machine, error) {
			return d.Control.Register(ctx, actor(ctx), in.Body)
		})
	handle(r, http.MethodGet, api.PathMachine, "get-machine", "One machine", func(ctx context.Context, in *byName) (api.Machine, error) {
		return d.Control.Machine(ctx, in.Name)
	})
	handle(r, http.MethodPut, api.PathMachine, "edit-machine", "Replace what is said of a machine",
		func(ctx context.Context, in *specInput) (api.Machine, error) {
			return d.Control.Edit(ctx, actor(ctx), in.Name, in.Revision, in.Body)
		})
	huma.Register(r.api, operation(http.MethodDelete, api.PathMachine, "delete-machine", "Forget a machine"),
		func(ctx context.Context, in *forceInput) (*struct{}, error) {
			return nil, r.problem(ctx, d.Control.Delete(ctx, actor(ctx), in.Name, in.Force))
		})
	handle(r, http.MethodGet, api.PathMachineEvents, "list-events", "The past of one machine",
		func(ctx context.Context, in *byName) (api.Events, error) {
			events, err := d.Control.Events(ctx, in.Name)
			return api.Events{Events: orEmpty(events)}, err
		})
}

// flashes registers what leads to a flash, and what came of it.
func (d *Door) flashes(r operations) {
	handle(r, http.MethodPost, api.PathPreview, "preview-flash", "What an arm would do; arms nothing",
		func(ctx context.Context, in *flashInput) (api.Preview, error) {
			return d.Control.Preview(ctx, in.Name, in.Body)
		})
	handle(r, http.MethodPost, api.PathFlash, "flash-machine", "Arm a machine for one flash",
		func(ctx context.Context, in *flashInput) (api.Machine, error) {
			return d.Control.Flash(ctx, actor(ctx), in.Name, in.Body)
		})
	handle(r, http.MethodPost, api.PathCancel, "cancel-machine", "Take an arm back",
		func(ctx context.Context, in *forceInput) (api.Machine, error) {
			return d.Control.Cancel(ctx, actor(ctx), in.Name, in.Force)
		})
	handle(r, http.MethodGet, api.PathFlashes, "list-flashes", "The flashes of one machine, the newest first",
		func(ctx context.Context, in *byName) (api.Flashes, error) {
			flashes, err := d.Control.Flashes(ctx, in.Name)
			return api.Flashes{Flashes: orEmpty(flashes)}, err
		})
}

// actor is who asks. There are no accounts yet: all are the operator.
func actor(context.Context) string { return api.ActorOperator }

// orEmpty makes an empty list [] and not null.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// operations registers operations that fail in one way.
type operations struct {
	api huma.API
	log *slog.Logger
}

func operation(method, path, id, summary string) huma.Operation {
	return huma.Operation{
		Method: method, Path: path, OperationID: id, Summary: summary, MaxBodyBytes: api.MaxBody,
		Tags: []string{tagOf(path)}, Errors: failures(method, path),
	}
}

func handle[I, O any](r operations, method, path, id, summary string, do func(context.Context, *I) (O, error)) {
	huma.Register(r.api, operation(method, path, id, summary), func(ctx context.Context, in *I) (*body[O], error) {
		out, err := do(ctx, in)
		if err != nil {
			return nil, r.problem(ctx, err)
		}
		return &body[O]{out}, nil
	})
}

// problem puts an error into the words of HTTP. What the operator can do
// stands in the detail.
func (r operations) problem(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	detail := err.Error()
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		detail += "; " + h.Hint()
	}
	if _, ok := errors.AsType[*fleet.UnknownError](err); ok {
		return huma.Error404NotFound(detail)
	}
	if _, ok := errors.AsType[*fleet.BusyError](err); ok {
		return huma.Error409Conflict(detail)
	}
	if _, ok := errors.AsType[*fleet.AmbiguousError](err); ok {
		return huma.Error409Conflict(detail)
	}
	if _, ok := errors.AsType[*fleet.ConflictError](err); ok {
		return huma.Error409Conflict(detail)
	}
	if _, ok := errors.AsType[*fleet.InvalidError](err); ok {
		return huma.Error422UnprocessableEntity(detail)
	}
	if wrong, ok := errors.AsType[*apply.BadFilesError](err); ok {
		details := make([]error, len(wrong.Fields))
		for i, f := range wrong.Fields {
			details[i] = &huma.ErrorDetail{Location: "body." + f.Path, Message: f.Err.Error()}
		}
		return huma.Error422UnprocessableEntity("the fleet cannot be as the files say", details...)
	}
	if errors.Is(err, store.ErrRoom) {
		return huma.NewError(http.StatusInsufficientStorage, detail+"; gild image rm removes images")
	}
	reply.LogFailure(ctx, r.log, err, "who", api.ActorOperator)
	if reply.Temporary(err) {
		return huma.ErrorWithHeaders(huma.Error503ServiceUnavailable(detail), http.Header{"Retry-After": {reply.RetryAfter}})
	}
	return huma.Error500InternalServerError(detail)
}

// spellOut puts what huma found wrong with a request into the detail, which
// is what a person is shown.
func spellOut(_ huma.Context, _ string, v any) (any, error) {
	if m, ok := v.(*huma.ErrorModel); ok {
		for _, e := range m.Errors {
			m.Detail += "; " + strings.TrimPrefix(e.Location, "body.") + ": " + e.Message
			e.Value = nil // it may be a secret, and is the sender's own
		}
	}
	return v, nil
}
