// Package agentclient is the HTTP side of the agent API for the one who asks.
//
// Every call is one attempt with its own time limit. Whether and when to ask
// again is the caller's knowledge: a boot step and a report queue wait
// differently. Permanent of a *cluster.StatusError tells them what asking
// again cannot mend.
package agentclient

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/cluster"
)

// callTimeout bounds a whole call with a JSON body.
const callTimeout = 60 * time.Second

// Client is an agent's side of its conversation with the servers. Safe for
// concurrent use.
type Client struct{ *cluster.Servers }

// New makes a client for the servers at base: see [cluster.Open].
func New(base string) (*Client, error) { return Trusting(base, nil) }

// Trusting makes a client for servers that a CA has signed for: see
// [cluster.Trusting].
func Trusting(base string, ca []byte) (*Client, error) {
	servers, err := cluster.Trusting(base, ca)
	if err != nil {
		return nil, err
	}
	return &Client{servers}, nil
}

// Hello says hello. date is the server's clock as it told it, zero if it did
// not.
func (c *Client) Hello(ctx context.Context, hello api.Hello) (answer api.Answer, date time.Time, err error) {
	header, err := c.post(ctx, api.PathHello, hello, &answer)
	if err != nil {
		return api.Answer{}, time.Time{}, err
	}
	c.Learn(answer.Servers)
	if date, err = http.ParseTime(header.Get("Date")); err != nil {
		date = time.Time{}
	}
	return answer, date, nil
}

// Ping reports whether the server can be spoken to at all. Any answer will do,
// also a refusal: something that speaks HTTP lives at that address.
func (c *Client) Ping(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, c.ContentURL("/v2/"), nil)
	if err != nil {
		return fmt.Errorf("HEAD /v2/: %w", err)
	}
	resp, err := c.Do(req, http.StatusOK)
	if status := (*cluster.StatusError)(nil); errors.As(err, &status) {
		return nil
	}
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Report delivers events. After an error it is unknown whether they arrived;
// sending them again is harmless.
func (c *Client) Report(ctx context.Context, report api.Report) error {
	_, err := c.post(ctx, api.PathEvents, report, nil)
	return err
}

// Identity fetches what the clone is to be. A *StatusError of 409 says that
// the plan is not this session's any more.
func (c *Client) Identity(ctx context.Context, r api.IdentityRequest) (id api.Identity, err error) {
	_, err = c.post(ctx, api.PathIdentity, r, &id)
	return id, err
}

// post sends in as JSON and reads the answer's JSON into out unless that is
// nil.
func (c *Client) post(ctx context.Context, path string, in, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", path, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL(path), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("POST %s: %w", path, err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req, http.StatusOK, http.StatusNoContent)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if out == nil {
		return resp.Header, nil
	}
	answer, err := cluster.ReadBounded(resp.Body, api.MaxBody)
	if err == nil {
		err = json.Unmarshal(answer, out)
	}
	if err != nil {
		return nil, fmt.Errorf("POST %s: reading the answer: %w", path, err)
	}
	return resp.Header, nil
}
