package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/term"
)

// fakeServer speaks the operator API over real HTTP, as a test wants it to.
type fakeServer struct {
	*httptest.Server
	mu       sync.Mutex
	machines []api.Machine
	previews map[string]api.Preview // by machine ID
	refused  map[string]int         // status of a flash, by machine ID
	flashes  []api.Flash
	log      []api.LogEntry // oldest first
	stream   []api.Change   // changes so far, from id 1 on
	more     chan struct{}  // closed when the stream grows or is to be cut
	cuts     int
	token    string // wanted; empty: none
	asked    []string
	flashed  map[string]api.FlashRequest
	race     string // name of a machine that others change first
}

func newFake(t *testing.T, machines ...api.Machine) *fakeServer {
	t.Helper()
	f := &fakeServer{
		machines: machines, previews: map[string]api.Preview{}, refused: map[string]int{},
		more: make(chan struct{}), flashed: map[string]api.FlashRequest{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.PathMachines, func(w http.ResponseWriter, r *http.Request) {
		key, value, _ := strings.Cut(r.URL.Query().Get("selector"), "=")
		list := api.Machines{Machines: []api.Machine{}}
		for _, m := range f.machines {
			if key == "" || m.Spec.Labels[key] == value {
				list.Machines = append(list.Machines, m)
			}
		}
		answer(w, list)
	})
	mux.HandleFunc("POST "+api.PathMachines, func(w http.ResponseWriter, r *http.Request) {
		m := api.Machine{ID: "new", State: api.MachineRegistered}
		_ = json.NewDecoder(r.Body).Decode(&m.Spec)
		f.machines = append(f.machines, m)
		answer(w, m)
	})
	f.machineRoutes(mux)
	mux.HandleFunc("GET "+api.PathEventLog, func(w http.ResponseWriter, r *http.Request) {
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		entries := slices.Clone(f.log[max(0, len(f.log)-limit):])
		slices.Reverse(entries)
		answer(w, api.Log{Entries: entries})
	})
	mux.HandleFunc("GET "+api.PathServers, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, api.Servers{Servers: []api.Server{{Name: "one", BaseURL: "http://192.0.2.1:8080", Version: "v1"}}})
	})
	mux.HandleFunc("GET "+api.PathImages, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, api.Images{Images: []api.Image{{Name: "web"}, {Name: "db"}}})
	})
	mux.HandleFunc("GET "+api.PathFleet, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, api.Applied{Identities: []string{"plain"}})
	})
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.asked = append(f.asked, r.Method+" "+r.URL.RequestURI())
		token := f.token
		if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
			f.mu.Unlock()
			problem(w, http.StatusUnauthorized, "the admin token is wanted")
			return
		}
		if r.URL.Path == api.PathEventStream {
			f.mu.Unlock()
			f.follow(w, r)
			return
		}
		defer f.mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *fakeServer) machineRoutes(mux *http.ServeMux) {
	find := func(do func(w http.ResponseWriter, r *http.Request, m *api.Machine)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			name := r.PathValue("machine")
			for i := range f.machines {
				if m := &f.machines[i]; m.ID == name || m.Spec.Name == name || m.MAC == name {
					do(w, r, m)
					return
				}
			}
			problem(w, http.StatusNotFound, "no machine is known as "+name)
		}
	}
	mux.HandleFunc("GET "+api.PathMachine, find(func(w http.ResponseWriter, _ *http.Request, m *api.Machine) { answer(w, m) }))
	mux.HandleFunc("PUT "+api.PathMachine, find(func(w http.ResponseWriter, r *http.Request, m *api.Machine) {
		if r.URL.Query().Get("revision") != m.SpecRevision || m.Spec.Name == f.race && f.race != "" {
			problem(w, http.StatusConflict, "changed by somebody else since it was read")
			return
		}
		m.Spec = api.Spec{}
		_ = json.NewDecoder(r.Body).Decode(&m.Spec)
		answer(w, m)
	}))
	mux.HandleFunc("DELETE "+api.PathMachine, find(func(w http.ResponseWriter, r *http.Request, m *api.Machine) {
		if m.Writing && r.URL.Query().Get("force") != "true" {
			problem(w, http.StatusConflict, "the disk is being written")
			return
		}
		f.machines = slices.DeleteFunc(f.machines, func(o api.Machine) bool { return o.ID == m.ID })
		w.WriteHeader(http.StatusNoContent)
	}))
	mux.HandleFunc("POST "+api.PathPreview, find(func(w http.ResponseWriter, r *http.Request, m *api.Machine) {
		p := f.previews[m.ID]
		_ = json.NewDecoder(r.Body).Decode(&p.Request)
		p.Machine = *m
		answer(w, p)
	}))
	mux.HandleFunc("POST "+api.PathFlash, find(func(w http.ResponseWriter, r *http.Request, m *api.Machine) {
		var req api.FlashRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		if status := f.refused[m.ID]; status != 0 {
			problem(w, status, "what is on the disk has changed")
			return
		}
		f.flashed[m.ID] = req
		m.State, m.Armed = api.MachineArmed, &api.Armed{Plan: api.Plan{ID: "plan-" + m.ID, Image: api.PlanImage{Name: req.Image}}}
		answer(w, m)
	}))
	mux.HandleFunc("POST "+api.PathCancel, find(func(w http.ResponseWriter, r *http.Request, m *api.Machine) {
		if m.Writing && r.URL.Query().Get("force") != "true" {
			problem(w, http.StatusConflict, "the disk is being written")
			return
		}
		if m.Writing {
			m.Writing, m.Message = false, "cancelled by force: the disk does not boot"
		}
		m.State, m.Armed = api.MachineRegistered, nil
		answer(w, m)
	}))
	mux.HandleFunc("GET "+api.PathMachineEvents, find(func(w http.ResponseWriter, _ *http.Request, m *api.Machine) {
		out := api.Events{Events: []api.Event{}}
		for _, e := range f.log {
			if e.Machine == m.ID {
				out.Events = append(out.Events, e.Event)
			}
		}
		answer(w, out)
	}))
	mux.HandleFunc("GET "+api.PathFlashes, find(func(w http.ResponseWriter, _ *http.Request, _ *api.Machine) {
		answer(w, api.Flashes{Flashes: term.NonNil(f.flashes)})
	}))
}

