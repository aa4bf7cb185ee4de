package oci

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api/cluster"
)

// serve answers everything with h.
func serve(t *testing.T, h http.HandlerFunc) *Registry {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return of(t, s.URL)
}

// of is the registry at base.
func of(t *testing.T, base string) *Registry {
	t.Helper()
	servers, err := cluster.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(servers.Reset)
	return Of(servers)
}

func TestAnswersAreBounded(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	})
	if _, err := c.Manifest(t.Context(), "r", "sha256:x", 1<<20); err == nil {
		t.Error("Manifest() of an endless answer = nil; want an error")
	}
}

func TestPullChecksSizeAndDigest(t *testing.T) {
	content := "the content"
	digest := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(content)))
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if want := "/v2/golden/d/blobs/" + digest; r.URL.Path != want && r.URL.Path != strings.Replace(want, "blobs", "manifests", 1) {
			fmt.Fprint(w, "something else")
			return
		}
		fmt.Fprint(w, content)
	})
	size := int64(len(content))
	if got, err := c.Blob(t.Context(), "golden/d", digest, size); err != nil || string(got) != content {
		t.Errorf("Blob() = %q, %v; want the content", got, err)
	}
	if got, err := c.Manifest(t.Context(), "golden/d", digest, 1<<20); err != nil || string(got) != content {
		t.Errorf("Manifest() = %q, %v; want the content", got, err)
	}
	for _, wrong := range []int64{size - 1, size + 1} {
		if _, err := c.Blob(t.Context(), "golden/d", digest, wrong); err == nil {
			t.Errorf("Blob() of %d bytes = nil; want an error", wrong)
		}
	}
	if _, err := c.Blob(t.Context(), "golden/d", "sha256:"+strings.Repeat("0", 64), 14); err == nil {
		t.Error("Blob() of other content = nil; want an error")
	}
}

// A good server, and every way in which one can be wrong.
func TestReadRange(t *testing.T) {
	const blob = "0123456789abcdef"
	for _, tt := range []struct {
		name        string
		off, length int64
		answer      func(w http.ResponseWriter, r *http.Request)
		want        string // empty: an error, from ReadRange or from reading
	}{
		{name: "range", off: 4, length: 5, want: "45678"},
		{name: "end", off: 10, length: 6, want: "abcdef"},
		{name: "all", off: 0, length: 16, want: blob},
		{name: "outside", off: 10, length: 7},
		{name: "overflow", off: 1, length: 1<<63 - 1},
		{name: "nothing", off: 0, length: 0},
		{name: "whole for all", off: 0, length: 16, want: blob, answer: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, blob) }},
		{name: "whole for a part", off: 4, length: 5, answer: func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, blob) }},
		{name: "other range", off: 4, length: 5, answer: partial("bytes 5-9/16", "56789")},
		{name: "other total", off: 4, length: 5, answer: partial("bytes 4-8/17", "45678")},
		{name: "unknown total", off: 4, length: 5, want: "45678", answer: partial("bytes 4-8/*", "45678")},
		{name: "no range", off: 4, length: 5, answer: partial("", "45678")},
		{name: "shorter", off: 4, length: 5, answer: partial("bytes 4-8/16", "4567")},
		{name: "longer", off: 4, length: 5, answer: partial("bytes 4-8/16", "456789")},
		{name: "missing", off: 4, length: 5, answer: http.NotFound},
		{name: "compressed", off: 4, length: 5, answer: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			partial("bytes 4-8/16", "45678")(w, r)
		}},
		{name: "cut", off: 4, length: 5, answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 4-8/16")
			w.Header().Set("Content-Length", "5")
			w.WriteHeader(http.StatusPartialContent)
			fmt.Fprint(w, "45")
			panic(http.ErrAbortHandler)
		}},
		{name: "cut without length", off: 4, length: 5, answer: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 4-8/16")
			w.WriteHeader(http.StatusPartialContent)
			fmt.Fprint(w, "45")
			w.(http.Flusher).Flush()
		}},
	} {
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if tt.answer != nil {
				tt.answer(w, r)
				return
			}
			http.ServeContent(w, r, "blob", time.Time{}, strings.NewReader(blob))
		})
		got := ""
		body, err := c.Ranges("r", "sha256:x", int64(len(blob))).ReadRange(t.Context(), tt.off, tt.length)
		if err == nil {
			var b []byte
			b, err = io.ReadAll(body)
			got = string(b)
			body.Close()
		}
		if (err == nil) != (tt.want != "") || err == nil && got != tt.want {
			t.Errorf("%s: ReadRange(%d, %d) = %q, %v; want %q", tt.name, tt.off, tt.length, got, err, tt.want)
		}
	}
}

func partial(contentRange, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Range", contentRange)
		w.WriteHeader(http.StatusPartialContent)
		fmt.Fprint(w, body)
	}
}

func TestReadRangeEndsWithItsContext(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Range", "bytes 0-9/16")
		w.WriteHeader(http.StatusPartialContent)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	body, err := c.Ranges("r", "sha256:x", 16).ReadRange(ctx, 0, 10)
	if err == nil {
		_, err = io.ReadAll(body)
		body.Close()
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("reading a silent body = %v; want deadline exceeded", err)
	}
}
