package access

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/server/door/reply"
)

// Paths that the guard itself answers or lets pass without a token.
const (
	PathLogin  = "/login"   // GET shows the form, POST takes the token
	PathLogout = "/logout"  // POST
	PathStatic = "/static/" // style, script and icon: the same in every gild
)

const (
	// admittedFor bounds one request, event streams above all: a reader comes
	// back by itself, and is asked anew who it is.
	admittedFor = 5 * time.Minute
	cookieName  = "gild-session"
)

// Guard stands before the operator API and the pages on a listener that
// others than this machine reach. Nothing passes it without the admin token
// or a session that was opened with it, except what it names above.
type Guard struct {
	Store Store
	// LoginPage shows the form: problem says why the last try failed, next is
	// where to go after it.
	LoginPage func(w http.ResponseWriter, status int, problem, next string)
	Now       func() time.Time // nil: time.Now
	Log       *slog.Logger     // nil: discard

	failures failures
	recent   recent
}

// recent is the Access of a moment ago, from which those are told that they
// are wrong who were too often: they make no more work than a comparison.
type recent struct {
	mu     sync.Mutex
	access Access
	loaded time.Time
}

// recentFor is how old it may be. Who is right by it is looked up all the same.
const recentFor = time.Second

// Wrap puts the guard before next.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+PathLogin, func(w http.ResponseWriter, r *http.Request) {
		g.LoginPage(w, http.StatusOK, "", localPath(r.URL.Query().Get("next")))
	})
	mux.HandleFunc("POST "+PathLogin, g.login)
	mux.Handle("GET "+PathStatic, next)
	mux.Handle("POST "+PathLogout, g.admit(http.HandlerFunc(g.logout)))
	mux.Handle("/", g.admit(next))
	return mux
}

// admit lets pass who has the token or a session.
func (g *Guard) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		right, ok := g.shown(r)
		status := http.StatusUnauthorized
		if ok {
			ok, status = g.try(r, right)
		}
		if !ok {
			g.refuse(w, r, status)
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		ctx, cancel := context.WithTimeout(r.Context(), admittedFor)
		defer cancel()
		defer g.lookAgain(ctx, right, cancel)()
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// shown is what tells whether what a request shows is right; false: it shows
// nothing.
func (g *Guard) shown(r *http.Request) (right func(*Access) bool, ok bool) {
	if bearer, has := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); has {
		return func(a *Access) bool { return a.has(bearer) }, true
	}
	// Another host of the domain can have planted one beside ours.
	cookies := r.CookiesNamed(sessionName(r))
	return func(a *Access) bool {
		return slices.ContainsFunc(cookies, func(c *http.Cookie) bool { return a.session(c.Value, g.now()) })
	}, len(cookies) > 0
}

// lookEvery is how soon a stream ends with the session that it was opened by,
// whichever server of a cluster ended that.
const lookEvery = 5 * time.Second

