package server

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/power/ipmi/simtest"
	"github.com/gild-dev/gild/internal/server/sealed"
)

// bmcCanary is a password as short as IPMI wants it.
const bmcCanary = canary + "-pw"

// The power of a machine over the API, by a server that is restarted: its
// password is in no answer and no log.
func TestPowerOverHTTP(t *testing.T) {
	sim := simtest.Start(t, bmcCanary)
	dir := t.TempDir()
	var logged bytes.Buffer
	srv := newServer(t, dir)
	srv.Log = slog.New(slog.NewJSONHandler(&lockedWriter{w: &logged}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r := start(t, srv)
	spec := api.Spec{
		Name: "b7", MACs: []string{mac},
		Power: api.Power{Driver: api.PowerIPMI, Address: sim.Address, User: simtest.User, Secret: bmcCanary},
	}
	m, err := r.operator.Register(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(o *operatorclient.Client, q api.PowerRequest) (all []api.PowerOutcome) {
		t.Helper()
		q.Machines = []string{m.ID}
		if err := o.Power(t.Context(), q, func(o api.PowerOutcome) { all = append(all, o) }); err != nil {
			t.Fatal(err)
		}
		return all
	}
	if all := ask(r.operator, api.PowerRequest{Verb: api.PowerOff, Reason: "a test"}); len(all) != 1 || !all[0].Done || all[0].State != "off" {
		t.Fatalf("off: %+v", all)
	}
	err = r.operator.Power(t.Context(), api.PowerRequest{Verb: api.PowerBootOnce, From: "floppy", Machines: []string{m.ID}},
		func(api.PowerOutcome) {})
	if p, ok := err.(*operatorclient.ProblemError); !ok || p.Status != 422 { //nolint:errorlint // the client's own error, wrapped by nobody
		t.Errorf("boot-once from a floppy: %v; want 422", err)
	}
	for _, path := range []string{
		api.PathMachines, strings.Replace(api.PathMachine, "{machine}", "b7", 1), strings.Replace(api.PathMachineEvents, "{machine}", "b7", 1),
		api.PathEventLog, api.PathFleet, "/openapi.json",
	} {
		text := get(t, "http://"+r.Operator+path)
		if strings.Contains(text, bmcCanary) {
			t.Errorf("%s shows the password", path)
		}
		if path == "/openapi.json" && !strings.Contains(text, api.PathPower) {
			t.Errorf("%s does not describe %s", path, api.PathPower)
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(logged.String(), bmcCanary) {
		t.Errorf("the log shows the password: %s", logged.String())
	}
	if !strings.Contains(logged.String(), `"verb":"off"`) || !strings.Contains(logged.String(), "a test") {
		t.Errorf("the log does not tell of the power: %s", logged.String())
	}
	again := start(t, newServer(t, dir))
	if all := ask(again.operator, api.PowerRequest{Verb: api.PowerOn}); len(all) != 1 || !all[0].Done || all[0].State != "on" {
		t.Errorf("on, after a restart: %+v", all)
	}
	if err := again.stop(); err != nil {
		t.Fatal(err)
	}

	// Without its key the server says what to do.
	if err := os.Remove(sealed.KeyFile(dir)); err != nil {
		t.Fatal(err)
	}
	third := start(t, newServer(t, dir))
	all := ask(third.operator, api.PowerRequest{Verb: api.PowerOff})
	if len(all) != 1 || all[0].Done || !strings.Contains(all[0].Hint, "secrets.key") {
		t.Errorf("off, without the key: %+v; want what to do", all)
	}
}
