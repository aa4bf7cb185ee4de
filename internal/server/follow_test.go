package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
)

// The stream begins with everything, continues after a restart, and loses and
// repeats nothing.
func TestEventStream(t *testing.T) {
	dir := t.TempDir()
	s := newServer(t, dir)
	r := start(t, s)
	get(t, r.BaseURL+"/machine.ipxe?mac="+mac)
	s.OperatorAddr = r.Operator // the restarted one is found at the same place

	changes := make(chan api.Change, 100)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	follow := operatorclient.Client{BaseURL: "http://" + r.Operator}
	go func() {
		done <- follow.Follow(ctx, func(c api.Change) error { changes <- c; return nil })
	}()
	expect := func(kinds ...string) {
		t.Helper()
		for _, want := range kinds {
			select {
			case c := <-changes:
				if c.Kind != want {
					t.Fatalf("change %+v; want %s", c, want)
				}
			case <-time.After(2 * time.Minute):
				t.Fatalf("no change; want %s", want)
			}
		}
	}
	expect(api.ChangeReset, api.ChangeMachine)
	get(t, r.BaseURL+"/machine.ipxe?mac="+mac)
	expect(api.ChangeEvent, api.ChangeMachine)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, s)
	if err := r.operator.Delete(t.Context(), mac, false); err != nil {
		t.Fatal(err)
	}
	expect(api.ChangeRemoved)
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Follow = %v; want Canceled", err)
	}
}

// A connection may end between two changes of one transaction: whoever
// continues from the last id hears the rest of it, and nothing again.
func TestEventStreamIsCutAnywhere(t *testing.T) {
	r := start(t, newServer(t, t.TempDir()))
	get(t, r.BaseURL+"/machine.ipxe?mac="+mac)
	var connections atomic.Int32
	cut := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		n := 1
		if connections.Add(1) == 1 {
			n = 2 // the reset and the machine, which are one answer
		}
		messages(t, w, r.Operator, req, n)
	}))
	defer cut.Close()

	const more = 4
	var heard []string
	begun, done, enough := make(chan struct{}, 1), make(chan error, 1), errors.New("enough")
	follow := operatorclient.Client{BaseURL: cut.URL}
	go func() {
		done <- follow.Follow(t.Context(), func(c api.Change) error {
			switch c.Kind {
			case api.ChangeReset:
				begun <- struct{}{}
			case api.ChangeEvent:
				heard = append(heard, fmt.Sprint(c.Event.Time.UnixNano(), c.Event.Step))
			}
			if len(heard) == more {
				return enough
			}
			return nil
		})
	}()
	select {
	case <-begun:
	case err := <-done:
		t.Fatal(err)
	}
	for range more {
		get(t, r.BaseURL+"/machine.ipxe?mac="+mac)
	}
	if err := <-done; !errors.Is(err, enough) {
		t.Fatal(err)
	}
	past, err := r.operator.Events(t.Context(), mac)
	if err != nil {
		t.Fatal(err)
	}
	var kept []string
	for _, e := range past[len(past)-more:] {
		kept = append(kept, fmt.Sprint(e.Time.UnixNano(), e.Step))
	}
	if !slices.Equal(heard, kept) {
		t.Errorf("heard over %d connections %q; kept are %q", connections.Load(), heard, kept)
	}
}

// messages passes on the first n messages of an event stream, and ends.
func messages(t *testing.T, w http.ResponseWriter, operator string, req *http.Request, n int) {
	t.Helper()
	again, err := http.NewRequestWithContext(req.Context(), req.Method, "http://"+operator+req.URL.Path, nil)
	if err != nil {
		t.Error(err)
		return
	}
	again.Header = req.Header.Clone()
	resp, err := http.DefaultClient.Do(again)
	if err != nil {
		return // the test has ended
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for n > 0 {
		line, err := in.ReadBytes('\n')
		if _, writeErr := w.Write(line); err != nil || writeErr != nil {
			return
		}
		if bytes.HasPrefix(line, []byte("data: ")) {
			n--
		}
	}
	_, _ = io.WriteString(w, "\n")
}
