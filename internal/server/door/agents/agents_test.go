package agents

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/lockedbuf"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/door"
	"github.com/gild-dev/gild/internal/server/door/doortest"
	"github.com/gild-dev/gild/internal/server/door/reply"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
)

// serve opens the door on a real connection.
func serve(t *testing.T, machines Machines) string {
	t.Helper()
	srv := httptest.NewServer(door.Handler(&Door{Machines: machines}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func hello(extra string) string {
	return fmt.Sprintf(`{"version":%d,"session":"s1","inventory":{"mac":%q,"firmware":"bios","kernel":"6.1","arch":"amd64"%s}}`, api.Version,
		doortest.MAC, extra)
}

func events(list string) string {
	return fmt.Sprintf(`{"session":"s1","mac":%q,"events":[%s]}`, doortest.MAC, list)
}

func TestAgentAPI(t *testing.T) {
	m := doortest.NewMachines()
	base := serve(t, m)
	post := func(path, body string) (int, string) {
		resp, answer := doortest.Request(t, "POST", base+path, body, "Content-Type", "application/json")
		return resp.StatusCode, answer
	}
	status, body := post(api.PathHello, hello(`,"cpus":4,"newField":{"a":[1]}`))
	var a api.Answer
	if err := json.Unmarshal([]byte(body), &a); err != nil || status != 200 || a.Action != api.ActionLocalDisk {
		t.Fatalf("hello = %d %s; want local-disk", status, body)
	}
	if status, body := post(api.PathEvents, events(`{"seq":1,"time":"1970-01-01T00:00:00Z","step":"network","state":"done"}`)); status != 204 {
		t.Errorf("events = %d %s; want 204", status, body)
	}
	if _, err := fleet.Arm(&m.Record, fleet.Armed{Plan: api.Plan{ID: "p"}}, time.Now()); err != nil {
		t.Fatal(err)
	}
	status, body = post(api.PathEvents, fmt.Sprintf(`{"session":"s1","mac":%q,"plan":"old","events":[]}`, doortest.MAC))
	if status != 409 || !strings.Contains(body, "cancelled or replaced") {
		t.Errorf("report of a lost plan = %d %s; want 409 and why", status, body)
	}
}

func TestAgentBadInput(t *testing.T) {
	base := serve(t, doortest.NewMachines())
	event := func(fields string) string {
		return events(`{"seq":1,"time":"2026-01-01T00:00:00Z","step":"flash","state":"done"` + fields + `}`)
	}
	for _, tt := range []struct {
		name, path, body string
		status           int
	}{
		{"empty", api.PathHello, "", 400},
		{"not JSON", api.PathHello, "hello", 400},
		{"trailing data", api.PathHello, hello("") + "{}", 400},
		{"wrong type", api.PathHello, hello(`,"cpus":"four"`), 400},
		{"number too large", api.PathHello, hello(`,"memory":1e400`), 400},
		{"negative", api.PathHello, hello(`,"memory":-1`), 400},
		{"not a number", api.PathHello, hello(`,"memory":NaN`), 400},
		{"deep", api.PathHello, hello(`,"x":` + strings.Repeat("[", 10000) + strings.Repeat("]", 10000)), 400},
		{"large", api.PathHello, hello(`,"cpu":"` + strings.Repeat("a", api.MaxBody) + `"`), 413},
		{"not UTF-8", api.PathHello, hello(`,"cpu":"` + "\xff" + `"`), 400},
		{"no MAC", api.PathHello, `{"session":"s1"}`, 400},
		{"no session", api.PathHello, `{"inventory":{"mac":"` + doortest.MAC + `"}}`, 400},
		{"session with a newline", api.PathHello, strings.Replace(hello(""), "s1", `s\n`, 1), 400},
		{"multicast MAC", api.PathHello, strings.Replace(hello(""), doortest.MAC, "01:00:5e:00:00:01", 1), 400},
		{"seq 0", api.PathEvents, events(`{"seq":0,"time":"2026-01-01T00:00:00Z","step":"a","state":"done"}`), 400},
		{"no order", api.PathEvents, events(`{"seq":2,"state":"done"},{"seq":1,"state":"done"}`), 400},
		{"unknown state", api.PathEvents, events(`{"seq":1,"state":"dancing"}`), 400},
		{"time", api.PathEvents, events(`{"seq":1,"time":"yesterday","state":"done"}`), 400},
		{"more than all", api.PathEvents, event(`,"progress":{"phase":"write","done":11,"total":10}`), 400},
		{"negative progress", api.PathEvents, event(`,"progress":{"phase":"write","done":-1,"total":10}`), 400},
		{"negative rate", api.PathEvents, event(`,"progress":{"rate":-1}`), 400},
		{"negative receipt", api.PathEvents, event(`,"receipt":{"written":-1}`), 400},
		{"many events", api.PathEvents, events(strings.TrimSuffix(strings.Repeat(`{"seq":1},`, 2000), ",")), 400},
		{"no hello before", api.PathEvents, event(``), 425},
		{
			"receipt without an arm", api.PathEvents, strings.Replace(event(`,"receipt":{"plan":"p"}`), `"session"`, `"plan":"p","session"`, 1),
			409,
		},
	} {
		resp, body := doortest.Request(t, "POST", base+tt.path, tt.body, "Content-Type", "application/json")
		var p api.Problem
		if err := json.Unmarshal([]byte(body), &p); resp.StatusCode != tt.status || err != nil || p.Detail == "" {
			t.Errorf("%s: %d %.200s; want %d and a detail", tt.name, resp.StatusCode, body, tt.status)
		}
	}
	for name, header := range map[string][]string{
		"gzip":    {"Content-Type", "application/json", "Content-Encoding", "gzip"},
		"form":    {"Content-Type", "application/x-www-form-urlencoded"},
		"no type": nil,
	} {
		if resp, _ := doortest.Request(t, "POST", base+api.PathHello, hello(""), header...); resp.StatusCode != 415 {
			t.Errorf("%s: %d; want 415", name, resp.StatusCode)
		}
	}
}

// A machine's own words must not drive the operator's terminal.
func TestInventoryIsCleaned(t *testing.T) {
	m := doortest.NewMachines()
	body := hello(`,"serial":"a\u001b[31m\r\n\u202eb","vendor":"` + strings.Repeat("v", 5000) +
		`","nics":[{"mac":"52-54-00-00-00-02"},{"mac":"00:00:00:00:00:00"}]`)
	resp, answer := doortest.Request(t, "POST", serve(t, m)+api.PathHello, body, "Content-Type", "application/json")
	if resp.StatusCode != 200 {
		t.Fatalf("hello = %d %s", resp.StatusCode, answer)
	}
	inv := m.Record.Inventory
	if inv.Serial != "a?[31m???b" || len(inv.Vendor) != budget.Label || inv.NICs[0].MAC != "52:54:00:00:00:02" || inv.NICs[1].MAC != "" {
		t.Errorf("kept serial %q, vendor of %d bytes, NICs %v", inv.Serial, len(inv.Vendor), inv.NICs)
	}
}

// What the checks let through must survive the rules and the way to the
// store and back.
func FuzzHello(f *testing.F) {
	f.Add([]byte(hello("")))
	f.Add([]byte(hello(`,"disks":[{"name":"sda","size":1,"holds":["GPT"]}],"nics":[{"mac":"x"}]`)))
	f.Fuzz(func(t *testing.T, p []byte) {
		var h api.Hello
		if len(p) > api.MaxBody || reply.DecodeOne(p, &h) != nil || wire.CheckHello(&h) != nil {
			return
		}
		m := fleet.Record{MAC: h.Inventory.MAC}
		if a, _ := fleet.Hello(&m, h, "", false, time.Now()); a.Plan != nil {
			t.Errorf("a plan without an arm: %+v", a)
		}
		roundTrip(t, &m)
	})
}

func FuzzReport(f *testing.F) {
	f.Add([]byte(events(`{"seq":1,"time":"2026-01-01T00:00:00Z","step":"flash","state":"progress","progress":{"done":1,"total":2}}`)))
	f.Add([]byte(events(`{"seq":9,"step":"handoff","state":"start","receipt":{"plan":"p","image":"i","phaseTimes":{"write":1.5}}}`)))
	f.Fuzz(func(t *testing.T, p []byte) {
		var r api.Report
		now := time.Now()
		if len(p) > api.MaxBody || reply.DecodeOne(p, &r) != nil || wire.CheckReport(&r, now) != nil {
			return
		}
		m := fleet.Record{MAC: r.MAC}
		_, _ = fleet.Arm(&m, fleet.Armed{Plan: api.Plan{ID: r.Plan}}, now)
		m.Session = r.Session
		if kept, err := fleet.Report(&m, r, "", now); err == nil {
			for _, e := range kept {
				if _, err := json.Marshal(e); err != nil {
					t.Errorf("event cannot be stored: %v", err)
				}
			}
		}
		roundTrip(t, &m)
	})
}

func roundTrip(t *testing.T, m *fleet.Record) {
	t.Helper()
	p, err := json.Marshal(m)
	if err != nil {
		t.Fatalf("machine cannot be stored: %v", err)
	}
	var back fleet.Record
	if err := json.Unmarshal(p, &back); err != nil {
		t.Fatalf("machine cannot be read back: %v", err)
	}
}

// answering is a room that answers every hello alike.
type answering struct {
	Machines
	action string
}

func (a answering) Hello(context.Context, api.Hello, string) (api.Answer, error) {
	return api.Answer{Action: a.action, Retry: 20}, nil
}

// A room of agents that wait says hello all the time, and nothing of it is in
// the log but of one that gets something to do.
func TestAgentsThatWaitAreNotLogged(t *testing.T) {
	for action, logged := range map[string]bool{api.ActionWait: false, api.ActionLocalDisk: true, api.ActionFlash: true} {
		var log lockedbuf.Buffer
		d := &Door{Machines: answering{action: action}, Log: slog.New(slog.NewTextHandler(&log, nil))}
		srv := httptest.NewServer(door.Handler(d))
		if resp, answer := doortest.Request(t, "POST", srv.URL+api.PathHello, hello(""), "Content-Type",
			"application/json"); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", action, resp.StatusCode, answer)
		}
		srv.Close()
		if got := strings.Contains(log.String(), "msg=hello"); got != logged {
			t.Errorf("an answer of %s is logged: %v; want %v\n%s", action, got, logged, log.String())
		}
	}
}
