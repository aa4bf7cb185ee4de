package bmc

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/power/redfish/redfishtest"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/tier"
)

// slowly answers each request after a while.
func slowly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(20 * time.Millisecond):
			h.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	})
}

// hanging takes every request, and answers none.
func hanging(http.Handler) http.Handler {
	return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
}

// serveBMC serves an emulated BMC, and gives its address.
func serveBMC(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// Two hundred BMCs, of which forty are slow, wrong or hang, are cycled: each
// fate is told, and five that are not named see nothing.
func TestTwoHundredBMCs(t *testing.T) {
	tier.Slow(t, "two hundred BMCs")
	const n, unnamed = 200, 5
	w := begin(t)
	bmcs := make([]*redfishtest.BMC, n+unnamed)
	files := api.Fleet{}
	q := api.PowerRequest{Verb: api.PowerCycle, Spread: 5, Within: 20}
	for i := range bmcs {
		// Most have no power cycle of their own: they are switched off and on.
		bmcs[i] = redfishtest.New(canary, redfishtest.Habits{
			Resets: []string{"On", "ForceOff", "ForceRestart"}, RefusesSame: i%2 == 0,
			NeedsETag: i%3 == 0,
		})
		var h http.Handler = bmcs[i]
		secret := canary
		switch i % 20 {
		case 3:
			h = slowly(h)
		case 7:
			secret += "-wrong"
		case 11:
			h = hanging(h)
		case 15:
			h = http.NotFoundHandler()
		}
		spec := api.Spec{Name: fmt.Sprint("web-", i), MACs: []string{fmt.Sprintf("52:54:00:00:%02x:%02x", i/256, i%256)}}
		spec.Power = api.Power{Driver: api.PowerRedfish, Address: serveBMC(t, h), User: redfishtest.User, Secret: secret}
		files.Machines = append(files.Machines, spec)
		if i < n {
			q.Machines = append(q.Machines, spec.Name)
		}
	}
	if _, err := w.op.Apply(t.Context(), "operator", files, false); err != nil {
		t.Fatal(err)
	}
	got := w.ask(t, q)
	if len(got) != n {
		t.Errorf("%d fates; want %d", len(got), n)
	}
	for i, b := range bmcs {
		o, told := got[fmt.Sprint("web-", i)]
		kind := map[int]string{7: "denied", 11: "unreachable", 15: "failed"}[i%20]
		var did []string
		switch {
		case i >= n:
		case kind == "":
			did = []string{"off", "on"}
		}
		switch {
		case told != (i < n):
			t.Errorf("web-%d: told %v", i, told)
		case told && (o.Done != (kind == "") || o.Kind != kind || o.Done && o.State != "on"):
			t.Errorf("web-%d: %+v; want %q", i, o, kind)
		case !slices.Equal(b.Did(), did):
			t.Errorf("web-%d saw %q; want %q", i, b.Did(), did)
		}
		if open, _ := b.Sessions(); open > 0 {
			t.Errorf("web-%d: %d sessions are still open", i, open)
		}
	}
	all, _, err := w.Store.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	noted := 0
	for i := range all {
		events, err := w.Store.Events(t.Context(), all[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(events, func(e api.Event) bool { return e.Step == fleet.StepPower }) {
			noted++
		}
	}
	if noted != n {
		t.Errorf("%d machines have it in their past; want the %d that were named", noted, n)
	}
}
