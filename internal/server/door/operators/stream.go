package operators

import (
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/gild-dev/gild/internal/api"
)

// heartbeat keeps proxies and readers from taking a quiet stream for a dead
// one; it also finds readers that have gone.
const heartbeat = 15 * time.Second

type streamInput struct {
	After string `header:"Last-Event-ID" doc:"id of the last message seen" maxLength:"40"`
}

// stream registers the event stream: server-sent events (HTML, section 9.2).
func (d *Door) stream(r operations) {
	op := operation(http.MethodGet, api.PathEventStream, "follow", "Changes as they happen, as server-sent events")
	schema := r.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[api.Change](), true, "Change")
	op.Responses = map[string]*huma.Response{"200": {
		Description: "Messages named " + api.ChangeMachine + ", " + api.ChangeEvent + ", " + api.ChangeRemoved + " and " + api.ChangeReset +
			"; each carries a Change.",
		Content: map[string]*huma.MediaType{"text/event-stream": {Schema: schema}},
	}}
	huma.Register(r.api, op, func(_ context.Context, in *streamInput) (*huma.StreamResponse, error) {
		return &huma.StreamResponse{Body: func(hc huma.Context) {
			req, w := humago.Unwrap(hc)
			d.follow(req, w, in.After)
		}}, nil
	})
}

// follow writes the stream until the reader goes or the server stops.
func (d *Door) follow(r *http.Request, w http.ResponseWriter, after string) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := &eventWriter{w: w, ctl: http.NewResponseController(w)}
	// The first bytes tell the reader that it is connected.
	if out.write(": gild\n\n") != nil {
		return
	}
	ctx, stop := beat(r.Context(), heartbeat, func() error { return out.write(": still here\n\n") })
	defer stop()
	// The reader comes back by itself, with the id it saw last.
	_ = d.Control.Follow(ctx, after, out.change)
}

// beat calls say again and again, beside whatever else is done with the context
// that it returns, which ends when say fails. stop ends both, and waits.
func beat(parent context.Context, every time.Duration, say func() error) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	var beats sync.WaitGroup
	beats.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				if say() != nil {
					cancel()
					return
				}
			}
		}
	})
	return ctx, func() {
		cancel()
		beats.Wait()
	}
}

// eventWriter writes messages whole, each under a deadline of its own.
type eventWriter struct {
	mu  sync.Mutex
	w   http.ResponseWriter
	ctl *http.ResponseController
}

func (e *eventWriter) change(id string, c api.Change) error {
	p, err := json.Marshal(c)
	if err != nil {
		return err
	}
	head := ""
	if id != "" {
		head = "id: " + id + "\n"
	}
	return e.write(head + "event: " + c.Kind + "\ndata: " + string(p) + "\n\n")
}

func (e *eventWriter) write(s string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.ctl.SetWriteDeadline(time.Now().Add(heartbeat))
	if _, err := e.w.Write([]byte(s)); err != nil {
		return err
	}
	return e.ctl.Flush()
}
