package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// maxRedirects is enough for a mirror behind a load balancer.
const maxRedirects = 3

// body is an HTTP response being read, with an end to waiting for the next
// byte.
type body struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	watch  *time.Timer
	stall  time.Duration
	read   int64
	size   int64 // -1 when the server did not say
}

func openURL(ctx context.Context, name string, opts Options) (*input, error) {
	u, err := url.Parse(name)
	if err != nil {
		return nil, errors.New("it is no valid URL")
	}
	if err := checkURL(u); err != nil {
		return nil, err
	}
	stall := opts.Stall
	if stall == 0 {
		stall = defaultStall
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(stall, func() {
		cancel(fmt.Errorf("the server sent nothing for %s: try again", stall))
	})
	b := &body{ctx: ctx, cancel: cancel, watch: watch, stall: stall}
	resp, err := b.get(u, opts.HTTPClient)
	if err != nil {
		b.stop()
		return nil, err
	}
	watch.Stop()
	b.ReadCloser, b.size = resp.Body, resp.ContentLength
	return &input{name: u.Redacted(), r: b, size: b.size, close: b.Close}, nil
}

func (b *body) get(u *url.URL, client *http.Client) (*http.Response, error) {
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	// Stated so that the transport does not ask for gzip and undo it unseen:
	// the length and the magic bytes are to be the file's own.
	req.Header.Set("Accept-Encoding", "identity")
	resp, err := limitRedirects(client).Do(req)
	if err != nil {
		if cause := context.Cause(b.ctx); cause != nil {
			return nil, cause
		}
		// url.Error repeats the URL, the password in it not included.
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, fmt.Errorf("the server answered %s", resp.Status)
	}
	return resp, nil
}

// limitRedirects returns a copy of client (nil: a default one) that follows
// only a few redirects, and only to where [checkURL] allows.
func limitRedirects(client *http.Client) *http.Client {
	var c http.Client
	if client != nil {
		c = *client
	}
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return fmt.Errorf("redirected from https to %s", req.URL.Scheme)
		}
		return checkURL(req.URL)
	}
	return &c
}

func checkURL(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("cannot fetch %s URLs, only http and https", u.Scheme)
	}
	if u.Host == "" {
		return errors.New("the URL names no host")
	}
	return nil
}

func (b *body) Read(p []byte) (int, error) {
	// Only the wait for the server counts, not the time between two calls.
	b.watch.Reset(b.stall)
	n, err := b.ReadCloser.Read(p)
	b.watch.Stop()
	b.read += int64(n)
	switch {
	case err == nil:
		return n, nil
	case context.Cause(b.ctx) != nil:
		return n, context.Cause(b.ctx)
	case errors.Is(err, io.EOF) && (b.size < 0 || b.read == b.size):
		return n, io.EOF
	case b.size >= 0:
		return n, fmt.Errorf("the connection ended after %d of %d bytes: %w", b.read, b.size, noEOF(err))
	default:
		return n, fmt.Errorf("the connection ended after %d bytes: %w", b.read, err)
	}
}

func (b *body) Close() error {
	b.stop()
	return b.ReadCloser.Close()
}

func (b *body) stop() {
	b.watch.Stop()
	b.cancel(errClosed)
}

// displayName is name without a password.
func displayName(name string) string {
	if !isURL(name) {
		return name
	}
	u, err := url.Parse(name)
	if err != nil {
		return "URL"
	}
	return u.Redacted()
}
