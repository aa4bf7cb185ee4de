package redfish

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/backoff"
	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/printable"
)

// Limits of the exchange with a BMC.
const (
	rootPath    = "/redfish/v1/"
	answerIn    = 30 * time.Second // of one request
	logoutIn    = 5 * time.Second
	maxAnswer   = 4 << 20
	maxRedirect = 3
	maxShown    = 300
	longestTask = 10 * time.Second // between two looks at a task
)

// client is one visit at a BMC.
type client struct {
	base           *url.URL
	http           *http.Client
	user, password string
	root           object
	token, session string // of the session; empty: by Basic
	basic          bool
}

func (d *Driver) client() (*client, error) {
	text := d.Address
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	base, err := url.Parse(text)
	if err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Host == "" || base.User != nil ||
		strings.Trim(base.Path, "/") != "" {
		return nil, fmt.Errorf("the BMC's address %.80q is not a host, HOST:PORT or URL without a path", d.Address)
	}
	base.Path = ""
	return &client{
		base: base, user: d.User, password: d.Password,
		http: &http.Client{
			Timeout: answerIn,
			// A BMC resets connections that it has kept for a while.
			Transport:     &http.Transport{DisableKeepAlives: true, DisableCompression: true, TLSClientConfig: d.Trust.config(base.Hostname())},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// login reads the root and opens a session; a BMC that has none is asked by
// Basic authentication.
func (c *client) login(ctx context.Context) (err error) {
	if c.root, err = c.get(ctx, rootPath); err != nil {
		return err
	}
	sessions := c.root.at("Links").at("Sessions").link()
	if sessions == "" {
		c.basic = true
		return nil
	}
	r, err := c.do(ctx, http.MethodPost, sessions, map[string]any{"UserName": c.user, "Password": c.password}, nil)
	switch status(err) {
	case 0:
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		c.basic = true
		return nil
	}
	if err != nil {
		return err
	}
	if c.token = r.header.Get("X-Auth-Token"); c.token == "" {
		c.basic = true
	}
	c.session = cmp.Or(pathOf(r.header.Get("Location")), r.body.link())
	return nil
}

// pathOf is the path of a Location: a BMC may call itself by a name or an
// address that is not the one that it was asked by.
func pathOf(location string) string {
	u, err := url.Parse(location)
	if err != nil || location == "" {
		return ""
	}
	return u.RequestURI()
}

// logout ends the session, also when what was to be done has failed.
func (c *client) logout(ctx context.Context) {
	if c.session == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, logoutIn)
	defer cancel()
	// One that is not ended ends by itself when it has been idle.
	_, _ = c.do(ctx, http.MethodDelete, c.session, nil, nil)
}

// answer is what a BMC said.
type answer struct {
	status int
	header http.Header
	body   object
}

func (c *client) get(ctx context.Context, path string) (object, error) {
	if path == "" {
		return nil, power.Fail(power.Unsupported, "reading Redfish", errors.New("the BMC does not say where a resource is"))
	}
	a, err := c.do(ctx, http.MethodGet, path, nil, nil)
	return a.body, err
}

// patch changes a resource, with the ETag that it has: many BMCs refuse it
// without. Of one whose ETags do not compare, weaker forms are tried.
func (c *client) patch(ctx context.Context, path string, body map[string]any) error {
	now, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	etag := cmp.Or(now.header.Get("ETag"), now.body.text("@odata.etag"))
	forms := []string{etag}
	if strong, weak := strings.CutPrefix(etag, "W/"); weak {
		forms = append(forms, strong)
	}
	if etag != "" {
		forms = append(forms, "")
	}
	for _, form := range forms {
		var header http.Header
		if form != "" {
			header = http.Header{"If-Match": {form}}
		}
		if _, err = c.do(ctx, http.MethodPatch, path, body, header); status(err) != http.StatusPreconditionFailed {
			return err
		}
	}
	return err
}

// allowed are the values that a parameter of an action may have; none: nothing
// is said of them.
func (c *client) allowed(ctx context.Context, action object, parameter string) ([]string, error) {
	if values := action.texts(parameter + "@Redfish.AllowableValues"); len(values) > 0 {
		return values, nil
	}
	info := action.text("@Redfish.ActionInfo")
	if info == "" {
		return nil, nil
	}
	data, err := c.get(ctx, info)
	if err != nil {
		return nil, err
	}
	for _, p := range data.list("Parameters") {
		if p.text("Name") == parameter {
			return p.texts("AllowableValues"), nil
		}
	}
	return nil, nil
}

// do makes a request, follows where it is sent to, and waits for the task that
// a BMC makes of it.
func (c *client) do(ctx context.Context, method, path string, body map[string]any, header http.Header) (answer, error) {
	slash := false
	for range maxRedirect + 1 {
		a, err := c.once(ctx, method, path, body, header)
		if err != nil {
			return a, err
		}
		switch {
		case a.status == http.StatusMovedPermanently || a.status == http.StatusPermanentRedirect:
			path = a.header.Get("Location")
			continue
		case a.status == http.StatusNotFound && method == http.MethodGet && !slash && !strings.HasSuffix(path, "/"):
			slash = true
			path += "/"
			continue
		case a.status == http.StatusAccepted:
			return c.task(ctx, a)
		case a.status >= 300:
			return a, newAnswerError(a)
		}
		return a, nil
	}
	return answer{}, errors.New("the BMC redirects in circles")
}

// task waits until a task has ended. Its monitor answers 202 until then, and at
// the end what the request itself would have.
func (c *client) task(ctx context.Context, a answer) (answer, error) {
	monitor := pathOf(a.header.Get("Location"))
	wait := backoff.Backoff{First: time.Second, Longest: longestTask}
	for monitor != "" && a.status == http.StatusAccepted {
		pause := wait.Next()
		if s, err := strconv.Atoi(a.header.Get("Retry-After")); err == nil && s > 0 {
			pause = min(time.Duration(s)*time.Second, longestTask)
		}
		if err := backoff.Sleep(ctx, pause); err != nil {
			return a, err
		}
		var err error
		if a, err = c.once(ctx, http.MethodGet, monitor, nil, nil); err != nil {
			return a, err
		}
	}
	switch state := a.body.text("TaskState"); {
	case a.status >= 300:
		return a, newAnswerError(a)
	case state == "Exception" || state == "Killed" || state == "Cancelled":
		return a, power.Fail(power.Failed, "waiting for the task of the BMC", errors.New(shown("it has ended as "+state+" "+messages(a.body))))
	}
	return a, nil
}

// once makes one request. Nothing is sent but to the BMC itself.
func (c *client) once(ctx context.Context, method, path string, body map[string]any, header http.Header) (a answer, err error) {
	to, err := c.base.Parse(path)
	if err != nil || to.Scheme != c.base.Scheme || to.Host != c.base.Host {
		return a, fmt.Errorf("the BMC names a place that is not its own: %s", shown(path))
	}
	var content io.Reader
	if body != nil {
		p, err := json.Marshal(body)
		if err != nil {
			return a, err
		}
		content = bytes.NewReader(p)
	}
	req, err := http.NewRequestWithContext(ctx, method, to.String(), content)
	if err != nil {
		return a, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	c.dress(req, content != nil)
	resp, err := c.http.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return a, err
	}
	a = answer{status: resp.StatusCode, header: resp.Header}
	if err := json.Unmarshal(text, &a.body); err != nil && method == http.MethodGet && resp.StatusCode == http.StatusOK {
		return a, fmt.Errorf("the BMC does not speak Redfish at %s: %w", shown(to.Path), err)
	}
	return a, nil
}

// dress adds the headers that a BMC wants.
func (c *client) dress(req *http.Request, content bool) {
	// Without a version some answer in an older form, with keys that differ in case
	// only.
	req.Header.Set("OData-Version", "4.0")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("Accept-Encoding", "identity") // what is compressed has another ETag
	if content {
		req.Header.Set("Content-Type", "application/json")
	}
	switch {
	case c.token != "":
		req.Header.Set("X-Auth-Token", c.token)
	case c.basic:
		req.SetBasicAuth(c.user, c.password)
	}
}

// shown is foreign text as a person may be shown it.
func shown(text string) string { return printable.Line(text, maxShown) }
