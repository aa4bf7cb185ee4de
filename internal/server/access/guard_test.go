package access_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/door/doortest"
	"github.com/gild-dev/gild/internal/server/door/operators"
)

// memAccess keeps an access.Access in memory.
type memAccess struct {
	mu    sync.Mutex
	a     access.Access
	loads int
}

func (m *memAccess) LoadAccess(context.Context) (access.Access, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loads++
	return m.a, nil
}

func (m *memAccess) ChangeAccess(_ context.Context, change func(*access.Access)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.a)
	return nil
}

// room is a guarded operator API with a clock of its own and a log.
type room struct {
	url, token string
	access     *memAccess
	now        time.Time
	log        *bytes.Buffer
	routes     []string // "METHOD /path"
}

func guarded(t *testing.T) *room {
	t.Helper()
	r := &room{access: &memAccess{}, now: time.Now(), log: &bytes.Buffer{}}
	var err error
	if r.token, err = access.EnsureToken(t.Context(), r.access); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(r.log, nil))
	guard := &access.Guard{
		Store: r.access,
		LoginPage: func(w http.ResponseWriter, status int, problem, next string) {
			w.WriteHeader(status)
			fmt.Fprintf(w, "form %s %s", problem, next)
		},
		Now: func() time.Time { return r.now },
		Log: log,
	}
	pages := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "page") })
	o := operators.Door{Images: noImages{}, Pages: pages, Guard: guard, Log: log}
	srv := httptest.NewServer(o.Handler())
	t.Cleanup(srv.Close)
	r.url = srv.URL
	r.routes = documented(t, o.Unguarded())
	return r
}

// documented lists every operation that the API documents.
func documented(t *testing.T, h http.Handler) []string {
	t.Helper()
	srv := httptest.NewServer(h)
	defer srv.Close()
	_, text := doortest.Request(t, "GET", srv.URL+"/openapi.json", "")
	var doc struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var routes []string
	for path, item := range doc.Paths {
		for method := range item {
			routes = append(routes, strings.ToUpper(method)+" "+strings.ReplaceAll(path, "{machine}", "x"))
		}
	}
	return routes
}

// noImages is a store without images.
type noImages struct{ operators.Images }

func (noImages) List(context.Context) ([]api.Image, error) { return nil, nil }

func TestNothingWithoutToken(t *testing.T) {
	r := guarded(t)
	if len(r.routes) < 6 {
		t.Fatalf("only %d routes found", len(r.routes))
	}
	routes := append(r.routes, "GET /", "GET /openapi.json", "GET /openapi.yaml", "GET /machines/x", "POST /machines/x/arm",
		"GET /metrics", "GET /schemas/Change.json", "POST /logout", "PUT /login", "GET /static/../api/v1/machines", "GET //api/v1/images",
		"GET /nothing")
	for _, route := range routes {
		method, path, _ := strings.Cut(route, " ")
		for _, header := range [][]string{
			nil,
			{"Authorization", "Bearer "},
			{"Authorization", "Basic " + r.token},
			{"Cookie", access.CookieName + "="},
			{"Cookie", access.CookieName + "=" + r.access.a.Token}, // what is kept opens nothing
		} {
			resp, body := doortest.Request(t, method, r.url+path, "", header...)
			if resp.StatusCode < 300 || body == "page" {
				t.Errorf("%s with %q: got %d %.40q; want a refusal", route, header, resp.StatusCode, body)
			}
			r.now = r.now.Add(access.FailureWindow) // not what is tested here
		}
	}
}

func TestBearer(t *testing.T) {
	r := guarded(t)
	for _, tt := range []struct {
		header []string
		want   int
	}{
		{[]string{"Authorization", "Bearer " + r.token}, 200},
		{[]string{"Authorization", "Bearer " + r.token, "Host", "gild.example"}, 200},
		{[]string{"Authorization", "Bearer " + r.token, "Origin", "http://evil.example"}, 403},
		{[]string{"Authorization", "Bearer " + r.token + "x"}, 401},
		{[]string{"Authorization", "Bearer " + r.access.a.Token}, 401},
		{nil, 401},
	} {
		if resp, _ := doortest.Request(t, "GET", r.url+"/api/v1/images", "", tt.header...); resp.StatusCode != tt.want {
			t.Errorf("GET with %q = %d; want %d", tt.header, resp.StatusCode, tt.want)
		}
	}
	if strings.Contains(r.log.String(), r.token) {
		t.Error("the token is in the log")
	}
}

func login(t *testing.T, r *room, token, next string, header ...string) (*http.Response, string) {
	t.Helper()
	form := url.Values{"token": {token}, "next": {next}}.Encode()
	return doortest.Request(t, "POST", r.url+access.PathLogin, form, append(header, "Content-Type", "application/x-www-form-urlencoded")...)
}

