package clitest

import (
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

// Fake speaks the operator API over real HTTP, as a test wants it to.
type Fake struct {
	*httptest.Server
	Mu       sync.Mutex
	Machines []api.Machine
	Previews map[string]api.Preview // by machine ID
	Refused  map[string]int         // status of a flash, by machine ID
	Flashes  []api.Flash
	Log      []api.LogEntry // oldest first
	Stream   []api.Change   // changes so far, from id 1 on
	more     chan struct{}  // closed when the stream grows or is to be cut
	cuts     int
	Token    string // wanted; empty: none
	Asked    []string
	Flashed  map[string]api.FlashRequest
	Race     string // name of a machine that others change first
}

// NewFake starts a server that knows the machines.
func NewFake(t *testing.T, machines ...api.Machine) *Fake {
	t.Helper()
	f := &Fake{
		Machines: machines, Previews: map[string]api.Preview{}, Refused: map[string]int{},
		more: make(chan struct{}), Flashed: map[string]api.FlashRequest{},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+api.PathMachines, func(w http.ResponseWriter, r *http.Request) {
		key, value, _ := strings.Cut(r.URL.Query().Get("selector"), "=")
		list := api.Machines{Machines: []api.Machine{}}
		for _, m := range f.Machines {
			if key == "" || m.Spec.Labels[key] == value {
				list.Machines = append(list.Machines, m)
			}
		}
		answer(w, list)
	})
	mux.HandleFunc("POST "+api.PathMachines, func(w http.ResponseWriter, r *http.Request) {
		m := api.Machine{ID: "new", State: api.MachineRegistered}
		_ = json.NewDecoder(r.Body).Decode(&m.Spec)
		f.Machines = append(f.Machines, m)
		answer(w, m)
	})
	f.machineRoutes(mux)
	mux.HandleFunc("GET "+api.PathEventLog, func(w http.ResponseWriter, r *http.Request) {
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		entries := slices.Clone(f.Log[max(0, len(f.Log)-limit):])
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
		f.Mu.Lock()
		f.Asked = append(f.Asked, r.Method+" "+r.URL.RequestURI())
		token := f.Token
		if token != "" && r.Header.Get("Authorization") != "Bearer "+token {
			f.Mu.Unlock()
			problem(w, http.StatusUnauthorized, "the admin token is wanted")
			return
		}
		if r.URL.Path == api.PathEventStream {
			f.Mu.Unlock()
			f.follow(w, r)
			return
		}
		defer f.Mu.Unlock()
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *Fake) machineRoutes(mux *http.ServeMux) {
	find := func(do func(w http.ResponseWriter, r *http.Request, m *api.Machine)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			name := r.PathValue("machine")
			for i := range f.Machines {
				if m := &f.Machines[i]; m.ID == name || m.Spec.Name == name || m.MAC == name {
					do(w, r, m)
					return
				}
			}
			problem(w, http.StatusNotFound, "no machine is known as "+name)
		}
	}
	mux.HandleFunc("GET "+api.PathMachine, find(func(w http.ResponseWriter, _ *http.Request, m *api.Machine) { answer(w, m) }))
	mux.HandleFunc("PUT "+api.PathMachine, find(func(w http.ResponseWriter, r *http.Request, m *api.Machine) {
		if r.URL.Query().Get("revision") != m.SpecRevision || m.Spec.Name == f.Race && f.Race != "" {
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
		f.Machines = slices.DeleteFunc(f.Machines, func(o api.Machine) bool { return o.ID == m.ID })
		w.WriteHeader(http.StatusNoContent)
	}))
	mux.HandleFunc("POST "+api.PathPreview, find(func(w http.ResponseWriter, r *http.Request, m *api.Machine) {
		p := f.Previews[m.ID]
		_ = json.NewDecoder(r.Body).Decode(&p.Request)
		p.Machine = *m
		answer(w, p)
	}))
	mux.HandleFunc("POST "+api.PathFlash, find(func(w http.ResponseWriter, r *http.Request, m *api.Machine) {
		var req api.FlashRequest
		_ = json.NewDecoder(r.Body).Decode(&req)
		if status := f.Refused[m.ID]; status != 0 {
			problem(w, status, "what is on the disk has changed")
			return
		}
		f.Flashed[m.ID] = req
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
		for _, e := range f.Log {
			if e.Machine == m.ID {
				out.Events = append(out.Events, e.Event)
			}
		}
		answer(w, out)
	}))
	mux.HandleFunc("GET "+api.PathFlashes, find(func(w http.ResponseWriter, _ *http.Request, _ *api.Machine) {
		answer(w, api.Flashes{Flashes: term.NonNil(f.Flashes)})
	}))
}

// follow sends the stream from where the reader was, until it is cut.
func (f *Fake) follow(w http.ResponseWriter, r *http.Request) {
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
	f.Mu.Lock()
	cuts := f.cuts
	if after == 0 || after > len(f.Stream) {
		send(0, api.Change{Kind: api.ChangeReset})
		for i := range f.Machines {
			send(0, api.Change{Kind: api.ChangeMachine, ID: f.Machines[i].ID, Machine: &f.Machines[i]})
		}
		after = len(f.Stream)
	}
	for f.cuts == cuts && r.Context().Err() == nil {
		for ; after < len(f.Stream); after++ {
			send(after+1, f.Stream[after])
		}
		more := f.more
		f.Mu.Unlock()
		_ = http.NewResponseController(w).Flush()
		select {
		case <-more:
		case <-r.Context().Done():
		}
		f.Mu.Lock()
	}
	f.Mu.Unlock()
}

// Tell changes what the server knows and streams it.
func (f *Fake) Tell(changes ...api.Change) {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	for _, c := range changes {
		if c.Event != nil {
			f.Log = append(f.Log, api.LogEntry{Machine: c.ID, Event: *c.Event})
		}
		for i := range f.Machines {
			if c.Machine != nil && f.Machines[i].ID == c.ID {
				f.Machines[i] = *c.Machine
			}
		}
		if c.Kind == api.ChangeRemoved {
			f.Machines = slices.DeleteFunc(f.Machines, func(m api.Machine) bool { return m.ID == c.ID })
		}
	}
	f.Stream = append(f.Stream, changes...)
	f.wake()
}

// Cut ends every stream. back is how many changes it forgets to have sent, as
// a server does that is killed within a transaction.
func (f *Fake) Cut() {
	f.Mu.Lock()
	defer f.Mu.Unlock()
	f.cuts++
	f.wake()
}

func (f *Fake) wake() {
	close(f.more)
	f.more = make(chan struct{})
}

// State streams that a machine is in another state.
func (f *Fake) State(id, state string, change func(*api.Machine)) {
	f.Mu.Lock()
	var m api.Machine
	for _, have := range f.Machines {
		if have.ID == id {
			m = have
		}
	}
	f.Mu.Unlock()
	m.State = state
	if change != nil {
		change(&m)
	}
	f.Tell(api.Change{Kind: api.ChangeMachine, ID: id, Machine: &m})
}

// WaitFor waits until a condition holds that is about what the fake was asked.
func (f *Fake) WaitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		f.Mu.Lock()
		done := ok()
		f.Mu.Unlock()
		if done {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited too long for %s", what)
}

// Streams counts the event streams that were asked for.
func (f *Fake) Streams() (n int) {
	for _, a := range f.Asked {
		if strings.Contains(a, api.PathEventStream) {
			n++
		}
	}
	return n
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
