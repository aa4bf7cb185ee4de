// Package operatorclient is the HTTP side of the operator API for the one who
// asks.
package operatorclient

import (
	"bufio"
	"bytes"
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

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/backoff"
)

// Client asks the operator API. An error that the server answered is a
// *ProblemError.
type Client struct {
	BaseURL string       // "http://127.0.0.1:8081", no slash at the end
	Token   string       // the admin token; empty: none is sent
	HTTP    *http.Client // nil: a client without a timeout; ctx bounds each call
	// Cut is told that Follow lost its server and tries again; nil: nobody is.
	Cut func(error)
}

// ProblemError is a refusal by the server.
type ProblemError struct{ api.Problem }

func (e *ProblemError) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return fmt.Sprintf("server answered %d %s", e.Status, e.Title)
}

// Machines lists the machines that the selector ("rack=b7,role!=db") matches,
// all of them when it is empty.
func (c *Client) Machines(ctx context.Context, selector string) ([]api.Machine, error) {
	var out api.Machines
	path := api.PathMachines
	if selector != "" {
		path += "?selector=" + url.QueryEscape(selector)
	}
	err := c.call(ctx, http.MethodGet, path, nil, &out)
	return out.Machines, err
}

// Machine returns one machine. name is anything that it is known by, here and
// below: its name, a MAC in any common spelling, its UUID, its serial.
func (c *Client) Machine(ctx context.Context, name string) (api.Machine, error) {
	var out api.Machine
	err := c.call(ctx, http.MethodGet, machinePath(api.PathMachine, name), nil, &out)
	return out, err
}

// Register makes a machine known that need not have been seen.
func (c *Client) Register(ctx context.Context, spec api.Spec) (api.Machine, error) {
	var out api.Machine
	err := c.call(ctx, http.MethodPost, api.PathMachines, spec, &out)
	return out, err
}

// Edit replaces what the operator says of a machine.
func (c *Client) Edit(ctx context.Context, name string, spec api.Spec) (api.Machine, error) {
	var out api.Machine
	err := c.call(ctx, http.MethodPut, machinePath(api.PathMachine, name), spec, &out)
	return out, err
}

// EditRead replaces what the operator says of a machine that was read a moment
// ago. A *ProblemError of 409 says that somebody else has changed it since.
func (c *Client) EditRead(ctx context.Context, read api.Machine, spec api.Spec) (api.Machine, error) {
	var out api.Machine
	path := machinePath(api.PathMachine, read.ID)
	if read.SpecRevision != "" {
		path += "?revision=" + url.QueryEscape(read.SpecRevision)
	}
	err := c.call(ctx, http.MethodPut, path, spec, &out)
	return out, err
}

// Delete forgets a machine; force: also while its disk is being written.
func (c *Client) Delete(ctx context.Context, name string, force bool) error {
	return c.call(ctx, http.MethodDelete, forced(machinePath(api.PathMachine, name), force), nil, nil)
}

// Preview tells what Flash would do, and does nothing.
func (c *Client) Preview(ctx context.Context, name string, f api.FlashRequest) (api.Preview, error) {
	var out api.Preview
	err := c.call(ctx, http.MethodPost, machinePath(api.PathPreview, name), f, &out)
	return out, err
}

// Flash arms a machine for one flash.
func (c *Client) Flash(ctx context.Context, name string, f api.FlashRequest) (api.Machine, error) {
	var out api.Machine
	err := c.call(ctx, http.MethodPost, machinePath(api.PathFlash, name), f, &out)
	return out, err
}

// Cancel takes an arm back; force: also while the disk is being written, which
// does not boot then.
func (c *Client) Cancel(ctx context.Context, name string, force bool) (api.Machine, error) {
	var out api.Machine
	err := c.call(ctx, http.MethodPost, forced(machinePath(api.PathCancel, name), force), nil, &out)
	return out, err
}

func forced(path string, force bool) string {
	if force {
		path += "?force=true"
	}
	return path
}

// Events returns what is kept of a machine's past, oldest first.
func (c *Client) Events(ctx context.Context, name string) ([]api.Event, error) {
	var out api.Events
	err := c.call(ctx, http.MethodGet, machinePath(api.PathMachineEvents, name), nil, &out)
	return out.Events, err
}

// Flashes returns the history of a machine, newest first.
func (c *Client) Flashes(ctx context.Context, name string) ([]api.Flash, error) {
	var out api.Flashes
	err := c.call(ctx, http.MethodGet, machinePath(api.PathFlashes, name), nil, &out)
	return out.Flashes, err
}

