// Package server opens, runs, then stops together all that a gild server is
// made of.
//
// The protocols live in the rooms below; here is only who is given what. A
// request of a machine goes from its protocol to machines, which makes one
// rule of fleet one transaction of state.
package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/alarm"
	"github.com/gild-dev/gild/internal/server/door"
	"github.com/gild-dev/gild/internal/server/fleet/view"
	"github.com/gild-dev/gild/internal/server/httpd"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/memory"
	"github.com/gild-dev/gild/internal/server/metrics"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/setup"
	"github.com/gild-dev/gild/internal/server/sniff"
	"github.com/gild-dev/gild/internal/server/state/etcd"
)

// Server is what gild serve runs.
type Server struct {
	// DataDir holds the state in DIR/etcd, unless Etcd is set.
	DataDir string
	// Etcd is the operator's cluster; nil: an etcd in this process.
	Etcd *etcd.Cluster
	// Prefix is what all keys begin with; empty is DefaultPrefix.
	Prefix string
	// BootAddr is where machines boot from by HTTP: host and port. The host
	// is the address of the boot interface, as machines reach it.
	BootAddr string
	// OperatorAddr is where the operator API listens. Anywhere but on loopback
	// it asks for the admin token.
	OperatorAddr string
	// OperatorTLS holds the certificate of that listener; nil: plain HTTP.
	OperatorTLS *tls.Config
	// AskAll asks for the admin token on loopback too, where any user of this
	// host comes from, and whatever forwards to it. Commands of the server's own
	// user reach it by the socket in DataDir.
	AskAll bool
	// Boot is the handler of the boot network. Run fills in its Machines,
	// and its BaseURL when that is empty.
	Boot httpd.Boot
	// Pins keeps the images that machines are armed with; nil: nothing does.
	Pins machines.Pins
	// ImageStore takes in the images that operators send; nil: none does.
	ImageStore *store.Store
	// RemoveImage takes the name of a stored image away; what is pinned stays.
	RemoveImage func(ctx context.Context, name string) error
	// Boots tells what machines boot: see machines.Core.
	Boots func(p view.Proposal) (*api.Boots, error)
	// Discover names the image whose kernel unknown machines boot to report
	// what they are; empty: they boot their disk.
	Discover string
	// ArmExpires is how long an arm stands that does not say itself, in
	// seconds; 0 is a day, api.NeverExpires until it is used or cancelled.
	ArmExpires int
	// Pages are served beside the operator API; nil: the dashboard.
	Pages http.Handler
	// Protocols are opened and run beside HTTP: DHCP, TFTP.
	Protocols []service.Opener[*machines.Core]
	Version   string
	// Memory is what the process may use, bytes; 0: any amount.
	Memory int64
	// Ready is called once, when everything listens; nil: not called.
	Ready func(Addrs)
	// Confine is called before that: it takes from the process what is needed no
	// more. Owned are the files that it goes on to work with; nil: not called.
	Confine func(owned ...string) error
	Owned   []string
	Log     *slog.Logger // nil: discard
}

// Addrs is where a server listens in the end; ports of 0 are filled in.
type Addrs struct {
	Boot     string
	Operator string
	BaseURL  string
	// NewToken is the admin token at the first start, to be shown once; empty
	// ever after.
	NewToken string
}

// stopWithin bounds how long requests under way may take when the server
// stops. Agents go on at the next range: nothing is lost by cutting them.
const stopWithin = 3 * time.Second

