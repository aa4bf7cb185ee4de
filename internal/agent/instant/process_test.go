package instant

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/agent/machine"
	"github.com/gild-dev/gild/internal/agent/order"
	"github.com/gild-dev/gild/internal/agent/order/ordertest"
	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/api/agentclient"
	"github.com/gild-dev/gild/internal/golden"
)

// TestMain lets the tests start a keeper: the program of the tests, by a
// keeper's name.
func TestMain(m *testing.M) {
	if os.Args[0] == KeeperName {
		_ = Keep() // it tells how that went
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hearsay is a server that takes reports, and knows what it was told.
type hearsay struct {
	mu   sync.Mutex
	told []string
	seqs []uint64
	news chan struct{}
}

func (h *hearsay) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var report api.Report
	_ = json.NewDecoder(r.Body).Decode(&report)
	h.mu.Lock()
	for _, e := range report.Events {
		h.told, h.seqs = append(h.told, e.Step), append(h.seqs, e.Seq)
	}
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default:
	}
	w.WriteHeader(http.StatusNoContent)
}

// hears waits until the server was told of a step, and returns all it was told.
func (h *hearsay) hears(t *testing.T, step string) []string {
	t.Helper()
	for late := time.After(10 * time.Second); ; {
		h.mu.Lock()
		told := slices.Clone(h.told)
		h.mu.Unlock()
		if slices.Contains(told, step) {
			return told
		}
		select {
		case <-h.news:
		case <-late:
			t.Fatalf("the server heard %q; want %s among it", told, step)
		}
	}
}