// follow sends the stream from where the reader was, until it is cut.
func (f *fakeServer) follow(w http.ResponseWriter, r *http.Request) {
	out := json.NewEncoder(w)
	send := func(id int, c api.Change) {
		if id > 0 {
			fmt.Fprintf(w, "id: %d\n", id)
		}
		fmt.Fprint(w, "data: ")
		_ = out.Encode(c)
		fmt.Fprint(w, "\n")
	}
	w.Header().Set("Content-Type", "text/event-stream")
	after, _ := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	f.mu.Lock()
	cuts := f.cuts
	if after == 0 || after > len(f.stream) {
		send(0, api.Change{Kind: api.ChangeReset})
		for i := range f.machines {
			send(0, api.Change{Kind: api.ChangeMachine, ID: f.machines[i].ID, Machine: &f.machines[i]})
		}
		after = len(f.stream)
	}
	for f.cuts == cuts && r.Context().Err() == nil {
		for ; after < len(f.stream); after++ {
			send(after+1, f.stream[after])
		}
		more := f.more
		f.mu.Unlock()
		_ = http.NewResponseController(w).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
		}
		f.mu.Lock()
	}
	f.mu.Unlock()
}

// tell changes what the server knows and streams it.
func (f *fakeServer) tell(changes ...api.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range changes {
		if c.Event != nil {
			f.log = append(f.log, api.LogEntry{Machine: c.ID, Event: *c.Event})
		}
		for i := range f.machines {
			if c.Machine != nil && f.machines[i].ID == c.ID {
				f.machines[i] = *c.Machine
			}
		}
		if c.Kind == api.ChangeRemoved {
			f.machines = slices.DeleteFunc(f.machines, func(m api.Machine) bool { return m.ID == c.ID })
		}
	}
	f.stream = append(f.stream, changes...)
	f.wake()
}

// cut ends every stream. back is how many changes it forgets to have sent, as
// a server does that is killed within a transaction.
func (f *fakeServer) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cuts++
	f.wake()
}

func (f *fakeServer) wake() {
	close(f.more)
	f.more = make(chan struct{})
}

// state streams that a machine is in another state.
func (f *fakeServer) state(id, state string, change func(*api.Machine)) {
	f.mu.Lock()
	var m api.Machine
	for _, have := range f.machines {
		if have.ID == id {
			m = have
		}
	}
	f.mu.Unlock()
	m.State = state
	if change != nil {
		change(&m)
	}
	f.tell(api.Change{Kind: api.ChangeMachine, ID: id, Machine: &m})
}

// waitFor waits until a condition holds that is about what the fake was asked.
func (f *fakeServer) waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		f.mu.Lock()
		done := ok()
		f.mu.Unlock()
		if done {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited too long for %s", what)
}

func (f *fakeServer) streams() (n int) {
	for _, a := range f.asked {
		if strings.Contains(a, api.PathEventStream) {
			n++
		}
	}
	return n
}

// run runs one command line against the fake.
func (f *fakeServer) run(t *testing.T, args ...string) outcome {
	t.Helper()
	return gild(t, t.TempDir(), nil, append([]string{"--server", f.URL}, args...)...)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(api.Problem{Status: status, Detail: detail})
}

// background runs a command line until its context ends.
type background struct {
	stdout, stderr lockedBuffer
	code           chan int
	stop           context.CancelFunc
}

type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (f *fakeServer) start(t *testing.T, args ...string) *background {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	b := &background{code: make(chan int, 1), stop: cancel}
	data := t.TempDir()
	go func() {
		b.code <- Main(ctx, append([]string{"--server", f.URL, "--data", data}, args...),
			Surroundings{strings.NewReader(""), &b.stdout, &b.stderr, func(string) string { return "" }, nil})
	}()
	t.Cleanup(cancel)
	return b
}

func (b *background) wait(t *testing.T) int {
	t.Helper()
	select {
	case code := <-b.code:
		return code
	case <-time.After(2 * time.Minute):
		t.Fatalf("the command does not end\n%s\n%s", b.stdout.String(), b.stderr.String())
		return 0
	}
}
