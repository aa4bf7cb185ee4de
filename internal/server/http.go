package server

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/bmc"
	"github.com/gild-dev/gild/internal/server/door"
	"github.com/gild-dev/gild/internal/server/door/agents"
	"github.com/gild-dev/gild/internal/server/door/registry"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/memory"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/setup"
	"github.com/gild-dev/gild/internal/server/sniff"
)

// stopWithin bounds how long requests under way may take when the server
// stops. Agents continue at the next range: nothing is lost by cutting them.
const stopWithin = 3 * time.Second

// doors opens the listeners to those whom each is for. made is the admin token
// when this is the first start.
func (s Server) doors(ctx context.Context, p parts, core *machines.Core, powers *bmc.Room, secure *agentDoor,
	l *listeners,
) (all []service.Named, made string, err error) {
	fromFirmware := p.firmware
	fromFirmware.Machines, fromFirmware.BaseURL, fromFirmware.CA, fromFirmware.Log = core.Agents(), core.BaseURL, core.CA, s.Log
	fromFirmware.Servers = func(ctx context.Context) []string { return sniff.Bases(core.Peers(ctx)) }
	boot := door.Handler(&fromFirmware, &agents.Door{Machines: core.Agents(), Log: s.Log}, &registry.Door{Images: p.images, Log: s.Log})
	operator, atHome, made, err := s.operator(ctx, p, core, powers, l.operator)
	if err != nil {
		return nil, "", err
	}
	gates := []*door.Gate{door.BootGate(), door.OperatorGate(access.IsLoopback(l.operator.Addr()))}
	return []service.Named{
		{Name: "boot HTTP", Service: secure.service(s.bounded(core, "boot", gates[0], secure.listener(l.boot), boot, true))},
		{Name: "operator API", Service: s.bounded(core, "operator", gates[1], s.secured(l.operator), operator, false)},
		{Name: "local control", Service: s.control(ctx, core.Store, atHome)},
		{Name: "memory", Service: &memory.Guard{
			Limit: s.Memory, Alarms: core.Alarms,
			Tight: []func(bool){core.Tighten, gates[0].Tighten, gates[1].Tighten},
		}},
	}, made, nil
}

// listen opens the HTTP listeners, the only ones that are the server's own.
func (s Server) listen(ctx context.Context, baseURL string) (*listeners, error) {
	if host, _, err := net.SplitHostPort(s.BootAddr); err == nil && baseURL == "" && (host == "" || net.ParseIP(host).IsUnspecified()) {
		return nil, &setup.Error{
			Problem: "boot HTTP address " + s.BootAddr + " is not one that machines can be sent to",
			Help:    "give the address of the boot interface; " + setup.DescribeInterfaces(),
		}
	}
	l := &listeners{}
	var err error
	if l.boot, err = setup.Listen(ctx, "boot HTTP", s.BootAddr); err != nil {
		return nil, err
	}
	if l.operator, err = setup.Listen(ctx, "operator API", s.OperatorAddr); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

type listeners struct{ boot, operator net.Listener }

// close may come after the HTTP servers have closed them.
func (l *listeners) close() {
	for _, x := range []net.Listener{l.boot, l.operator} {
		if x != nil {
			x.Close()
		}
	}
}

// bounded is a server behind a gate, and counted.
func (s Server) bounded(core *machines.Core, name string, gate *door.Gate, l net.Listener, h http.Handler, drain bool) *httpService {
	gate.Shed = core.Metrics.Connections(name, gate.Len)
	return &httpService{server: door.NewServer(core.Metrics.HTTP(name, h), gate, s.Log), listener: gate.Listener(l), drain: drain}
}

// httpService is an HTTP server on an open listener.
type httpService struct {
	server   *http.Server
	listener net.Listener
	// drain lets requests under way end in their own time. The operator's do
	// not: event streams have no end of their own.
	drain bool
}

// Run serves until ctx ends; requests under way then have stopWithin.
func (h *httpService) Run(ctx context.Context) error {
	base := ctx
	if h.drain {
		base = context.WithoutCancel(ctx)
	}
	h.server.BaseContext = func(net.Listener) context.Context { return base }
	done := make(chan error, 1)
	go func() { done <- h.server.Serve(h.listener) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	if h.server.Shutdown(stop) != nil {
		_ = h.server.Close()
	}
	<-done
	return ctx.Err()
}
