package agentclient

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/cluster"
)

// serve answers everything with h.
func serve(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Reset)
	return c
}

func TestHelloAndReport(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + r.URL.Path {
		case "POST" + api.PathHello:
			var h api.Hello
			if err := json.NewDecoder(r.Body).Decode(&h); err != nil || h.Session != "s" {
				t.Errorf("hello = %+v, %v", h, err)
			}
			fmt.Fprint(w, `{"action":"wait","retry":3}`)
		case "POST" + api.PathEvents:
			w.WriteHeader(http.StatusNoContent)
		default:
			http.NotFound(w, r)
		}
	})
	answer, date, err := c.Hello(t.Context(), api.Hello{Session: "s"})
	if err != nil || answer.Action != api.ActionWait || answer.Retry != 3 || time.Since(date).Abs() > time.Minute {
		t.Errorf("Hello() = %+v, %v, %v; want wait 3 and about now", answer, date, err)
	}
	if err := c.Report(t.Context(), api.Report{}); err != nil {
		t.Errorf("Report() = %v", err)
	}
	if err := c.Ping(t.Context()); err != nil {
		t.Errorf("Ping() = %v; want nil, a refusal is an answer too", err)
	}
}

func TestStatusError(t *testing.T) {
	for _, tt := range []struct {
		status    int
		body      string
		permanent bool
		detail    string
	}{
		{403, `{"title":"no","detail":"not armed"}`, true, "not armed"},
		{404, `{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}`, true, "blob unknown"},
		{404, "404 page not found\nmore", true, "404 page not found"},
		{503, "", false, ""},
		{429, "{", false, "{"},
		{500, strings.Repeat("x", 100<<10), false, ""},
	} {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(tt.status)
			fmt.Fprint(w, tt.body)
		})
		err := c.Report(t.Context(), api.Report{})
		var status *cluster.StatusError
		if !errors.As(err, &status) || status.Permanent() != tt.permanent || status.Detail != tt.detail || status.RetryAfter != 7*time.Second {
			t.Errorf("status %d: Report() = %#v; want permanent %v, detail %q", tt.status, status, tt.permanent, tt.detail)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	if _, _, err := c.Hello(t.Context(), api.Hello{}); err == nil {
		t.Error("Hello() of an endless answer = nil; want an error")
	}
}