func TestSession(t *testing.T) {
	r := guarded(t)
	resp, _ := doortest.Request(t, "GET", r.url+"/machines/x?a=b", "", "Accept", "text/html")
	if got, want := resp.Header.Get("Location"), "/login?next=%2Fmachines%2Fx%3Fa%3Db"; got != want {
		t.Errorf("a page without session goes to %q; want %q", got, want)
	}
	resp, _ = login(t, r, r.token, "/machines/x")
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/machines/x" || len(resp.Cookies()) != 1 {
		t.Fatalf("login = %d %v", resp.StatusCode, resp.Header)
	}
	c := resp.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
		t.Errorf("cookie %v is not HttpOnly, SameSite=Strict, for /", c)
	}
	cookie := c.Name + "=" + c.Value
	if strings.Contains(fmt.Sprint(r.access.a), c.Value) {
		t.Error("the session's secret is kept as it is")
	}
	get := func() int {
		resp, _ := doortest.Request(t, "GET", r.url+"/api/v1/images", "", "Cookie", cookie)
		return resp.StatusCode
	}
	if got := get(); got != 200 {
		t.Errorf("with session = %d; want 200", got)
	}
	for _, foreign := range [][]string{{"Origin", "http://evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		resp, _ := doortest.Request(t, "POST", r.url+access.PathLogout, "", append(foreign, "Cookie", cookie)...)
		if resp.StatusCode != 403 {
			t.Errorf("POST of a foreign page with %q = %d; want 403", foreign, resp.StatusCode)
		}
	}
	r.now = r.now.Add(access.SessionLasts - time.Second)
	if got := get(); got != 200 {
		t.Errorf("just before it expires = %d; want 200", got)
	}
	r.now = r.now.Add(time.Second)
	if got := get(); got != 401 {
		t.Errorf("expired = %d; want 401", got)
	}
}

func TestSessionEnds(t *testing.T) {
	for name, end := range map[string]func(r *room, cookie string){
		"logout": func(r *room, cookie string) {
			doortest.Request(t, "POST", r.url+access.PathLogout, "", "Cookie", cookie)
		},
		"new token": func(r *room, _ string) {
			if _, err := access.ReplaceToken(t.Context(), r.access); err != nil {
				t.Fatal(err)
			}
		},
	} {
		r := guarded(t)
		resp, _ := login(t, r, r.token, "")
		cookie := access.CookieName + "=" + resp.Cookies()[0].Value
		end(r, cookie)
		if resp, _ := doortest.Request(t, "GET", r.url+"/api/v1/images", "", "Cookie", cookie); resp.StatusCode != 401 {
			t.Errorf("after %s = %d; want 401", name, resp.StatusCode)
		}
	}
}

// Who was wrong too often is told so without a look at the state, by whatever
// it was wrong; who is right is let in, whatever others of that address do.
func TestLimit(t *testing.T) {
	for name, wrong := range map[string]func(*testing.T, *room) int{
		"login": func(t *testing.T, r *room) int {
			resp, _ := login(t, r, "wrong", "")
			return resp.StatusCode
		},
		"bearer": func(t *testing.T, r *room) int {
			resp, _ := doortest.Request(t, "GET", r.url+"/api/v1/images", "", "Authorization", "Bearer wrong")
			return resp.StatusCode
		},
		"cookie": func(t *testing.T, r *room) int {
			resp, _ := doortest.Request(t, "GET", r.url+"/api/v1/images", "", "Cookie", access.CookieName+"=wrong")
			return resp.StatusCode
		},
		"logout": func(t *testing.T, r *room) int {
			resp, _ := doortest.Request(t, "POST", r.url+access.PathLogout, "", "Cookie", access.CookieName+"=wrong")
			return resp.StatusCode
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := guarded(t)
			resp, _ := login(t, r, r.token, "")
			session := access.CookieName + "=" + resp.Cookies()[0].Value
			for range access.MaxFailures {
				if got := wrong(t, r); got != 401 {
					t.Fatalf("wrong = %d; want 401", got)
				}
			}
			before := r.access.loads
			for range 5 * access.MaxFailures {
				if got := wrong(t, r); got != 429 {
					t.Fatalf("after %d failures = %d; want 429", access.MaxFailures, got)
				}
			}
			if got := r.access.loads - before; got > 1 {
				t.Errorf("%d more tries read the state %d times; want once", 5*access.MaxFailures, got)
			}
			if resp, _ := login(t, r, r.token, ""); resp.StatusCode != 303 {
				t.Errorf("the right token at the login = %d; want 303", resp.StatusCode)
			}
			for _, right := range [][]string{
				{"Authorization", "Bearer " + r.token},
				{"Cookie", session},
				{"Cookie", access.CookieName + "=planted; " + session},
			} {
				if resp, _ := doortest.Request(t, "GET", r.url+"/api/v1/images", "", right...); resp.StatusCode != 200 {
					t.Errorf("right by %s = %d; want 200", right[0], resp.StatusCode)
				}
			}
			// A new token counts at once.
			old := r.token
			var err error
			if r.token, err = access.ReplaceToken(t.Context(), r.access); err != nil {
				t.Fatal(err)
			}
			if resp, _ := doortest.Request(t, "GET", r.url+"/api/v1/images", "", "Authorization", "Bearer "+old); resp.StatusCode < 400 {
				t.Errorf("the old token = %d; want a refusal", resp.StatusCode)
			}
			r.now = r.now.Add(access.FailureWindow)
			if got := wrong(t, r); got != 401 {
				t.Errorf("a minute later = %d; want 401", got)
			}
		})
	}
}