// A keeper that dies, hangs or gives up at any moment of the hand-over is told
// apart from one that serves, in bounded time; and whatever it does, the
// reports continue: a server that hears of no receipt has the machine flashed
// again.
func TestKeeperThatDoesNotKeep(t *testing.T) {
	long := strings.Repeat("long ", 40_000) // more than a pipe holds
	for _, tt := range []struct {
		name   string
		script string
		repo   string // makes the brief long
		err    string
		told   []string
	}{
		{"dies at once", "exit 1", "", "has ended", []string{"before", "after"}},
		{"dies at once, the brief is long", "exit 1", long, "has ended", []string{"before", "after"}},
		{"says nothing", "exec sleep 100", "", "waiting for the keeper", []string{"before", "after"}},
		{"dies before a short brief", "echo '{\"Version\":1}'; exec <&-; exit 1", "", "keeper of the disk", nil},
		{"dies before a long brief", "echo '{\"Version\":1}'; exit 1", long, "talking to the keeper", []string{"before", "after"}},
		{
			"dies within a long brief", "echo '{\"Version\":1}'; head -c 100 >/dev/null; exit 1", long, "talking to the keeper",
			[]string{"before", "after"},
		},
		{"does not listen to a long brief", "echo '{\"Version\":1}'; exec sleep 100", long, "talking to the keeper", []string{"before", "after"}},
		{"is another program", "echo '{\"Version\":2}'; exec cat", "", "speaks version 2", []string{"before", "after"}},
		{"is an older program", "echo {}; exec cat", "", "speaks version 0", []string{"before", "after"}},
		{"hears all and dies", "echo '{\"Version\":1}'; head -n 1 >/dev/null; exit 1", "", "has ended", []string{"after"}},
		{
			"hears all, hangs, and says nothing", "echo '{\"Version\":1}'; head -n 1 >/dev/null; exec sleep 100", "", "waiting for the keeper",
			[]string{"after"},
		},
		{
			"gives up",
			`echo '{"Version":1}'; head -n 1 >/dev/null; echo '{"Error":"no nbd","Queue":{"Seq":40,"Events":[{"Plan":"p","Event":{"step":"kept"}}]}}'`, "", "no nbd",
			[]string{"kept", "after"},
		},
		{
			"gives up when it is dismissed",
			`echo '{"Version":1}'; cat >/dev/null; echo '{"Error":"end","Queue":{"Seq":40,"Events":[{"Plan":"p","Event":{"step":"kept"}}]}}'`, "",
			"waiting for the keeper",
			[]string{"kept", "after"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			heard := &hearsay{news: make(chan struct{}, 1)}
			srv := httptest.NewServer(heard)
			defer srv.Close()
			c, err := agentclient.New(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			e := testEntry(t, c)
			e.Job.Target.Plan = &api.Plan{ID: "p", Image: api.PlanImage{Repository: tt.repo}}
			e.Job.Target.Image = &golden.Image{Config: &golden.Config{}}
			e.Job.Session.Queue.Add(api.Event{Step: "early"})
			*e.Reports = e.Tasks.Serve(t.Context(), "report", e.Job.Session.Deliver)
			heard.hears(t, "early")
			if !e.Job.Session.Queue.Flush(t.Context(), 10*time.Second) {
				t.Fatal("the first report was not taken")
			}
			e.Reports.Stop()
			e.Job.Session.Queue.Add(api.Event{Step: "before"}) // not reported yet when it is handed over

			k, err := e.talkTo(func(in, out *os.File) (*os.Process, error) {
				return e.Kids.Start("/bin/sh", []string{"sh", "-c", tt.script}, &os.ProcAttr{Files: []*os.File{in, out, nil}})
			})
			if err != nil {
				t.Fatal(err)
			}
			const patience = 300 * time.Millisecond
			if k.tellPatience, k.endPatience = patience, patience; tt.name == "says nothing" {
				k.startPatience = patience
			}
			if err = e.handOver(t.Context(), k); err == nil {
				_, err = k.await(t.Context(), patience)
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("the keeper is taken for a good one, or the error is %v; want %q in it", err, tt.err)
			}
			_ = k.dismiss()
			e.takeBack(k)
			defer e.Reports.Stop()
			e.Job.Session.Queue.Add(api.Event{Step: "after"})
			told := heard.hears(t, "after")
			if tt.told != nil && !slices.Equal(told[1:], tt.told) {
				t.Errorf("the server heard %q after the hand-over; want %q", told[1:], tt.told)
			}
			heard.mu.Lock()
			defer heard.mu.Unlock()
			if s := slices.Clone(heard.seqs); len(slices.Compact(slices.Sorted(slices.Values(s)))) != len(s) {
				t.Errorf("two events have one number: %v", heard.seqs)
			}
		})
	}
}

// A real keeper says that it is there, hears what to do, and gives back what it
// could not report when it gives up.
func TestKeeperGivesBackItsReports(t *testing.T) {
	deaf := httptest.NewServer(http.NotFoundHandler())
	deaf.Close()
	c, err := agentclient.New(deaf.URL)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	table, err := golden.NewTable(golden.MinChunkSize, golden.BLAKE3)
	if err == nil {
		err = table.Append(golden.MinChunkSize, golden.Chunk{Length: 100})
	}
	if err != nil {
		t.Fatal(err)
	}
	const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	e := testEntry(t, c)
	e.Job.Target.Disk = api.Disk{Name: "no-such-disk"}
	e.Job.Target.Plan = &api.Plan{ID: "p", Image: api.PlanImage{Repository: "golden/x", Digest: digest}, Agreed: api.Agreed{Unseen: true}}
	e.Job.Target.Image = &golden.Image{Config: &golden.Config{}, Table: table}
	e.Job.Session.Queue.Under("p")
	e.Job.Session.Queue.Add(api.Event{Step: "before"})
	chunks, err := tableFile(table)
	if err != nil {
		t.Fatal(err)
	}
	defer chunks.Close()
	k, err := e.talkTo(func(in, out *os.File) (*os.Process, error) {
		return e.Kids.Start(self, []string{KeeperName}, &os.ProcAttr{Files: []*os.File{in, out, os.Stderr, chunks}})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.handOver(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if !e.Job.Session.Queue.Empty() {
		t.Error("what was handed over is still PID 1's")
	}
	if _, err := k.await(t.Context(), readyPatience); err == nil || !strings.Contains(err.Error(), "no-such-disk") {
		t.Errorf("the keeper of a disk that is not there says %v", err)
	}
	if err := k.dismiss(); err != nil {
		t.Error(err)
	}
	e.takeBack(k)
	if plan, events := e.Job.Session.Queue.Batch(); plan != "p" || len(events) == 0 || events[0].Step != "before" {
		t.Errorf("PID 1 goes on with %v of plan %q; want what it had handed over", events, plan)
	}
}

// A keeper does nothing for a PID 1 that it does not understand.
func TestKeeperOfAnotherVersion(t *testing.T) {
	var said bytes.Buffer
	_, _, err := meetPidOne(strings.NewReader(`{"Version":2,"Plan":{"id":"p"}}`), &said)
	if err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("meetPidOne() = %v; want that it speaks version 2", err)
	}
	if _, b, err := meetPidOne(strings.NewReader(`{"Version":1,"Plan":{"id":"p"}}`), &said); err != nil || b.Plan.ID != "p" {
		t.Errorf("meetPidOne() = %+v, %v; want the plan", b, err)
	}
	if _, _, err := meetPidOne(strings.NewReader(`{"Version":`), &said); err == nil {
		t.Error("half a brief is taken for one")
	}
}

// The keeper holds the disk that it opens against the plan as every other step
// does.
func TestKeeperOpensWhatWasAgreed(t *testing.T) {
	ordertest.OnAnotherDisk(t, "instant flash", func(host *machine.Played, plan *api.Plan, disk api.Disk, image *golden.Image) (string,
		error,
	) {
		k := newKeeper(pidOne{}, brief{Version: version, Session: "s", MAC: ordertest.MAC, Plan: plan, Disk: disk})
		k.job.Target.Host, k.job.Target.Image = host, image
		err := k.takeOff(t.Context(), t.Context())
		return order.Cause("flash", err), err
	})
}