// Log returns the newest events of all machines, newest first; audit: only what
// operators and the server did, and receipts.
func (c *Client) Log(ctx context.Context, limit int, audit bool) ([]api.LogEntry, error) {
	var out api.Log
	path := api.PathEventLog + "?limit=" + strconv.Itoa(limit)
	if audit {
		path += "&audit=true"
	}
	err := c.call(ctx, http.MethodGet, path, nil, &out)
	return out.Entries, err
}

// StateUsage tells how full the database of the state is.
func (c *Client) StateUsage(ctx context.Context) (api.StateUsage, error) {
	var out api.StateUsage
	err := c.call(ctx, http.MethodGet, api.PathState, nil, &out)
	return out, err
}

// Servers lists the servers of this cluster.
func (c *Client) Servers(ctx context.Context) ([]api.Server, error) {
	var out api.Servers
	err := c.call(ctx, http.MethodGet, api.PathServers, nil, &out)
	return out.Servers, err
}

func machinePath(pattern, name string) string {
	return strings.Replace(pattern, "{machine}", url.PathEscape(name), 1)
}

// operatorTimeout bounds everything but the event stream.
const operatorTimeout = 30 * time.Second

// maxAnswer bounds an answer in bytes: ten thousand machines with large
// inventories.
const maxAnswer = 256 << 20

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, operatorTimeout)
	defer cancel()
	return c.exchange(ctx, method, path, in, out)
}

// exchange is a call that takes as long as ctx lets it.
func (c *Client) exchange(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		p, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(p)
	}
	resp, err := c.do(ctx, method, path, body, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out); err != nil {
		return fmt.Errorf("reading the answer to %s %s: %w", method, path, err)
	}
	return nil
}

// do sends a request and turns every answer but success into an error.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.BaseURL+path, body)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	if body != nil && req.Header.Get("Content-Type") == "" {
		req.Header.Set("Content-Type", "application/json")
	}
	hc := c.HTTP
	if hc == nil {
		hc = http.DefaultClient
	}
	resp, err := hc.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the server: %w", err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	e := &ProblemError{api.Problem{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode)}}
	// Something that is not gild may sit there: then the status says it all.
	_ = json.NewDecoder(io.LimitReader(resp.Body, api.MaxBody)).Decode(&e.Problem)
	return nil, e
}

// Waits before the stream is asked for again.
const (
	firstWait = 200 * time.Millisecond
	lastWait  = 5 * time.Second
)

// maxSilence is how long the stream may say nothing: the server sends a sign
// of life every 15 seconds.
const maxSilence = 45 * time.Second

// maxMessage bounds one message of the stream in bytes.
const maxMessage = 4 << 20

// Follow calls each with every change, beginning with a reset and all
// machines, until ctx ends or each fails. It resumes where it was after the
// server restarted. A server that cannot be reached at first is an error.
func (c *Client) Follow(ctx context.Context, each func(api.Change) error) error {
	last, wait := "", backoff.Backoff{First: firstWait, Longest: lastWait}
	for connected, told := false, false; ; {
		err := c.stream(ctx, &last, func(ch api.Change) error {
			connected, told = true, false
			wait.Reset()
			return each(ch)
		})
		if stop, ok := errors.AsType[*stopError](err); ok {
			return stop.err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if refused, ok := errors.AsType[*ProblemError](err); ok && refused.Status < 500 || !connected {
			return err
		}
		if c.Cut != nil && !told {
			told = true
			c.Cut(err)
		}
		if err := backoff.Sleep(ctx, wait.Next()); err != nil {
			return err
		}
	}
}

// stopError carries the caller's own error through the loop.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// stream reads one connection's messages and keeps the last id.
func (c *Client) stream(ctx context.Context, last *string, each func(api.Change) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A server whose power went says nothing, not even that it is gone.
	silent := time.AfterFunc(maxSilence, cancel)
	defer silent.Stop()
	header := http.Header{"Accept": {"text/event-stream"}}
	if *last != "" {
		header.Set("Last-Event-ID", *last)
	}
	resp, err := c.do(ctx, http.MethodGet, api.PathEventStream, nil, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxMessage)
	id, data := "", ""
	for lines.Scan() {
		silent.Reset(maxSilence)
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "id: "):
			id = line[len("id: "):]
		case strings.HasPrefix(line, "data: "):
			data = line[len("data: "):]
		case line == "" && data != "":
			var ch api.Change
			if err := json.Unmarshal([]byte(data), &ch); err != nil {
				return fmt.Errorf("reading the event stream: %w", err)
			}
			if err := each(ch); err != nil {
				return &stopError{err}
			}
			if id != "" {
				*last = id
			}
			id, data = "", ""
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("reading the event stream: %w", err)
	}
	return fmt.Errorf("reading the event stream: %w", io.ErrUnexpectedEOF)
}
