package client

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
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Operator is the client of the operator API. An error that the server
// answered is a *ProblemError.
type Operator struct {
	BaseURL string       // "http://127.0.0.1:8081", no slash at the end
	HTTP    *http.Client // nil: a client without a timeout; ctx bounds each call
}

// ProblemError is a refusal by the server.
type ProblemError struct{ api.Problem }

func (e *ProblemError) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return fmt.Sprintf("server answered %d %s", e.Status, e.Title)
}

// Machines lists all machines.
func (c *Operator) Machines(ctx context.Context) ([]api.Machine, error) {
	var out api.Machines
	err := c.call(ctx, http.MethodGet, api.PathMachines, nil, &out)
	return out.Machines, err
}

// Machine returns one machine. mac is in any common spelling, here and below.
func (c *Operator) Machine(ctx context.Context, mac string) (api.Machine, error) {
	var out api.Machine
	err := c.call(ctx, http.MethodGet, machinePath(api.PathMachine, mac), nil, &out)
	return out, err
}

// Delete forgets a machine.
func (c *Operator) Delete(ctx context.Context, mac string) error {
	return c.call(ctx, http.MethodDelete, machinePath(api.PathMachine, mac), nil, nil)
}

// Flash arms a machine for one flash.
func (c *Operator) Flash(ctx context.Context, mac string, f api.FlashRequest) (api.Machine, error) {
	var out api.Machine
	err := c.call(ctx, http.MethodPost, machinePath(api.PathFlash, mac), f, &out)
	return out, err
}

// Cancel takes an arm back.
func (c *Operator) Cancel(ctx context.Context, mac string) (api.Machine, error) {
	var out api.Machine
	err := c.call(ctx, http.MethodPost, machinePath(api.PathCancel, mac), nil, &out)
	return out, err
}

// Events returns what is kept of a machine's past, oldest first.
func (c *Operator) Events(ctx context.Context, mac string) ([]api.Event, error) {
	var out api.Events
	err := c.call(ctx, http.MethodGet, machinePath(api.PathMachineEvents, mac), nil, &out)
	return out.Events, err
}

// Images lists the stored images.
func (c *Operator) Images(ctx context.Context) ([]api.Image, error) {
	var out api.Images
	err := c.call(ctx, http.MethodGet, api.PathImages, nil, &out)
	return out.Images, err
}

func machinePath(pattern, mac string) string {
	return strings.Replace(pattern, "{mac}", url.PathEscape(mac), 1)
}

// operatorTimeout bounds everything but the event stream.
const operatorTimeout = 30 * time.Second

// maxAnswer bounds an answer in bytes: ten thousand machines with large
// inventories.
const maxAnswer = 256 << 20

func (c *Operator) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, operatorTimeout)
	defer cancel()
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
func (c *Operator) do(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.BaseURL+path, body)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if body != nil {
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

// maxMessage bounds one message of the stream in bytes.
const maxMessage = 4 << 20

// Follow calls each with every change, beginning with a reset and all
// machines, until ctx ends or each fails. It goes on where it was after the
// server restarted. A server that cannot be reached at first is an error.
func (c *Operator) Follow(ctx context.Context, each func(api.Change) error) error {
	last, wait := "", firstWait
	for connected := false; ; {
		err := c.stream(ctx, &last, func(ch api.Change) error {
			connected, wait = true, firstWait
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
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, lastWait)
	}
}

// stopError carries the caller's own error through the loop.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// stream reads one connection's messages and keeps the last id.
func (c *Operator) stream(ctx context.Context, last *string, each func(api.Change) error) error {
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
