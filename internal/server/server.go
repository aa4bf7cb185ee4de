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
	"crypto/x509"
	"errors"
	"log/slog"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden/store"
	"github.com/gild-dev/gild/internal/server/alarm"
	"github.com/gild-dev/gild/internal/server/bootnet"
	"github.com/gild-dev/gild/internal/server/bootspec"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/metrics"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/state"
)

// Server is what an operator decides about one, and gild serve runs.
type Server struct {
	State   State
	Store   *store.Store
	Network bootnet.Network
	// BootAddr is where machines boot from by HTTP: host and port. The host
	// is the address of the boot interface, as machines reach it.
	BootAddr string
	// OperatorAddr is where the operator API listens. It asks for the admin
	// token, on loopback too, where any user of this host comes from, and
	// whatever forwards to it. Commands of the server's own user reach it by the
	// socket in the data directory.
	OperatorAddr string
	// OperatorTLS holds the certificate of that listener; nil: plain HTTP.
	OperatorTLS *tls.Config
	// Discover names the image whose kernel unknown machines boot to report
	// what they are; empty: they boot their disk.
	Discover string
	// BootKernel names the boot kernel; empty: the newest that fits a machine.
	BootKernel string
	// ArmExpires is how long an arm stands that does not say itself, in
	// seconds; 0 is a day, api.NeverExpires until it is used or cancelled.
	ArmExpires int
	// BMCCA verifies the certificates of BMCs; nil: each is pinned at first sight.
	BMCCA *x509.CertPool
	// Busybox puts a rescue shell into every initramfs; nil: none.
	Busybox *bootspec.Busybox
	Version string
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

// Run serves until ctx ends or a service fails. It returns nil when ctx was
// the reason. Errors of the surroundings carry a Hint.
func (s Server) Run(ctx context.Context) error { return s.run(ctx, s.parts()) }

// run serves with what was made for it.
func (s Server) run(ctx context.Context, p parts) (err error) {
	s.Log = cmp.Or(s.Log, slog.New(slog.DiscardHandler))
	l, err := s.listen(ctx, p.firmware.BaseURL)
	if err != nil {
		return err
	}
	defer l.close()

	db, err := s.State.open(ctx, s.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.close()) }()
	core := s.core(p, machines.NewStore(db.client, s.State.Prefix), cmp.Or(p.firmware.BaseURL, "http://"+l.boot.Addr().String()))
	others := &peers{store: core.Store, self: core.BaseURL}
	core.Peers, core.PeerAddrs = others.list, others.addrs
	secure, err := openAgentDoor(ctx, s.State.DataDir, core, s.Log)
	if err != nil {
		return err
	}
	powers, err := s.powers(ctx, core)
	if err != nil {
		return err
	}
	services, closeAll, err := service.OpenAll(ctx, core,
		append([]service.Opener[*machines.Core]{{Name: "room", Open: machines.OpenRoom(s.Log)}}, p.protocols...))
	if err != nil {
		return err
	}
	defer closeAll()
	doors, token, err := s.doors(ctx, p, core, powers, secure, l)
	if err != nil {
		return err
	}
	services = append(append(services, doors...),
		service.Named{Name: "announcement", Service: others.announce(s.Version, core.Alarms)},
		service.Named{Name: "alarms", Service: service.Func(func(ctx context.Context) error { return core.Alarms.Keep(ctx, core.Store.Note) })},
		service.Named{Name: "power", Service: powers},
		service.Named{Name: "state", Service: service.Func(db.stopped)})
	if s.Confine != nil {
		if err := s.Confine(append(s.Owned, s.State.DataDir)...); err != nil {
			s.Log.Warn("the server may do more than it needs to", "err", err)
		}
	}
	if s.Ready != nil {
		s.Ready(Addrs{Boot: l.boot.Addr().String(), Operator: l.operator.Addr().String(), BaseURL: core.BaseURL, NewToken: token})
	}
	return service.RunAll(ctx, services)
}

// core is what the rooms of the server share: its machines, and what it counts.
func (s Server) core(p parts, state *state.Store, baseURL string) *machines.Core {
	core := &machines.Core{
		Store:       state,
		Images:      p.images,
		Pins:        p.pins,
		RemoveImage: p.removeImage,
		Boots:       p.boots,
		BaseURL:     baseURL,
		Discover:    s.Discover,
		Expires:     s.ArmExpires,
		Logger:      s.Log,
		Alarms:      alarm.New(s.Log),
	}
	counts := metrics.New(s.Version, func(ctx context.Context) ([]api.Machine, error) { return core.Operators().Machines(ctx, "") })
	counts.State(core.Operators().StateUsage)
	counts.Alarms(func() []api.Alarm {
		raised, _ := core.Alarms.List()
		return raised
	})
	core.Metrics = counts
	return core
}