// Run serves until ctx ends or a service fails. It returns nil when ctx was
// the reason. Errors of the surroundings carry a Hint.
func (s *Server) Run(ctx context.Context) (err error) {
	log := cmp.Or(s.Log, slog.New(slog.DiscardHandler))
	l, err := s.listen(ctx)
	if err != nil {
		return err
	}
	defer l.close()

	db, err := s.openState(ctx, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	core := &machines.Core{
		Store:       machines.NewStore(db.client, s.Prefix),
		Images:      s.Boot.Images,
		Pins:        s.Pins,
		RemoveImage: s.RemoveImage,
		Boots:       s.Boots,
		BaseURL:     cmp.Or(s.Boot.BaseURL, "http://"+l.boot.Addr().String()),
		Discover:    s.Discover,
		Expires:     s.ArmExpires,
		Logger:      log,
		Alarms:      alarm.New(log),
	}
	agents, err := s.openAgentDoor(ctx, core, log)
	if err != nil {
		return err
	}
	counts := metrics.New(s.Version, func(ctx context.Context) ([]api.Machine, error) { return core.Operators().Machines(ctx, "") })
	counts.State(core.Operators().StateUsage)
	counts.Alarms(func() []api.Alarm {
		raised, _ := core.Alarms.List()
		return raised
	})
	core.Metrics = counts
	others := &peers{store: core.Store, self: core.BaseURL}
	core.Peers, core.PeerAddrs = others.list, others.addrs
	services, closeAll, err := service.OpenAll(ctx, core, append([]service.Opener[*machines.Core]{{Name: "room", Open: machines.OpenRoom(log)}}, s.Protocols...))
	if err != nil {
		return err
	}
	defer closeAll()

	boot := s.Boot
	boot.Machines = core.Agents()
	boot.BaseURL = core.BaseURL
	boot.CA = core.CA
	boot.Log = cmp.Or(boot.Log, log)
	boot.Servers = func(ctx context.Context) []string { return sniff.Bases(others.list(ctx)) }
	operator, atHome, token, err := s.operator(ctx, core, l.operator, log)
	if err != nil {
		return err
	}
	gates := []*door.Gate{door.BootGate(), door.OperatorGate(access.IsLoopback(l.operator.Addr()))}
	services = append(services,
		service.Named{Name: "boot HTTP", Service: agents.service(bounded(counts, "boot", gates[0], agents.listener(l.boot), boot.Handler(), log, true))},
		service.Named{Name: "operator API", Service: bounded(counts, "operator", gates[1], s.secured(l.operator), operator, log, false)},
		service.Named{Name: "memory", Service: &memory.Guard{Limit: s.Memory, Alarms: core.Alarms, Tight: []func(bool){core.Tighten, gates[0].Tighten, gates[1].Tighten}}},
		service.Named{Name: "announcement", Service: others.announce(s.Version, core.Alarms)},
		service.Named{Name: "alarms", Service: service.Func(func(ctx context.Context) error { return core.Alarms.Keep(ctx, core.Store.Note) })},
		service.Named{Name: "local control", Service: s.control(ctx, core.Store, atHome, log)},
		service.Named{Name: "state", Service: service.Func(db.stopped)})
	if s.Confine != nil {
		if err := s.Confine(append(s.Owned, s.DataDir)...); err != nil {
			log.Warn("the server may do more than it needs to", "err", err)
		}
	}
	if s.Ready != nil {
		s.Ready(Addrs{Boot: l.boot.Addr().String(), Operator: l.operator.Addr().String(), BaseURL: boot.BaseURL, NewToken: token})
	}
	return service.RunAll(ctx, services)
}

// listen opens the HTTP listeners, the only ones that are the server's own.
func (s *Server) listen(ctx context.Context) (*listeners, error) {
	if host, _, err := net.SplitHostPort(s.BootAddr); err == nil && s.Boot.BaseURL == "" && (host == "" || net.ParseIP(host).IsUnspecified()) {
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
func bounded(counts *metrics.Metrics, name string, gate *door.Gate, l net.Listener, h http.Handler, log *slog.Logger, drain bool) *httpService {
	gate.Shed = counts.Connections(name, gate.Len)
	return &httpService{server: door.NewServer(counts.HTTP(name, h), gate, log), listener: gate.Listener(l), drain: drain}
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