// lookAgain ends a request that continues when what it has shown is right no
// more. The caller calls stop.
func (g *Guard) lookAgain(ctx context.Context, right func(*Access) bool, end context.CancelFunc) (stop func()) {
	var again *time.Timer
	var mu sync.Mutex
	mu.Lock()
	defer mu.Unlock()
	again = time.AfterFunc(lookEvery, func() {
		access, err := g.loadRecent(ctx)
		if err == nil && !right(&access) {
			end()
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() == nil {
			again.Reset(lookEvery)
		}
	})
	return func() { again.Stop() }
}

// try tells whether who asks is right. A wrong try is counted, and who was
// wrong too often costs no look at the state any more; who is right is let in
// all the same, so that nobody is kept out by what others of a network do.
func (g *Guard) try(r *http.Request, right func(*Access) bool) (ok bool, status int) {
	if !g.failures.allow(r.RemoteAddr, g.now()) {
		if access, err := g.loadRecent(r.Context()); err == nil && !right(&access) {
			return false, http.StatusTooManyRequests
		}
	}
	access, err := g.Store.LoadAccess(r.Context())
	if err != nil {
		reply.LogFailure(r.Context(), g.log(), err, "path", r.URL.Path)
		return false, http.StatusServiceUnavailable
	}
	if right(&access) {
		return true, 0
	}
	g.failed(r)
	return false, http.StatusUnauthorized
}

// loadRecent returns an Access that is at most recentFor old.
func (g *Guard) loadRecent(ctx context.Context) (Access, error) {
	c := &g.recent
	c.mu.Lock()
	defer c.mu.Unlock()
	now := g.now()
	if age := now.Sub(c.loaded); age >= 0 && age < recentFor {
		return c.access, nil
	}
	access, err := g.Store.LoadAccess(ctx)
	if err == nil {
		c.access, c.loaded = access, now
	}
	return access, err
}

// refuse sends people to the form and tells programs what is missing.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, status int) {
	page := r.Method == http.MethodGet && strings.Contains(r.Header.Get("Accept"), "text/html")
	switch {
	case page && status != http.StatusServiceUnavailable:
		http.Redirect(w, r, PathLogin+"?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
	case status == http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="gild"`)
		reply.Problem(w, status, "the admin token is missing or wrong; send it as Authorization: Bearer TOKEN, gild reads it from GILD_TOKEN")
	case status == http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "60")
		reply.Problem(w, status, "too many wrong tokens or sessions from this address; wait a minute")
	default:
		w.Header().Set("Retry-After", reply.RetryAfter)
		reply.Problem(w, status, "the server could not tell now who may enter; try again")
	}
}

// login opens a session for who shows the token.
func (g *Guard) login(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	next := localPath(r.PostFormValue("next"))
	token := r.PostFormValue("token")
	switch ok, status := g.try(r, func(a *Access) bool { return a.has(token) }); {
	case ok:
	case status == http.StatusTooManyRequests:
		w.Header().Set("Retry-After", "60")
		g.LoginPage(w, status, "Too many wrong tokens from this address. Wait a minute.", next)
		return
	case status == http.StatusUnauthorized:
		g.LoginPage(w, status, "This is not the admin token.", next)
		return
	default:
		g.LoginPage(w, status, "The server could not open a session now. Try again.", next)
		return
	}
	secret := newSecret()
	now := g.now()
	if err := g.Store.ChangeAccess(r.Context(), func(a *Access) { a.open(secret, now) }); err != nil {
		reply.LogFailure(r.Context(), g.log(), err, "path", r.URL.Path)
		g.LoginPage(w, http.StatusServiceUnavailable, "The server could not open a session now. Try again.", next)
		return
	}
	g.log().Info("logged in", "client", r.RemoteAddr)
	http.SetCookie(w, sessionCookie(r, secret, int(sessionLasts/time.Second)))
	http.Redirect(w, r, next, http.StatusSeeOther)
}

func (g *Guard) logout(w http.ResponseWriter, r *http.Request) {
	if cookie, err := r.Cookie(sessionName(r)); err == nil {
		h := hash(cookie.Value)
		err := g.Store.ChangeAccess(r.Context(), func(a *Access) {
			var rest []Session
			for _, s := range a.Sessions {
				if s.Hash != h {
					rest = append(rest, s)
				}
			}
			a.Sessions = rest
		})
		if err != nil {
			reply.Fail(w, r, g.log(), err)
			return
		}
	}
	http.SetCookie(w, sessionCookie(r, "", -1))
	http.Redirect(w, r, PathLogin, http.StatusSeeOther)
}

// sessionName is the name of the cookie. Under TLS its prefix keeps other hosts
// of the domain from planting one (RFC 6265bis, 4.1.3.2).
func sessionName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-" + cookieName
	}
	return cookieName
}

// sessionCookie is for this host only, for no script, and for no request that
// another site began.
func sessionCookie(r *http.Request, value string, maxAge int) *http.Cookie {
	return &http.Cookie{
		Name: sessionName(r), Value: value, Path: "/", MaxAge: maxAge,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	}
}

// localPath keeps a redirect on this server: anything else becomes "/".
func localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(u.Path, "//") || strings.ContainsAny(next, "\\\r\n\t") {
		return "/"
	}
	return u.RequestURI()
}

func (g *Guard) failed(r *http.Request) {
	g.failures.note(r.RemoteAddr, g.now())
	g.log().Warn("wrong admin token or session", "client", r.RemoteAddr, "path", r.URL.Path)
}

func (g *Guard) now() time.Time {
	if g.Now != nil {
		return g.Now()
	}
	return time.Now()
}

func (g *Guard) log() *slog.Logger { return cmp.Or(g.Log, slog.New(slog.DiscardHandler)) }

// IsLoopback tells whether only this machine reaches a listener.
func IsLoopback(a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}
