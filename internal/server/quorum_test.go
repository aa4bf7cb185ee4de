package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/lockedbuf"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/server/state/etcdtest"
	"github.com/gild-dev/gild/internal/settings"
	"github.com/gild-dev/gild/internal/tier"
)

// answerWithin is for a server that never answers: it gives a read of a state
// that is out of reach up after 5 seconds.
const answerWithin = 2 * time.Minute

// A server whose cluster has lost its majority says so to everybody, soon, and
// works on when the majority is back.
func TestLostQuorum(t *testing.T) {
	tier.Slow(t, "starts an etcd of three members")
	members := etcdtest.Start(t, 3)
	s := newServer(t, t.TempDir())
	s.State.Etcd = &etcd.Cluster{Endpoints: etcdtest.Endpoints(members)}
	var log lockedbuf.Buffer
	s.Log = slog.New(slog.NewTextHandler(&log, nil))
	r := start(t, s)
	get(t, r.BaseURL+"/machine.ipxe?mac="+mac)
	if _, err := r.operator.Flash(t.Context(), mac, api.FlashRequest{Settings: settings.Settings{Image: "debian"}}); err != nil {
		t.Fatal(err)
	}
	var seen changes
	var following sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	following.Go(func() { _ = r.operator.Follow(ctx, seen.take) })
	defer func() { stop(); following.Wait() }()
	if !seen.wait(mac) {
		t.Fatal("a follower hears of nothing")
	}

	agent := func(path string, v any) func() *http.Request {
		p, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return func() *http.Request { return request(t, http.MethodPost, r.BaseURL+path, p) }
	}
	operator := "http://" + r.Operator
	asked := map[string]func() *http.Request{
		"boot script": func() *http.Request { return request(t, http.MethodGet, r.BaseURL+"/machine.ipxe?mac="+mac, nil) },
		"hello":       agent(api.PathHello, machinestest.Hello("s1", mac)),
		"report": agent(api.PathEvents, api.Report{Session: "s1", MAC: mac, Events: []api.Event{
			{Seq: 1, Time: time.Now(), Step: fleet.StepFlash, State: api.StateStart},
		}}),
		"list":      func() *http.Request { return request(t, http.MethodGet, operator+api.PathMachines, nil) },
		"log":       func() *http.Request { return request(t, http.MethodGet, operator+api.PathEventLog, nil) },
		"servers":   func() *http.Request { return request(t, http.MethodGet, operator+api.PathServers, nil) },
		"dashboard": func() *http.Request { return request(t, http.MethodGet, operator+"/", nil) },
		"register": func() *http.Request {
			return request(t, http.MethodPost, operator+api.PathMachines, []byte(`{"name":"web-2","macs":["52:54:00:00:00:02"]}`))
		},
		"cancel": func() *http.Request {
			return request(t, http.MethodPost, operator+strings.Replace(api.PathCancel, "{machine}", mac, 1), nil)
		},
	}
	members[0].Kill()
	members[1].Kill()
	log.Reset()
	for round := range 2 {
		var all sync.WaitGroup
		for what, ask := range asked {
			all.Go(func() {
				begin := time.Now()
				resp, err := http.DefaultClient.Do(ask())
				if err != nil {
					t.Errorf("%s without a majority: %v", what, err)
					return
				}
				defer resp.Body.Close()
				p, _ := io.ReadAll(resp.Body)
				took := time.Since(begin)
				retry := resp.Header.Get("Retry-After") != "" || what == "dashboard"
				if resp.StatusCode != http.StatusServiceUnavailable || !retry || took > answerWithin {
					t.Errorf("%s without a majority: %d, Retry-After %q after %v: %.200s; want 503 within %v", what, resp.StatusCode,
						resp.Header.Get("Retry-After"), took, p, answerWithin)
				}
				t.Logf("round %d: %s: %d after %v", round, what, resp.StatusCode, took.Round(time.Millisecond))
			})
		}
		all.Wait()
	}
	if lines := strings.Count(log.String(), "\n"); lines > 3*len(asked)+20 {
		t.Errorf("the log has %d lines for %d requests:\n%s", lines, 2*len(asked), log.String())
	}
	if strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("the loss of a cluster is logged as an error of this server:\n%s", log.String())
	}

	members[0].Start(t)
	begin := time.Now()
	for time.Since(begin) < 2*time.Minute {
		if _, err := r.operator.Machines(t.Context(), ""); err == nil {
			break
		}
	}
	t.Logf("majority back: works again after %v", time.Since(begin).Round(time.Millisecond))
	if m, err := r.operator.Machine(t.Context(), mac); err != nil || m.Armed == nil {
		t.Fatalf("Machine with the majority back = %+v, %v; want it armed as before", m, err)
	}
	if script := get(t, r.BaseURL+"/machine.ipxe?mac="+mac); !strings.HasPrefix(script, "boot: ") {
		t.Errorf("the boot script of the armed machine = %q; want the agent", script)
	}
	if _, err := r.operator.Register(t.Context(), api.Spec{Name: "web-3", MACs: []string{"52:54:00:00:00:03"}}); err != nil {
		t.Errorf("Register = %v", err)
	}
	// Those who follow are told again what happens.
	if !seen.wait("52:54:00:00:00:03") {
		t.Errorf("a follower does not hear of a machine that was registered after the loss:\n%s", log.String())
	}
	// The server is announced anew when its lease was lost.
	servers, err := r.operator.Servers(t.Context())
	for begin := time.Now(); (err != nil || len(servers) != 1) && time.Since(begin) < 2*time.Minute; time.Sleep(200 * time.Millisecond) {
		servers, err = r.operator.Servers(t.Context())
	}
	if err != nil || len(servers) != 1 {
		t.Errorf("Servers with the majority back = %v, %v; want this one", servers, err)
	}
}

func request(t *testing.T, method, url string, body []byte) *http.Request {
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		panic(fmt.Sprint("a request of the test's own: ", err))
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// changes are the machines that a follower was told of.
type changes struct {
	mu  sync.Mutex
	ids map[string]bool
}

func (c *changes) take(ch api.Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ids == nil {
		c.ids = map[string]bool{}
	}
	c.ids[ch.ID] = true
	return nil
}

// wait gives a change some time to come.
func (c *changes) wait(id string) bool {
	for range 300 {
		c.mu.Lock()
		has := c.ids[id]
		c.mu.Unlock()
		if has {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}