// A token is told also where the store answers too late that it is kept.
func TestTokenIsToldAfterATimeout(t *testing.T) {
	for _, made := range []bool{true, false} {
		for name, do := range map[string]func(context.Context, access.Store) (string, error){
			"first": access.EnsureToken,
			"new":   access.ReplaceToken,
		} {
			store := &lateAccess{made: made}
			token, err := do(t.Context(), store)
			if told := err == nil && store.a.Has(token); told != made {
				t.Errorf("%s token, kept %v: told %q, %v", name, made, token, err)
			}
		}
	}
}

// lateAccess fails each change, made or not.
type lateAccess struct {
	memAccess
	made bool
}

func (l *lateAccess) ChangeAccess(ctx context.Context, change func(*access.Access)) error {
	if l.made {
		_ = l.memAccess.ChangeAccess(ctx, change)
	}
	return errors.New("too late")
}

func TestEnsureTokenOnce(t *testing.T) {
	store := &memAccess{}
	var wg sync.WaitGroup
	tokens := make(chan string, 8)
	for range 8 {
		wg.Go(func() {
			token, err := access.EnsureToken(t.Context(), store)
			if err != nil {
				t.Error(err)
			}
			if token != "" {
				tokens <- token
			}
		})
	}
	wg.Wait()
	if len(tokens) != 1 {
		t.Fatalf("%d servers made a token; want 1", len(tokens))
	}
	token := <-tokens
	if a := store.a; !a.Has(token) || strings.Contains(a.Token, token) || len(token) != len("gild-")+43 {
		t.Errorf("token %q is not the one that is kept as %q", token, a.Token)
	}
}

// A navigation to a page is let pass whatever site it came from: a link in a
// chat. What a page loads as its own part is not.
func TestNavigation(t *testing.T) {
	r := guarded(t)
	link := []string{"Authorization", "Bearer " + r.token, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest"}
	for dest, want := range map[string]int{"document": 200, "iframe": 403, "image": 403, "": 403} {
		if resp, _ := doortest.Request(t, "GET", r.url+"/", "", append(link, dest)...); resp.StatusCode != want {
			t.Errorf("a page that is loaded as %q: %d; want %d", dest, resp.StatusCode, want)
		}
	}
}

// Under TLS the cookie has the prefix that keeps other hosts from planting one.
func TestCookieOfHost(t *testing.T) {
	store := &memAccess{}
	token, err := access.EnsureToken(t.Context(), store)
	if err != nil {
		t.Fatal(err)
	}
	g := &access.Guard{Store: store, LoginPage: func(w http.ResponseWriter, status int, _, _ string) { w.WriteHeader(status) }}
	o := operators.Door{Images: noImages{}, Guard: g}
	srv := httptest.NewTLSServer(o.Handler())
	defer srv.Close()
	hc := srv.Client()
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	form := strings.NewReader(url.Values{"token": {token}}.Encode())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+access.PathLogin, form)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if len(resp.Cookies()) != 1 || !strings.HasPrefix(resp.Cookies()[0].Name, "__Host-") || !resp.Cookies()[0].Secure {
		t.Fatalf("login gives %v; want one cookie of this host", resp.Cookies())
	}
	for prefix, want := range map[string]int{"": http.StatusOK, "planted": http.StatusUnauthorized} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/openapi.json", nil)
		c := *resp.Cookies()[0]
		if prefix != "" {
			c.Name = access.CookieName // another host of the domain can set this one
		}
		req.AddCookie(&c)
		resp, err := hc.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("a session under the name %s: %d; want %d", c.Name, resp.StatusCode, want)
		}
	}
}

// A stream ends soon after the session that it was opened by.
func TestStreamEndsWithItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memAccess{}
		token, err := access.EnsureToken(t.Context(), store)
		if err != nil {
			t.Fatal(err)
		}
		g := &access.Guard{Store: store}
		ended := make(chan time.Duration, 1)
		h := g.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			start := time.Now()
			<-r.Context().Done()
			ended <- time.Since(start)
		}))
		req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/stream", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		go h.ServeHTTP(httptest.NewRecorder(), req)
		time.Sleep(time.Minute)
		select {
		case after := <-ended:
			t.Fatalf("the stream of a good token ended after %v", after)
		default:
		}
		if _, err := access.ReplaceToken(t.Context(), store); err != nil {
			t.Fatal(err)
		}
		if after := <-ended; after > time.Minute+2*access.LookEvery {
			t.Errorf("the stream ended %v after the token; want at most %v", after-time.Minute, 2*access.LookEvery)
		}
	})
}
