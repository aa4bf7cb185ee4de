package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/client"
)

// A server that answers 409 to the reports of the first plan, as it does when
// the operator has cancelled or replaced it.
func TestLostPlanEndsTheFlash(t *testing.T) {
	var mu sync.Mutex
	var heard []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var report api.Report
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
			t.Error(err)
		}
		if report.Plan == "first" {
			w.WriteHeader(http.StatusConflict)
			_ = json.NewEncoder(w).Encode(api.Problem{Detail: "cancelled by the operator"})
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for _, e := range report.Events {
			heard = append(heard, fmt.Sprintf("%s/%s", report.Plan, e.Step))
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	c, err := client.New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, shown, _ := testRunner(t)
	a := &Agent{runner: r, client: c}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go a.queue.deliver(ctx, func(ctx context.Context, plan string, events []api.Event) error {
		return a.send(ctx, "m", plan, events)
	})

	plans := []string{"first", "second"}
	var ran []string
	a.walk(ctx, []step{
		{name: "plan", run: func(context.Context) (string, error) {
			plan := plans[0]
			plans = plans[1:]
			a.permit.grant(plan)
			a.queue.under(plan)
			ran = append(ran, plan)
			return "", nil
		}},
		{name: "flash", again: "plan", run: a.permitted(func(ctx context.Context) (string, error) {
			ran = append(ran, "flash")
			a.progress(api.Event{Step: "flash", State: api.StateProgress, Progress: &api.Progress{}})
			if ran[len(ran)-2] == "first" {
				<-ctx.Done() // writes until it is told not to
				return "", ctx.Err()
			}
			return "sealed", nil
		})},
	})
	if diff := cmp.Diff([]string{"first", "flash", "second", "flash"}, ran); diff != "" {
		t.Fatalf("steps (-want +got):\n%s", diff)
	}
	a.queue.flush(ctx, 5*time.Second)
	a.runner.console.Drain(time.Second)
	if want := "stopped, nothing more is written: the server has taken the plan back: cancelled by the operator"; !strings.Contains(shown.String(), want) {
		t.Errorf("console shows\n%s\nwant %q in it", shown, want)
	}
	if strings.Contains(shown.String(), "failed") {
		t.Errorf("console shows\n%s\na plan that was taken back is no failure", shown)
	}
	mu.Lock()
	defer mu.Unlock()
	// The writing of the first plan must not be told under another: it would
	// count as that one's.
	if !slices.Contains(heard, "/plan") || slices.Contains(heard, "/flash") || !slices.Contains(heard, "second/flash") {
		t.Errorf("the server heard %q; want /plan and second/flash, not /flash", heard)
	}
}

func TestPermitIgnoresOtherPlans(t *testing.T) {
	var p permit
	p.revoke("", http.ErrAbortHandler)
	p.grant("new")
	ctx, end := p.begin(t.Context())
	p.revoke("old", http.ErrAbortHandler)
	p.revoke("", http.ErrAbortHandler)
	if err := end(); err != nil || !errors.Is(context.Cause(ctx), context.Canceled) {
		t.Errorf("after a word about another plan the step ends with %v; want nil", err)
	}
	p.revoke("new", http.ErrAbortHandler)
	if ctx, end := p.begin(t.Context()); ctx.Err() == nil || end() == nil {
		t.Error("a step begins although its plan is lost")
	}
	p.grant("new")
	if ctx, end := p.begin(t.Context()); ctx.Err() != nil || end() != nil {
		t.Error("a plan that was granted again permits nothing")
	}
}
