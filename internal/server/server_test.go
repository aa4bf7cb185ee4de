package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/operatorclient"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/setup"
	"github.com/gild-dev/gild/internal/server/sniff"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/settings"
)

const mac = "52:54:00:00:00:01"

// oneImage is a store with one image, which is its own kernel.
type oneImage struct{ machinestest.OneImage }

type memFile struct{ *bytes.Reader }

func (memFile) Close() error { return nil }

func (s oneImage) List(context.Context) ([]api.Image, error) {
	return []api.Image{{Name: "debian", Digest: string(s.Digest)}}, nil
}

func (s oneImage) Blob(context.Context, golden.Digest) (io.ReadSeekCloser, error) {
	return memFile{bytes.NewReader([]byte("blob"))}, nil
}

func (s oneImage) Spec(_ context.Context, q bootspec.Question) (bootspec.Spec, error) {
	return bootspec.Spec{Source: q.Image, Cmdline: "gild.server=" + strings.Join(q.Servers, ",") + " gild.ticket=" + q.Ticket + " ro"}, nil
}

func (s oneImage) Open(ctx context.Context, _ golden.Digest, _ string) (bootspec.File, error) {
	blob, err := s.Blob(ctx, "")
	return bootspec.File{ReadSeekCloser: blob, Tag: "tag"}, err
}

