package cluster

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// StatusError is an answer other than the one that was asked for.
type StatusError struct {
	Op         string // "POST /agent/v1/hello"
	Status     int
	Detail     string        // the server's own words, cleaned of nothing
	RetryAfter time.Duration // what the server asked to wait, 0 if it did not
}

func (e *StatusError) Error() string {
	text := fmt.Sprintf("%s: the server answered %d %s", e.Op, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Permanent reports that the same request will fail the same way: a refusal
// (4xx) other than those that ask for patience, or a redirect that is not
// followed.
func (e *StatusError) Permanent() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.Status >= 300 && e.Status < 500
}

// detail finds the words of an error body: RFC 9457, or the OCI distribution
// specification's list of errors, or plain text. They are a courtesy: what
// cannot be read is left out.
func detail(resp *http.Response) string {
	body, err := ReadBounded(resp.Body, 64<<10)
	if err != nil {
		return ""
	}
	var known struct {
		api.Problem
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &known) == nil {
		if len(known.Errors) > 0 && known.Detail == "" {
			return known.Errors[0].Message
		}
		return known.Detail
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body)), "\n")
	return line[:min(len(line), 200)]
}

// retryAfter reads the seconds form of Retry-After (RFC 9110, 10.2.3), at
// most an hour.
func retryAfter(h http.Header) time.Duration {
	var seconds int
	if _, err := fmt.Sscanf(h.Get("Retry-After"), "%d", &seconds); err != nil || seconds < 0 {
		return 0
	}
	return time.Duration(min(seconds, 3600)) * time.Second
}
