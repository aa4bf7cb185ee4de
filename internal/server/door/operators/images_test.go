package operators

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
)

// slowInspector reads half of an image, then waits.
type slowInspector struct {
	goOn  chan error
	ended chan struct{}
}

func (slowInspector) Resolve(context.Context, string) (golden.Digest, error) { return "", nil }

func (slowInspector) Details(context.Context, string) (api.ImageDetails, error) {
	return api.ImageDetails{}, nil
}

func (s slowInspector) Verify(ctx context.Context, _ string, progress func(done, total int64)) error {
	defer close(s.ended)
	progress(5, 10)
	select {
	case err := <-s.goOn:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// verifying asks for one verification, and gives its lines.
func verifying(t *testing.T) (slowInspector, *json.Decoder, func()) {
	t.Helper()
	s := slowInspector{make(chan error), make(chan struct{})}
	o := Door{Inspector: s}
	srv := httptest.NewServer(o.Handler())
	t.Cleanup(srv.Close)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+strings.Replace(api.PathVerify, "{image}", "debian", 1), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	if got := resp.Header.Get("Content-Type"); got != typeLines {
		t.Errorf("Content-Type %q; want %q", got, typeLines)
	}
	return s, json.NewDecoder(bufio.NewReader(resp.Body)), func() { resp.Body.Close() }
}

// A long verification says how far it is before it ends, and then what it
// found.
func TestVerifySaysHowFarItIs(t *testing.T) {
	s, lines, _ := verifying(t)
	for i, want := range []api.Verification{{Done: 5, Total: 10}, {Done: 5, Total: 10, Ended: true, Error: "the disk is damaged"}} {
		var got api.Verification
		for more := true; more; more = i == 1 && !got.Ended { // the last one may be said once more
			if err := lines.Decode(&got); err != nil {
				t.Fatal(err)
			}
		}
		if got != want {
			t.Errorf("line %d: %+v; want %+v", i, got, want)
		}
		if i == 0 {
			s.goOn <- errors.New("the disk is damaged")
		}
	}
}

// Who goes away takes with him what was read for him.
func TestVerifyEndsWithItsReader(t *testing.T) {
	s, lines, leave := verifying(t)
	if err := lines.Decode(&api.Verification{}); err != nil {
		t.Fatal(err)
	}
	leave()
	<-s.ended
}
