package instant

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/agent/background"
	"github.com/gild-dev/gild/internal/agent/boot"
	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/order"
	"github.com/gild-dev/gild/internal/agent/proc"
	"github.com/gild-dev/gild/internal/agent/proc/proctest"
	"github.com/gild-dev/gild/internal/agent/report"
	"github.com/gild-dev/gild/internal/agent/screen"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/agentclient"
	"github.com/gild-dev/gild/internal/golden"
)

// testEntry is PID 1's half in a session with a server.
func testEntry(t *testing.T, c *agentclient.Client) *Entry {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	session := &report.Session{ID: "s", MAC: "m", Client: c, Queue: report.NewQueue()}
	reporter := &report.Reporter{Console: &screen.Console{}, Kmsg: &screen.Kmsg{}, Queue: session.Queue, Uptime: func() float64 { return 0 }}
	return &Entry{
		Job: order.New(machine.Here, reporter, session, log), Tasks: background.Tasks{Log: log}, Kids: proc.NewChildren(),
		Reports: &background.Service{}, Lease: &background.Service{}, Restore: func() {},
	}
}

// An agent that was not left after all reports until its own end, not only
// until that of the step in which it tried.
func TestReportsOutlastTheStep(t *testing.T) {
	heard := make(chan string, 16)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var report api.Report
		if err := json.NewDecoder(r.Body).Decode(&report); err != nil {
			t.Error(err)
		}
		for _, e := range report.Events {
			heard <- e.Step
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer srv.Close()
	c, err := agentclient.New(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	e := testEntry(t, c)
	*e.Reports = e.Tasks.Serve(t.Context(), "report", e.Job.Session.Deliver)
	defer e.Reports.Stop()
	runner := boot.Runner{Report: e.Job.Report, Log: e.Tasks.Log, Cause: order.Cause}
	runner.Walk(t.Context(), []boot.Step{
		{Name: "flash", Run: e.Job.Session.Permitted(func(context.Context) (string, error) {
			e.Reports.Stop() // the keeper's task now
			e.takeBack(&process{briefed: true})
			return "", nil
		})},
		{Name: "handoff", Run: func(context.Context) (string, error) { return "", nil }},
	})
	for late := time.After(time.Minute); ; {
		select {
		case step := <-heard:
			if step == "handoff" {
				return
			}
		case <-late:
			t.Fatal("the server does not hear of the next step")
		}
	}
}

func TestTableFile(t *testing.T) {
	table, err := golden.NewTable(64<<10, golden.BLAKE3)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		if err := table.Append(64<<10, golden.Chunk{Hash: golden.Hash{byte(i), byte(i >> 8)}, Offset: int64(i) * 100, Length: 100}); err != nil {
			t.Fatal(err)
		}
	}
	f, err := tableFile(table)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cat := exec.CommandContext(t.Context(), "cat", "/dev/fd/3") // another process, as the keeper is
	cat.ExtraFiles = []*os.File{f}
	got, err := cat.Output()
	if err != nil {
		t.Fatal(err)
	}
	read, err := golden.ReadTable(bytes.NewReader(got))
	if err != nil || !reflect.DeepEqual(read, table) {
		t.Errorf("the keeper reads another table than it was given: %v", err)
	}
}

// systemd itself says whether it understands the unit, and tail whether it
// waits for a process.
func TestHoldReboot(t *testing.T) {
	pid, lives := proctest.Sleeper(t)
	dir := t.TempDir()
	for range 2 { // a handoff may be tried again
		if err := holdReboot(dir, pid); err != nil {
			t.Fatal(err)
		}
	}
	wanted := filepath.Join(dir, "multi-user.target.wants", holdName)
	text, err := os.ReadFile(wanted)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("systemd-analyze"); err == nil {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", "verify", wanted).CombinedOutput()
		if err != nil || strings.Contains(string(out), holdName) {
			t.Errorf("systemd-analyze verify: %v\n%s", err, out)
		}
	}
	_, stop, _ := strings.Cut(string(text), "ExecStop=")
	stop, _, _ = strings.Cut(stop, "\n")
	words := strings.Fields(stop)
	tail := exec.CommandContext(t.Context(), words[0], words[1:]...)
	if err := tail.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- tail.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("%s ended (%v) while the process lives", stop, err)
	case <-time.After(200 * time.Millisecond):
	}
	if p, err := os.FindProcess(pid); err != nil || p.Kill() != nil || !ends(lives) {
		t.Fatal("the process does not end")
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%s: %v", stop, err)
		}
	case <-time.After(time.Minute):
		t.Errorf("%s does not end with the process", stop)
	}
}

// ends waits until a process that was told to does.
func ends(lives func() bool) bool {
	for range 60 {
		if !lives() {
			return true
		}
	}
	return false
}
