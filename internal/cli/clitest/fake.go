package clitest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/door/operators"
	"github.com/gild-dev/gild/internal/server/local"
)

// Fake is the operator API of a server, by its own handlers, over a few
// machines in memory that are as a test wants them.
type Fake struct {
	*httptest.Server
	Mu       sync.Mutex
	Machines []api.Machine
	Previews map[string]api.Preview // by machine ID
	Changed  map[string]bool        // disks that are not what was shown, by machine ID
	Flashes  []api.Flash
	Log      []api.LogEntry       // oldest first
	Stream   []api.Change         // changes so far, from id 1 on
	Uses     map[string][]api.Use // what names an image
	Token    string               // wanted; empty: none
	Asked    []string
	Flashed  map[string]api.FlashRequest
	Fates    map[string]api.PowerOutcome // of power requests, by machine ID
	Powered  []api.PowerRequest
	Race     string        // name of a machine that others change first
	more     chan struct{} // closed when the stream grows or is to be cut
	cuts     int
	streams  int // that have begun
}

// NewFake starts a server that knows the machines.
func NewFake(t *testing.T, machines ...api.Machine) *Fake {
	t.Helper()
	f := &Fake{
		Machines: machines, Previews: map[string]api.Preview{}, Changed: map[string]bool{},
		more: make(chan struct{}), Flashed: map[string]api.FlashRequest{},
	}
	open := &operators.Door{Control: control{f}, Images: images{}, Power: control{f}}
	guarded := &operators.Door{Control: control{f}, Images: images{}, Power: control{f}, Guard: &access.Guard{Store: keptAccess{f}}}
	free, closed := open.Handler(), guarded.Handler()
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.Mu.Lock()
		f.Asked = append(f.Asked, r.Method+" "+r.URL.RequestURI())
		handler := free
		if f.Token != "" {
			handler = closed
		}
		f.Mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

// ServeLocally has the server run on a data directory as well.
func (f *Fake) ServeLocally(t *testing.T, data string) {
	t.Helper()
	l, err := local.Listen(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	operator := &operators.Door{Control: control{f}, Images: images{}}
	go func() {
		defer close(done)
		_ = (&local.Control{Operator: operator.Unguarded()}).ServeOn(ctx, l)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
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

// Cut ends every stream, as a server does that is killed.
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
	for range 12000 { // two minutes: for what never comes
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

// Streams counts the event streams that have begun: each of them ends at the
// next Cut.
func (f *Fake) Streams() int { return f.streams }
