package boot

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/agentclient"
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
	c, err := agentclient.New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	r, shown, _ := testRunner(t)
	session := &report.Session{ID: "s", MAC: "m", Client: c, Queue: r.Report.Queue}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go session.Deliver(ctx)

	plans := []string{"first", "second"}
	var ran []string
	r.Walk(ctx, []Step{
		{Name: PlanStep, Run: func(context.Context) (string, error) {
			plan := plans[0]
			plans = plans[1:]
			session.Permit.Grant(plan)
			session.Queue.Under(plan)
			ran = append(ran, plan)
			return "", nil
		}},
		{Name: "flash", Again: PlanStep, Run: session.Permitted(func(ctx context.Context) (string, error) {
			ran = append(ran, "flash")
			r.Report.Progress("flash", api.Progress{})
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
	session.Queue.Flush(ctx, 5*time.Second)
	r.Report.Console.Drain(time.Second)
	const want = "stopped, nothing more is written: the server has revoked the plan: cancelled by the operator"
	if !strings.Contains(shown.String(), want) {
		t.Errorf("console shows\n%s\nwant %q in it", shown, want)
	}
	if strings.Contains(shown.String(), "failed") {
		t.Errorf("console shows\n%s\na revoked plan is no failure", shown)
	}
	mu.Lock()
	defer mu.Unlock()
	// The writing of the first plan must not be told under another: it would
	// count as that one's.
	if !slices.Contains(heard, "/plan") || slices.Contains(heard, "/flash") || !slices.Contains(heard, "second/flash") {
		t.Errorf("the server heard %q; want /plan and second/flash, not /flash", heard)
	}
}
