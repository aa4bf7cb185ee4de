// Package dashboard is the room of machines as a person sees it: pages made on
// the server, which read without a script.
//
// A page is one Go view and one template. The script knows nothing of
// machines: when the event stream tells of a change it fetches the page again
// and takes over what differs, so that there is one place that says how a
// machine looks. Everything that a machine said is data: html/template
// escapes it and [cut] bounds it, and the content security policy leaves no
// place where a script of another could run.
package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"errors"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// Room is what the pages ask and do. A name is anything that a machine is
// known by. Refusals are the typed errors of fleet.
type Room interface {
	Machines(ctx context.Context, selector string) ([]api.Machine, error)
	Machine(ctx context.Context, name string) (api.Machine, error)
	Register(ctx context.Context, actor string, spec api.Spec) (api.Machine, error)
	Edit(ctx context.Context, actor, name, revision string, spec api.Spec) (api.Machine, error)
	Delete(ctx context.Context, actor, name string, force bool) error
	Preview(ctx context.Context, name string, f api.FlashRequest) (api.Preview, error)
	Flash(ctx context.Context, actor, name string, f api.FlashRequest) (api.Machine, error)
	Cancel(ctx context.Context, actor, name string, force bool) (api.Machine, error)
	Events(ctx context.Context, name string) ([]api.Event, error)
	Flashes(ctx context.Context, name string) ([]api.Flash, error)
	Log(ctx context.Context, limit int, audit bool) ([]api.LogEntry, error)
	Servers(ctx context.Context) ([]api.Server, error)
	StateUsage(ctx context.Context) (api.StateUsage, error)
}

// Images lists the stored images.
type Images interface {
	List(ctx context.Context) ([]api.Image, error)
}

// Dashboard makes the pages. It asks nobody who they are: the guard of the
// operator API stands before it.
type Dashboard struct {
	Room    Room
	Images  Images
	Version string
	// Facts are those of this server, for its page; nil: there are none.
	Facts func() []Fact
	// Guarded shows the way out: people came in by the admin token.
	Guarded bool
	// HTTPS says that browsers reach the pages by TLS.
	HTTPS bool
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: discard
}

//go:embed pages static
var files embed.FS

// policy lets a page load its own style and script and talk to its own
// server, nothing else (CSP level 3).
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// Routes are the patterns that Handler answers.
func (d *Dashboard) Routes() map[string]http.HandlerFunc {
	edit, selected := editing{d}, selecting{d}
	return map[string]http.HandlerFunc{
		"GET /{$}":                        d.page(d.room),
		"GET /machines/{machine}":         d.page(d.machine),
		"GET /machines/{machine}/arm":     d.page(d.armForm),
		"POST /machines/{machine}/arm":    d.arm,
		"POST /machines/{machine}/cancel": d.cancel,
		"GET /machines/add":               d.page(edit.addForm),
		"POST /machines/add":              edit.add,
		"GET /machines/{machine}/edit":    d.page(edit.editForm),
		"POST /machines/{machine}/edit":   edit.edit,
		"POST /machines/{machine}/forget": edit.forget,
		"GET /machines/{machine}/console": d.console,
		"POST /selected":                  selected.ask,
		"POST /selected/flash":            selected.flash,
		"POST /selected/cancel":           selected.cancel,
		"POST /selected/label":            selected.label,
		"GET /images":                     d.page(d.images),
		"GET /log":                        d.page(d.log),
		"GET /servers":                    d.page(d.servers),
	}
}

// Handler answers the pages and what they load.
func (d *Dashboard) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, h := range d.Routes() {
		mux.HandleFunc(pattern, h)
	}
	none := func(w http.ResponseWriter, _ *http.Request) {
		d.problem(w, http.StatusNotFound, "There is no such page.")
	}
	static, _ := fs.Sub(files, "static") // embedded: it is there
	loaded := http.StripPrefix("/static/", http.FileServerFS(static))
	mux.HandleFunc("GET /static/{file}", func(w http.ResponseWriter, r *http.Request) {
		// Files by their names, and nothing else: no list of them.
		if info, err := fs.Stat(static, r.PathValue("file")); err != nil || !info.Mode().IsRegular() {
			none(w, r)
			return
		}
		loaded.ServeHTTP(w, r)
	})
	mux.HandleFunc("/", none)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.secure(w)
		mux.ServeHTTP(w, r)
	})
}

