// Package agents lets in the agents, which speak of what they do.
//
// It decides nothing and stores nothing: machines are behind an interface.
package agents

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/door"
	"github.com/gild-dev/gild/internal/server/door/reply"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
)

// Machines is what agents ask about their machines. What it is given was
// checked: MACs are in the form of wire.ParseMAC, text is clean.
type Machines interface {
	// Hello answers an agent that speaks from the IP address from, maybe after
	// a while.
	Hello(ctx context.Context, h api.Hello, from string) (api.Answer, error)
	// Report takes events; a *fleet.SessionError refuses them for good, a
	// *fleet.EarlyError until its agent has said hello.
	Report(ctx context.Context, r api.Report, from string) error
	// Identity gives the agent that holds a plan what its clone is to be,
	// false when that is nothing. Any other agent gets a *fleet.SessionError.
	Identity(ctx context.Context, r api.IdentityRequest, from string) (api.Identity, bool, error)
	// Beacon takes the call of a new system; false: nobody waits for it.
	Beacon(ctx context.Context, token, from string) (bool, error)
}

// Door lets agents in. Machines must be set.
type Door struct {
	Machines Machines
	Log      *slog.Logger // nil: discard

	words *words
}

// Route implements [door.Door].
func (d *Door) Route(mux *http.ServeMux) {
	a := &Door{Machines: d.Machines, Log: cmp.Or(d.Log, slog.New(slog.DiscardHandler)), words: newWords()}
	mux.HandleFunc("POST "+api.PathHello, a.hello)
	mux.HandleFunc("POST "+api.PathEvents, a.events)
	mux.HandleFunc("POST "+api.PathIdentity, a.identity)
	mux.HandleFunc("POST "+api.PathBeacon, a.beacon)
}

func (d *Door) hello(w http.ResponseWriter, r *http.Request) {
	var h api.Hello
	err := reply.ReadJSON(w, r, budget.HelloBody, &h)
	if err == nil {
		err = wire.CheckHello(&h)
	}
	if err == nil {
		err = d.words.heard(r, h.Inventory.MAC)
	}
	if err != nil {
		d.refuse(w, r, err)
		return
	}
	h.Plain = r.TLS == nil
	log := d.Log.With("machine", h.Inventory.MAC, "client", r.RemoteAddr)
	a, err := d.Machines.Hello(r.Context(), h, door.From(r))
	if err != nil {
		reply.Fail(w, r, log, err)
		return
	}
	log.Log(r.Context(), weight(a), "hello", "action", a.Action, "why", a.Message)
	reply.JSON(w, a)
}

// weight keeps agents that wait, each of which says hello every twenty seconds,
// out of the log.
func weight(a api.Answer) slog.Level {
	if a.Action == api.ActionWait {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (d *Door) events(w http.ResponseWriter, r *http.Request) {
	var report api.Report
	err := reply.ReadJSON(w, r, budget.ReportBody, &report)
	if err == nil {
		err = wire.CheckReport(&report, time.Now())
	}
	if err == nil {
		err = d.words.heard(r, report.MAC)
	}
	if err != nil {
		d.refuse(w, r, err)
		return
	}
	log := d.Log.With("machine", report.MAC, "client", r.RemoteAddr)
	err = d.Machines.Report(r.Context(), report, door.From(r))
	if err != nil {
		d.lost(w, r, log, err)
		return
	}
	for _, e := range report.Events {
		if e.State != api.StateProgress {
			log.Info("step", "step", e.Step, "state", e.State, "message", e.Message)
		}
	}
	w.WriteHeader(http.StatusNoContent)
}

// lost answers an agent that does not hold the plan it speaks of, and any
// other failure.
func (d *Door) lost(w http.ResponseWriter, r *http.Request, log *slog.Logger, err error) {
	if early, ok := errors.AsType[*fleet.EarlyError](err); ok {
		reply.Problem(w, http.StatusTooEarly, early.Error())
		return
	}
	if lost, ok := errors.AsType[*fleet.SessionError](err); ok {
		log.Warn("agent refused", "path", r.URL.Path, "why", lost.Why)
		reply.Problem(w, http.StatusConflict, lost.Error())
		return
	}
	reply.Fail(w, r, log, err)
}

// identity gives secrets, and therefore speaks TLS only.
func (d *Door) identity(w http.ResponseWriter, r *http.Request) {
	if r.TLS == nil {
		d.Log.Warn("identity refused", "client", r.RemoteAddr, "why", "plain HTTP")
		w.Header().Set("Upgrade", "TLS/1.3, HTTP/1.1") // RFC 9110, 15.5.22
		reply.Problem(w, http.StatusUpgradeRequired,
			"an identity is given by TLS only: restart the machine, so that it boots the agent of this server")
		return
	}
	var req api.IdentityRequest
	err := reply.ReadJSON(w, r, budget.SmallBody, &req)
	if err == nil {
		err = wire.CheckIdentityRequest(&req)
	}
	if err != nil {
		d.refuse(w, r, err)
		return
	}
	log := d.Log.With("machine", req.MAC, "client", r.RemoteAddr)
	identity, has, err := d.Machines.Identity(r.Context(), req, door.From(r))
	if err != nil {
		d.lost(w, r, log, err)
		return
	}
	log.Info("identity", "given", has)
	if !has {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	reply.JSON(w, identity)
}

// beacon takes the call of a new system. Its path holds a secret, which no log
// is to hold, and its body says nothing.
func (d *Door) beacon(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("beacon")
	r = r.Clone(r.Context())
	r.URL.Path = api.PathBeacon
	if !wire.IsToken(token) {
		http.NotFound(w, r)
		return
	}
	_, _ = io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxBeacon))
	known, err := d.Machines.Beacon(r.Context(), token, door.From(r))
	switch {
	case err != nil:
		reply.Fail(w, r, d.Log, err)
	case !known:
		d.Log.Warn("beacon rejected: no machine is waiting for this token", "client", r.RemoteAddr)
		http.NotFound(w, r)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// maxBeacon bounds the form that comes with a beacon, in bytes: cloud-init's
// holds the host keys.
const maxBeacon = 64 << 10

// refuse answers a request that is the sender's fault.
func (d *Door) refuse(w http.ResponseWriter, r *http.Request, err error) {
	status := http.StatusBadRequest
	if e, ok := errors.AsType[*reply.Refusal](err); ok {
		status = e.Status
	}
	if status == http.StatusTooManyRequests {
		// One line for each would be as good as a flood of the log.
		d.Log.Debug("asked to wait", "path", r.URL.Path, "client", r.RemoteAddr)
		w.Header().Set("Retry-After", reply.RetryAfter)
	} else {
		d.Log.Warn("request refused", "path", r.URL.Path, "client", r.RemoteAddr, "err", err)
	}
	reply.Problem(w, status, err.Error())
}
