package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/progress"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/tftpd"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func want(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("metrics have no line %q", line)
		}
	}
}

func TestMachines(t *testing.T) {
	m := New("v1", func(context.Context) ([]api.Machine, error) {
		return []api.Machine{
			{State: api.MachineFlashing, Estimate: &progress.Estimate{Rate: 1e6, WireRate: 5e5}},
			{State: api.MachineFlashing, Estimate: &progress.Estimate{Rate: 2e6}, Stuck: time.Now()},
			{State: api.MachineRegistered, Progress: &api.Progress{Rate: 5e6}, Conflict: "another"},
			{State: api.MachineFlashing, Trouble: &api.Trouble{Cause: api.CauseDiskTooSmall, Tries: 70}},
			{State: api.MachineFailed, Trouble: &api.Trouble{Cause: api.CauseBootFailed}},
			{State: api.MachineArmed, Trouble: &api.Trouble{Cause: "made up"}},
			{State: api.MachineDiscovered, Waiting: true},
		}, nil
	})
	want(t, scrape(t, m),
		`gild_machines{state="flashing"} 3`, `gild_machines{state="registered"} 1`, `gild_machines{state="running"} 0`,
		`gild_machines_in_trouble{cause="disk-too-small"} 1`, `gild_machines_in_trouble{cause="boot-failed"} 1`,
		`gild_machines_in_trouble{cause="other"} 1`,
		`gild_machines_stuck 1`, `gild_machines_in_conflict 1`, `gild_machines_waiting 1`, `gild_flash_data_bytes_per_second 3e+06`,
		`gild_flash_wire_bytes_per_second 500000`,
		`gild_build_info{version="v1"} 1`)
}

// A lost database must not take the server's own figures with it.
func TestMachinesUnreadable(t *testing.T) {
	m := New("v1", func(context.Context) ([]api.Machine, error) { return nil, errors.New("no leader") })
	m.TFTP(tftpd.Event{Outcome: tftpd.Sent, Acked: 100, Resent: 2})
	text := scrape(t, m)
	want(t, text, `gild_tftp_transfers_total{outcome="sent"} 1`, `gild_tftp_bytes_total 100`, `gild_tftp_resent_total 2`)
	if strings.Contains(text, "gild_machines{") {
		t.Error("machines are told although they could not be read")
	}
}

func TestEvents(t *testing.T) {
	m := New("v1", none)
	m.Event(api.Event{State: api.StateDone, To: api.MachineHandingOff, Actor: api.ActorAgent, Receipt: &api.Receipt{
		Written: 100, Wire: 40, PhaseTimes: map[string]float64{"write": 4, "read back": 2},
	}})
	m.Event(api.Event{State: api.StateFailed, Cause: "disk-none"})
	m.Event(api.Event{State: api.StateFailed})
	m.DHCP(dhcpd.Event{Client: dhcpd.PXE, Asked: dhcpv4.MessageTypeDiscover, Answer: dhcpv4.MessageTypeOffer})
	want(t, scrape(t, m),
		`gild_transitions_total{actor="agent",state="handing off"} 1`,
		`gild_failures_total{cause="disk-none"} 1`, `gild_failures_total{cause="none"} 1`,
		`gild_flash_bytes_total{kind="written"} 100`, `gild_flash_bytes_total{kind="wire"} 40`,
		`gild_flash_phase_seconds_sum{phase="write"} 4`, `gild_flash_phase_seconds_count{phase="read back"} 1`,
		`gild_dhcp_packets_total{answer="OFFER",asked="DISCOVER",client="`+dhcpd.PXE.String()+`"} 1`)
}

func none(context.Context) ([]api.Machine, error) { return nil, nil }

// What machines make up fills nobody's memory, and hides no real cause from an
// alert rule.
func TestWordsOfMachines(t *testing.T) {
	m := New("v1", none)
	before := testutil.CollectAndCount(m.failures)
	for i := range 1000 {
		made := fmt.Sprintf("made-up-%d", i)
		m.Event(api.Event{State: api.StateFailed, Cause: made})
		m.Event(api.Event{State: api.StateDone, Receipt: &api.Receipt{PhaseTimes: map[string]float64{made: 1, "write": 1}}})
		m.DHCP(dhcpd.Event{Asked: dhcpv4.MessageType(i)})
	}
	m.Event(api.Event{State: api.StateFailed, Cause: "\"}\n evil{"})
	m.Event(api.Event{State: api.StateFailed, Cause: api.CauseDiskSilent})
	if n := testutil.CollectAndCount(m.failures); n != before {
		t.Errorf("%d causes are told apart after %d", n, before)
	}
	text := scrape(t, m)
	want(t, text, `gild_failures_total{cause="other"} 1001`, `gild_failures_total{cause="disk-silent"} 1`,
		`gild_failures_total{cause="disk-busy"} 0`,
		`gild_flash_phase_seconds_count{phase="other"} 1000`, `gild_flash_phase_seconds_count{phase="write"} 1000`)
	if n := testutil.CollectAndCount(m.phases); n != 2 {
		t.Errorf("%d phases are told apart, want write and other", n)
	}
	if n := testutil.CollectAndCount(m.dhcp); n > len(asked)+2 {
		t.Errorf("%d kinds of DHCP packets are told apart", n)
	}
	if strings.Contains(text, "evil") || strings.Contains(text, "made-up") {
		t.Error("a made-up word reached the page")
	}
}

func TestHTTP(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /boot/{digest}/kernel", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.Copy(w, strings.NewReader("kernel"))
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flushing through the recorder: %v", err)
		}
	})
	m := New("v1", none)
	server := httptest.NewServer(m.HTTP("boot", mux))
	defer server.Close()
	for _, path := range []string{"/boot/sha256:00/kernel", "/boot/sha256:11/kernel", "/made/up"} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	server.Close() // waits for the handlers, which count at their end
	want(t, scrape(t, m),
		`gild_http_requests_total{code="206",listener="boot",route="GET /boot/{digest}/kernel"} 2`,
		`gild_http_requests_total{code="404",listener="boot",route="none"} 1`,
		`gild_http_sent_bytes_total{listener="boot",route="GET /boot/{digest}/kernel"} 12`,
		`gild_http_requests_underway{listener="boot"} 0`)
}

// The rules of promtool judge names, help texts and form.
func TestLint(t *testing.T) {
	m := New("v1", none)
	m.Event(api.Event{State: api.StateFailed, Cause: "disk-none", To: api.MachineFailed, Actor: api.ActorAgent})
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v, %v", problems, err)
	}
}