func TestFlashThroughTheServer(t *testing.T) {
	dir := t.TempDir()
	r := start(t, newServer(t, dir))
	ticket := ""
	script := func(want string) {
		t.Helper()
		got := get(t, r.BaseURL+"/machine.ipxe?mac=52-54-00-00-00-01")
		if before, word, ok := strings.Cut(got, "gild.ticket="); ok {
			var rest string
			ticket, rest, _ = strings.Cut(word, " ")
			got = before + rest
		}
		if !strings.HasPrefix(got, want) {
			t.Fatalf("script = %q; want %q", got, want)
		}
	}
	if _, err := r.operator.Flash(t.Context(), mac, api.FlashRequest{Settings: settings.Settings{Image: "debian"}}); err == nil ||
		!strings.Contains(err.Error(), "--unseen") {
		t.Errorf("Flash of a machine never seen = %v; want an error that says how", err)
	}
	script("local:")
	m, err := r.operator.Flash(t.Context(), "5254.0000.0001", api.FlashRequest{Settings: settings.Settings{Image: "debian"}})
	if err != nil || m.State != api.MachineArmed || m.Armed.Plan.ReadBack != "full" || m.Armed.Plan.Handoff != "auto" || !m.Armed.Plan.Grow {
		t.Fatalf("Flash = %+v, %v; want an armed machine with the defaults", m.Armed, err)
	}

	// A server that is killed and comes back knows all of it.
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	r = start(t, newServer(t, dir))
	script("boot: gild.server=" + sniff.Base(r.BaseURL) + " ro")
	if ticket == "" {
		t.Fatal("the boot script holds no ticket")
	}
	hello := fmt.Sprintf(`{"version":%d,"session":"s1","ticket":%q,"inventory":{"mac":"52:54:00:00:00:02","nics":[{"mac":%q}]}}`, api.Version,
		ticket, mac)
	if status := r.say(t, api.PathHello, hello); status != 200 {
		t.Fatalf("hello through another NIC = %d; want 200", status)
	}
	report := fmt.Sprintf(`{"session":"s1","mac":%q,"plan":%q,"events":[
		{"seq":1,"time":"2026-11-22T12:00:00Z","step":"flash","state":"start"},
		{"seq":2,"time":"2026-11-22T12:00:01Z","step":"flash","state":"done","receipt":{"plan":%q,"image":%q}}]}`,
		mac, m.Armed.Plan.ID, m.Armed.Plan.ID, m.Armed.Plan.Image.Digest)
	for range 2 { // the second one as if the answer was lost
		if status := r.say(t, api.PathEvents, report); status != 204 {
			t.Fatalf("report = %d; want 204", status)
		}
	}
	script("local: already flashed")
	events, err := r.operator.Events(t.Context(), mac)
	if err != nil {
		t.Fatal(err)
	}
	var steps []string
	for _, e := range events {
		steps = append(steps, e.Step+" "+e.State)
	}
	want := []string{"discover done", "boot done", "arm done", "boot done", "hello done", "flash start", "flash done", "boot done"}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// What a monitoring system reads tells of the boot, on the operator's side
// only.
func TestMetrics(t *testing.T) {
	r := start(t, newServer(t, t.TempDir()))
	get(t, r.BaseURL+"/machine.ipxe?mac="+mac)
	text := get(t, "http://"+r.Operator+"/metrics")
	for _, want := range []string{
		`gild_machines{state="discovered"} 1`,
		`gild_transitions_total{actor="machine",state="discovered"} 1`,
		`gild_http_requests_total{code="200",listener="boot",route="GET /machine.ipxe"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("metrics lack %q", want)
		}
	}
	t.Run("promtool", func(t *testing.T) {
		promtool, err := exec.LookPath("promtool")
		if err != nil {
			t.Skip("promtool is not installed (Debian: prometheus)")
		}
		check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
		check.Stdin = strings.NewReader(text)
		if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool check metrics: %v\n%s", err, out)
		}
	})
	if got := get(t, r.BaseURL+"/metrics"); strings.Contains(got, "gild_") {
		t.Error("machines can read the metrics")
	}
}

func TestOperatorErrors(t *testing.T) {
	r := start(t, newServer(t, t.TempDir()))
	get(t, r.BaseURL+"/machine.ipxe?mac="+mac)
	unseen := func(f api.FlashRequest) api.FlashRequest { f.Unseen = true; return f }
	for _, tt := range []struct {
		name   string
		err    error
		status int
		says   string
	}{
		{"machine", second(r.operator.Machine(t.Context(), "52:54:00:00:00:99")), 404, "gild machine ls"},
		{"MAC", second(r.operator.Machine(t.Context(), "nonsense")), 404, "gild machine ls"},
		{"multicast", second(r.operator.Flash(t.Context(), "01:00:5e:00:00:01",
			unseen(api.FlashRequest{Settings: settings.Settings{Image: "debian"}}))), 422, "multicast"},
		{
			"image", second(r.operator.Flash(t.Context(), mac, api.FlashRequest{Settings: settings.Settings{Image: "windows"}})), 404,
			"gild image ls",
		},
		{"no image", second(r.operator.Flash(t.Context(), mac, api.FlashRequest{})), 422, ""},
		{
			"read-back", second(r.operator.Flash(t.Context(), mac,
				api.FlashRequest{Settings: settings.Settings{Image: "debian", Agent: settings.Agent{ReadBack: "never"}}})), 422,
			"readBack: expected value to be one of",
		},
		{
			"expiry", second(r.operator.Flash(t.Context(), mac, api.FlashRequest{Settings: settings.Settings{Image: "debian"}, Expires: -2})), 422,
			"",
		},
		{"delete", r.operator.Delete(t.Context(), "52:54:00:00:00:99", false), 404, "gild machine ls"},
	} {
		p, ok := errors.AsType[*operatorclient.ProblemError](tt.err)
		if !ok || p.Status != tt.status || !strings.Contains(p.Detail, tt.says) {
			t.Errorf("%s: %v; want status %d and %q", tt.name, tt.err, tt.status, tt.says)
		}
	}
	if _, err := r.operator.Flash(t.Context(), "52:54:00:00:00:77",
		unseen(api.FlashRequest{Settings: settings.Settings{Image: "debian"}})); err != nil {
		t.Errorf("Flash of an unseen machine on demand = %v; want nil", err)
	}
	if err := r.operator.Delete(t.Context(), mac, false); err != nil {
		t.Errorf("Delete = %v; want nil", err)
	}
	if images, err := r.operator.Images().List(t.Context()); err != nil || len(images) != 1 {
		t.Errorf("Images = %v, %v; want one", images, err)
	}
	if doc := get(t, "http://"+r.Operator+"/openapi.json"); !strings.Contains(doc, "/api/v1/machines/{machine}/flash") {
		t.Errorf("openapi.json does not describe the flash operation: %.200s", doc)
	}
}

func second[T any](_ T, err error) error { return err }

// A page in the operator's browser must not reach the API.
func TestOperatorRefusesWebPages(t *testing.T) {
	r := start(t, newServer(t, t.TempDir()))
	for _, tt := range []struct {
		method, key, value string
		status             int
	}{
		{"GET", "Host", "evil.example", 421},
		{"GET", "Host", "evil.example:" + r.Operator[strings.LastIndex(r.Operator, ":")+1:], 421},
		{"GET", "Host", "127.0.0.1.evil.example", 421},
		{"GET", "Host", "localhost:8081", 200},
		{"GET", "Host", "[::1]:8081", 200},
		{"GET", "Origin", "http://evil.example", 403},
		{"GET", "Origin", "null", 403},
		{"GET", "Origin", "http://" + r.Operator, 200},
		{"POST", "Sec-Fetch-Site", "cross-site", 403},
		{"GET", "Sec-Fetch-Site", "cross-site", 403}, // an image or a script of another site
		{"GET", "Sec-Fetch-Site", "same-site", 403},
		{"GET", "Sec-Fetch-Site", "same-origin", 200},
		{"GET", "Sec-Fetch-Site", "none", 200},
		{"GET", "X-Forwarded-For", "203.0.113.9", 403}, // a proxy in front
		{"GET", "Forwarded", "for=203.0.113.9", 403},
		{"GET", "Via", "1.1 proxy", 403},
		{"GET", "X-Real-IP", "203.0.113.9", 403},
		{"GET", "X-Plain", "curl", 200},
	} {
		path := api.PathMachines
		if tt.method == "POST" {
			path = "/api/v1/machines/" + mac + "/cancel"
		}
		req, err := http.NewRequestWithContext(t.Context(), tt.method, "http://"+r.Operator+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(tt.key, tt.value)
		if tt.key == "Host" {
			req.Host = tt.value
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != tt.status {
			t.Errorf("%s with %s: %s = %d; want %d", tt.method, tt.key, tt.value, resp.StatusCode, tt.status)
		}
	}
}

func TestSetupErrors(t *testing.T) {
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	locked := t.TempDir()
	db, err := etcd.Start(t.Context(), locked, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, tt := range []struct {
		name string
		set  func(*served)
		says string
	}{
		{"port taken", func(s *served) { s.BootAddr = taken.Addr().String() }, fmt.Sprintf("(pid %d)", os.Getpid())},
		{"no such address", func(s *served) { s.BootAddr = "192.0.2.77:0" }, "cannot assign"},
		{"no port", func(s *served) { s.BootAddr = "127.0.0.1" }, "boot HTTP"},
		{"any address", func(s *served) { s.BootAddr = "0.0.0.0:0" }, "machines can be sent to"},
		{"locked", func(s *served) { s.State.DataDir = locked }, "locked by another gild serve"},
		{"protocol", func(s *served) {
			s.protocols = []service.Opener[*machines.Core]{{
				Name: "dhcp",
				Open: func(context.Context, *machines.Core) (service.Service, func() error, error) {
					return nil, nil, setup.ListenError("dhcp", "udp", "192.0.2.1:67", os.ErrPermission)
				},
			}}
		}, "dhcp"},
	} {
		s := newServer(t, t.TempDir())
		tt.set(&s)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // one that starts after all would run for ever
		err := s.Run(ctx)
		cancel()
		h, ok := errors.AsType[interface {
			error
			Hint() string
		}](err)
		if err == nil || !strings.Contains(err.Error(), tt.says) || !ok || h.Hint() == "" {
			t.Errorf("%s: Run = %v; want %q and a hint", tt.name, err, tt.says)
		}
	}
}

func TestInterfaceAddr(t *testing.T) {
	p, err := setup.InterfaceAddr("lo", netip.Addr{})
	if err != nil || p != netip.MustParsePrefix("127.0.0.1/8") {
		t.Errorf("InterfaceAddr(lo) = %v, %v; want 127.0.0.1/8", p, err)
	}
	_, err = setup.InterfaceAddr("gone0", netip.Addr{})
	if e, ok := errors.AsType[*setup.Error](err); !ok || !strings.Contains(e.Hint(), "lo 127.0.0.1/8") {
		t.Errorf("InterfaceAddr(gone0) = %v; want an error whose hint lists lo", err)
	}
}

// protocol fails or runs until it is stopped.
type protocol struct{ err error }

func (s protocol) Run(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	<-ctx.Done()
	return ctx.Err()
}

func TestFailingServiceStopsAll(t *testing.T) {
	broken := errors.New("socket vanished")
	closed := 0
	opener := func(name string, err error) service.Opener[*machines.Core] {
		return service.Opener[*machines.Core]{Name: name, Open: func(context.Context, *machines.Core) (service.Service, func() error, error) {
			return protocol{err}, func() error { closed++; return nil }, nil
		}}
	}
	s := newServer(t, t.TempDir())
	s.protocols = []service.Opener[*machines.Core]{opener("tftp", nil), opener("dhcp", broken)}
	if err := s.Run(t.Context()); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "dhcp: ") || closed != 2 {
		t.Errorf("Run = %v with %d closed; want dhcp's error, both closed", err, closed)
	}
}

func TestNothingIsLeftAfterRun(t *testing.T) {
	before := runtime.NumGoroutine()
	r := start(t, newServer(t, t.TempDir()))
	get(t, r.BaseURL+"/healthz")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	connected := make(chan struct{}, 1)
	go func() {
		done <- r.operator.Follow(ctx, func(api.Change) error { connected <- struct{}{}; return nil })
	}()
	<-connected
	// The open stream must not keep the server from stopping.
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-done
	http.DefaultClient.CloseIdleConnections()
	var after int
	for range 100 {
		if after = runtime.NumGoroutine(); after <= before {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("%d goroutines before, %d after:\n%s", before, after, stacks[:runtime.Stack(stacks, true)])
}
