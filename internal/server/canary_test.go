package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/sniff"
	"github.com/gild-dev/gild/internal/server/state/docs"
	"github.com/gild-dev/gild/internal/settings"
)

// canary stands for every secret: it must be found nowhere but where it is
// meant to go.
const canary = "CANARY4A7E"

// A planted secret goes to the machine that is to have it, and nowhere else.
func TestCanary(t *testing.T) {
	var logged bytes.Buffer
	srv := newServer(t, t.TempDir())
	srv.Log = slog.New(slog.NewJSONHandler(&lockedWriter{w: &logged}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var core *machines.Core
	srv.protocols = []service.Opener[*machines.Core]{{
		Name: "peek",
		Open: func(_ context.Context, m *machines.Core) (service.Service, func() error, error) {
			core = m
			return service.Func(func(ctx context.Context) error { <-ctx.Done(); return nil }), nil, nil
		},
	}}
	r := start(t, srv)
	ctx := t.Context()
	tpl := api.Identity{Hostname: "{{ .Name }}", Files: []api.File{{Path: "/etc/secret", Content: canary + " {{ .Values.password }}"}}}
	if err := docs.Put(ctx, core.Store.Space, machines.KindIdentity, "web", tpl); err != nil {
		t.Fatal(err)
	}
	spec := api.Spec{
		Name: "b7", MACs: []string{mac}, Flash: settings.Settings{Image: "debian", Identity: "web"},
		Values: map[string]string{"password": "p"},
	}
	if _, err := r.operator.Register(ctx, spec); err != nil {
		t.Fatal(err)
	}
	preview, err := r.operator.Preview(ctx, "b7", api.FlashRequest{})
	if err != nil || preview.Refusal != "" || preview.Request.Identity != "web" {
		t.Fatalf("Preview = %+v, %v", preview, err)
	}
	m, err := r.operator.Flash(ctx, "b7", api.FlashRequest{Shown: preview.Digest})
	if err != nil || m.Armed.Plan.Identity == "" {
		t.Fatalf("Flash = %+v, %v; want an identity", m.Armed, err)
	}
	plan := m.Armed.Plan
	helloBody, _ := json.Marshal(machinestest.Hello("s1", mac))
	ask := func(session string) (int, api.Identity) {
		t.Helper()
		body, _ := json.Marshal(api.IdentityRequest{Session: session, MAC: mac, Plan: plan.ID})
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, sniff.Base(r.BaseURL)+api.PathIdentity, bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		resp, err := r.agents.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var id api.Identity
		_ = json.NewDecoder(resp.Body).Decode(&id)
		return resp.StatusCode, id
	}
	if status, _ := ask("s1"); status != http.StatusConflict {
		t.Errorf("identity before the hello = %d; want 409", status)
	}
	if status := r.say(t, api.PathHello, string(helloBody)); status != 200 {
		t.Fatalf("hello = %d", status)
	}
	if status, _ := ask("s2"); status != http.StatusConflict {
		t.Errorf("identity for another session = %d; want 409", status)
	}
	status, id := ask("s1")
	if status != 200 || id.Files[0].Content != canary+" p" || id.Digest() != plan.Identity ||
		!strings.HasPrefix(id.BeaconURL, sniff.Base(r.BaseURL)) {
		t.Fatalf("identity = %d %+v; want it whole, with the digest of the plan", status, id)
	}
	token := id.BeaconURL[strings.LastIndexByte(id.BeaconURL, '/')+1:]
	if status := postBy(t, r.agents, id.BeaconURL, ""); status != 404 {
		t.Errorf("beacon before the flash = %d; want 404", status)
	}
	report, _ := json.Marshal(api.Report{Session: "s1", MAC: mac, Plan: plan.ID, Events: []api.Event{
		{Seq: 1, Time: time.Now(), Step: fleet.StepFlash, State: api.StateStart},
		{Seq: 2, Time: time.Now(), Step: "handoff", State: api.StateStart, Receipt: &api.Receipt{Plan: plan.ID, Image: plan.Image.Digest}},
	}})
	look := func(when string) {
		t.Helper()
		for _, path := range []string{
			api.PathMachines, strings.Replace(api.PathMachine, "{machine}", "b7", 1), strings.Replace(api.PathMachineEvents, "{machine}", "b7", 1),
			strings.Replace(api.PathFlashes, "{machine}", "b7", 1), api.PathEventLog, api.PathImages, api.PathServers, "/openapi.json",
		} {
			text := get(t, "http://"+r.Operator+path)
			if strings.Contains(text, canary) || strings.Contains(text, token) {
				t.Errorf("%s: %s shows a secret: %s", when, path, text)
			}
		}
		if text := streamed(t, r, 1); strings.Contains(text, canary) || strings.Contains(text, token) {
			t.Errorf("%s: the event stream shows a secret: %s", when, text)
		}
	}
	look("in mid-flash")
	if status := post(t, r.BaseURL+api.PathEvents, string(report)); status != 204 {
		t.Fatalf("report = %d", status)
	}
	look("handing off")
	if status, _ := ask("s1"); status != http.StatusConflict {
		t.Errorf("identity after the flash = %d; want 409", status)
	}
	if found, _ := docs.Get(ctx, core.Store.Space, machines.KindPlanIdentity, plan.ID, &id); found {
		t.Error("the identity outlives its arm")
	}
	if status := post(t, r.BaseURL+strings.Replace(api.PathBeacon, "{beacon}", "WRONG", 1), ""); status != 404 {
		t.Errorf("wrong beacon = %d; want 404", status)
	}
	for range 2 {
		if status := postBy(t, r.agents, id.BeaconURL, ""); status != 204 {
			t.Fatalf("beacon = %d; want 204", status)
		}
	}
	look("running")
	if m, _ := r.operator.Machine(ctx, "b7"); m.State != api.MachineRunning {
		t.Errorf("state = %q; want running", m.State)
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	if text := logged.String(); strings.Contains(text, canary) || strings.Contains(text, token) {
		t.Errorf("the log holds a secret: %s", text)
	}
}

// streamed returns the first n messages of the event stream after its reset.
func streamed(t *testing.T, r *running, n int) string {
	t.Helper()
	var text strings.Builder
	enough := errors.New("enough")
	err := r.operator.Follow(t.Context(), func(c api.Change) error {
		p, _ := json.Marshal(c)
		text.Write(p)
		if n--; n < 0 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	return text.String()
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func TestRoomOverHTTP(t *testing.T) {
	r := start(t, newServer(t, t.TempDir()))
	ctx := t.Context()
	o := r.operator
	refused := func(what string, err error, status int) {
		t.Helper()
		if p, ok := errors.AsType[*operatorclient.ProblemError](err); !ok || p.Status != status {
			t.Errorf("%s = %v; want status %d", what, err, status)
		}
	}
	m, err := o.Register(ctx, api.Spec{
		Name: "b7", MACs: []string{"5254.0000.0001"}, Labels: map[string]string{"rack": "b7"},
		Flash: settings.Settings{Image: "debian"},
	})
	if err != nil || m.State != api.MachineRegistered || m.MAC != mac {
		t.Fatalf("Register = %+v, %v", m, err)
	}
	refused("Register twice", second(o.Register(ctx, api.Spec{Name: "b8", MACs: []string{mac}})), 409)
	refused("Register a bad name", second(o.Register(ctx, api.Spec{Name: "b 8", MACs: []string{"52:54:00:00:00:08"}})), 422)
	refused("Edit an unknown machine", second(o.Edit(ctx, "nobody", m.Spec)), 404)
	refused("a bad disk rule",
		second(o.Flash(ctx, "b7", api.FlashRequest{Settings: settings.Settings{Agent: settings.Agent{Disk: "colour=red"}}})), 422)
	refused("an unknown identity", second(o.Flash(ctx, "b7", api.FlashRequest{Settings: settings.Settings{Identity: "web"}})), 404)
	refused("what was shown is another", second(o.Flash(ctx, "b7", api.FlashRequest{Shown: "a.b.c"})), 409)
	m.Spec.Labels["rack"] = "b8"
	if m, err = o.Edit(ctx, "b7", m.Spec); err != nil || m.Spec.Labels["rack"] != "b8" {
		t.Fatalf("Edit = %+v, %v", m, err)
	}
	// Two operators read it: the second one's edit does not undo the first's.
	first, other := m, m
	first.Spec.Flash.Disk = "smallest"
	if first, err = o.EditRead(ctx, first, first.Spec); err != nil || first.SpecRevision == other.SpecRevision {
		t.Errorf("EditRead of what is as it was read = %+v, %v", first, err)
	}
	other.Spec.Labels = map[string]string{"role": "db"}
	refused("EditRead of what has changed since", second(o.EditRead(ctx, other, other.Spec)), 409)
	if now, err := o.Machine(ctx, "b7"); err != nil || now.Spec.Flash.Disk != "smallest" || now.Spec.Labels["rack"] != "b8" {
		t.Errorf("Machine after that = %+v, %v; want the first edit alone", now.Spec, err)
	}
	for selector, want := range map[string]int{"": 1, "rack=b8": 1, "rack=b7": 0} {
		if list, err := o.Machines(ctx, selector); err != nil || len(list) != want {
			t.Errorf("Machines(%q) = %d, %v; want %d", selector, len(list), err, want)
		}
	}
	refused("a bad selector", second(o.Machines(ctx, "=,")), 422)
	if m, err = o.Flash(ctx, "b7", api.FlashRequest{}); err != nil || m.State != api.MachineArmed {
		t.Fatalf("Flash = %+v, %v", m, err)
	}
	if m, err = o.Cancel(ctx, "b7", false); err != nil || m.Armed != nil {
		t.Fatalf("Cancel = %+v, %v", m, err)
	}
	if f, err := o.Flashes(ctx, "b7"); err != nil || len(f) != 1 || f[0].Outcome != "cancelled" {
		t.Errorf("Flashes = %+v, %v; want one that was cancelled", f, err)
	}
	if log, err := o.Log(ctx, 10, false); err != nil || len(log) != 5 || log[0].Name != "b7" || log[0].Event.To != api.MachineRegistered {
		t.Errorf("Log = %+v, %v; want five events, the cancel first", log, err)
	}
	if _, err := o.Servers(ctx); err != nil {
		t.Errorf("Servers = %v", err)
	}
	if err := o.Delete(ctx, "b7", false); err != nil {
		t.Errorf("Delete = %v", err)
	}
}