func (d *Dashboard) secure(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	if d.HTTPS { // over plain HTTP browsers ignore it, and log an error for each page
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
	}
	h.Set("Cache-Control", "no-cache")
}

// frame is what every page has around its own.
type frame struct {
	Title   string
	Section string // the entry of the navigation that it belongs to
	// Live names what changes the page: words of api.Change.Kind; empty: it
	// stays as it is. LiveID narrows it to one machine.
	Live, LiveID string
	Version      string
	Guarded      bool
	Body         any
}

// view makes one page: the name of its template and what goes into it.
type view func(r *http.Request) (name string, f frame, err error)

func (d *Dashboard) page(v view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name, f, err := v(r)
		if err != nil {
			d.fail(w, r, err)
			return
		}
		d.render(w, http.StatusOK, name, f)
	}
}

func (d *Dashboard) render(w http.ResponseWriter, status int, name string, f frame) {
	f.Version, f.Guarded = d.Version, d.Guarded
	// Half a page is worse than an error: it is made before it is sent.
	var out bytes.Buffer
	t, err := parse(name)
	if err == nil {
		err = t.ExecuteTemplate(&out, "frame", f)
	}
	if err != nil {
		d.logger().Error("making a page", "page", name, "err", err)
		http.Error(w, "the page could not be made, the server's log says why", http.StatusInternalServerError)
		return
	}
	d.secure(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = out.WriteTo(w)
}

func parse(name string) (*template.Template, error) {
	return template.New(name).Funcs(words()).ParseFS(files, "pages/frame.html", "pages/settings.html", "pages/"+name+".html")
}

// fail shows an error with what the operator can do.
func (d *Dashboard) fail(w http.ResponseWriter, r *http.Request, err error) {
	status, text := d.explain(r, err)
	d.problem(w, status, text)
}

func (d *Dashboard) explain(r *http.Request, err error) (status int, text string) {
	text = err.Error()
	if h, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		text += "; " + h.Hint()
	}
	if _, ok := errors.AsType[*fleet.UnknownError](err); ok {
		return http.StatusNotFound, text
	}
	if _, ok := errors.AsType[*fleet.InvalidError](err); ok {
		return http.StatusUnprocessableEntity, text
	}
	if _, ok := errors.AsType[*fleet.BusyError](err); ok {
		return http.StatusConflict, text
	}
	if _, ok := errors.AsType[*fleet.AmbiguousError](err); ok {
		return http.StatusConflict, text
	}
	if _, ok := errors.AsType[*fleet.ConflictError](err); ok {
		return http.StatusConflict, text
	}
	status, level := http.StatusInternalServerError, slog.LevelError
	if t, ok := errors.AsType[interface {
		error
		Temporary() bool
	}](err); ok && t.Temporary() {
		status, level = http.StatusServiceUnavailable, slog.LevelWarn
	}
	if r.Context().Err() == nil {
		d.logger().Log(r.Context(), level, "page failed", "path", r.URL.Path, "err", err)
	}
	return status, text
}

func (d *Dashboard) problem(w http.ResponseWriter, status int, text string) {
	d.render(w, status, "problem", frame{Title: http.StatusText(status), Body: text})
}

// LoginPage shows the form that takes the admin token.
func (d *Dashboard) LoginPage(w http.ResponseWriter, status int, problem, next string) {
	d.render(w, status, "login", frame{Title: "Log in", Section: "login", Body: struct{ Problem, Next string }{problem, next}})
}

func (d *Dashboard) now() time.Time {
	if d.Now != nil {
		return d.Now()
	}
	return time.Now()
}

func (d *Dashboard) logger() *slog.Logger { return cmp.Or(d.Log, slog.New(slog.DiscardHandler)) }

// machinePath is where a machine's page is.
func machinePath(id string) string { return "/machines/" + url.PathEscape(id) }
