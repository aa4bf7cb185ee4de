package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/httpd"
	"github.com/gild-dev/gild/internal/server/metrics"
	"github.com/gild-dev/gild/internal/server/state"
)

// Machines brings rules and store together: each call is one rule of fleet in
// one transaction of state. It is what the boot network and the operator ask.
type Machines struct {
	Store  *state.Store
	Images httpd.Images
	Pins   Pins // nil: the images do not go
	// Bootable says why no machine could be booted to receive an image; nil:
	// all can be.
	Bootable func(image golden.Digest) error
	// BaseURL is how machines reach this server: what a new system calls to
	// say that it runs.
	BaseURL string
	// Discover names the image whose kernel unknown machines boot to report
	// what they are and wait for an arm; empty: they boot their disk.
	Discover string
	// Expires is how long an arm stands that does not say itself, in seconds:
	// see api.FlashRequest; 0 is a day.
	Expires int
	// Peers returns the base URLs of every server of the cluster; nil: agents
	// are told of none.
	Peers   func(context.Context) []string
	Metrics *metrics.Metrics // nil: nothing is counted
	Now     func() time.Time // nil: time.Now
	Logger  *slog.Logger     // nil: discard

	// arming is held for reading from a pin to its arm, so that no sweep
	// between them takes the pin away.
	arming sync.RWMutex
	// registering is held from the look for a label to its use. It spares this
	// server's own requests the loss of a race; a guard of the store holds
	// between servers.
	registering sync.Mutex
	room        room
	inventories inventoryPace
	addresses   addresses // who is to have which, for DHCP
	alarms      *alarms
	// peerAddrs returns the addresses of the other servers of the cluster; nil:
	// there are none.
	peerAddrs func(context.Context) []netip.Addr
}

var (
	_ httpd.Machines = (*Machines)(nil)
	_ httpd.Control  = (*Machines)(nil)
)

func (s *Machines) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Machines) log() *slog.Logger { return cmp.Or(s.Logger, slog.New(slog.DiscardHandler)) }

type (
	// rule changes a machine and says what happened.
	rule = func(*api.Machine) ([]api.Event, error)
	// update is state.Store.Update or the like of it.
	update func(ctx context.Context, id string, change rule) (api.Machine, error)
)

// change applies a rule to one machine, and what follows from it.
func (s *Machines) change(ctx context.Context, id string, r rule) (api.Machine, error) {
	return s.changeBy(ctx, s.Store.Update, id, r)
}

func (s *Machines) changeBy(ctx context.Context, by update, id string, r rule) (api.Machine, error) {
	var before string
	var events []api.Event
	m, err := by(ctx, id, func(m *api.Machine) (kept []api.Event, err error) {
		before = planOf(m)
		events, err = r(m)
		return events, err
	})
	if err != nil {
		return m, err
	}
	for _, e := range events {
		s.Metrics.Event(e)
		if e.To != "" {
			s.log().Info("machine is "+e.To, "machine", m.ID, "name", m.Spec.Name, "actor", e.Actor, "cause", e.Cause, "why", e.Message)
		}
	}
	if before != "" && planOf(&m) != before {
		s.endIdentity(context.WithoutCancel(ctx), before)
	}
	return m, nil
}

func planOf(m *api.Machine) string {
	if m.Armed == nil {
		return ""
	}
	return m.Armed.Plan.ID
}

// update changes the record of a machine that the network named.
func (s *Machines) update(ctx context.Context, f fleet.Found, r rule) (api.Machine, error) {
	if !f.Known {
		if err := s.admit(f.ID); err != nil {
			return api.Machine{}, err
		}
	}
	return s.change(ctx, f.ID, r)
}

// locate finds the record of a machine by what it shows. A record that was
// made before the machine had shown as much is folded in.
func (s *Machines) locate(ctx context.Context, shown fleet.Shown) (fleet.Found, error) {
	candidates, err := s.Store.Find(ctx, shown.Labels())
	if err != nil {
		return fleet.Found{}, err
	}
	f, err := fleet.Match(candidates, shown)
	if err != nil || f.From == "" {
		return f, err
	}
	_, err = s.Store.Join(ctx, f.ID, f.From, func(into, from *api.Machine) ([]api.Event, error) {
		return fleet.Join(into, from, s.now())
	})
	if err != nil {
		// Another server may have done it, and the next word tries again.
		s.log().Warn("two records of one machine stay apart", "machine", f.ID, "other", f.From, "err", err)
		return f, ctx.Err()
	}
	s.log().Info("two records are one machine", "machine", f.ID, "other", f.From)
	return f, nil
}

// Seen notes a machine that dhcpd, tftpd or httpd met.
func (s *Machines) Seen(ctx context.Context, sight fleet.Sighting) error {
	f, err := s.locate(ctx, fleet.Shown{MACs: []string{sight.MAC}})
	if err != nil || !f.Known && !sight.Records() {
		return err
	}
	_, err = s.update(ctx, f, func(m *api.Machine) ([]api.Event, error) {
		return fleet.Seen(m, sight, s.now()), nil
	})
	if stranger, full := errors.AsType[*strangerError](err); full {
		s.log().Debug("not written down", "machine", sight.MAC, "why", stranger.Why)
		return nil
	}
	return err
}

// Boot decides what a machine boots. An error means that it is not known
// whether the machine is armed.
func (s *Machines) Boot(ctx context.Context, who api.Inventory) (fleet.Decision, error) {
	d, said, err := s.boot(ctx, who)
	if err != nil && ctx.Err() == nil {
		return s.unarmed(who, said, err)
	}
	return d, err
}

// boot decides by the record; said is what it saw, also when the record could
// not be written.
func (s *Machines) boot(ctx context.Context, who api.Inventory) (d fleet.Decision, said *ruling, err error) {
	f, err := s.locate(ctx, fleet.ShownBy(&who))
	if ambiguous, ok := errors.AsType[*fleet.AmbiguousError](err); ok {
		return fleet.Decision{ID: who.MAC, Why: ambiguous.Error() + ": booting the local disk"}, nil, nil
	}
	if err != nil {
		return d, nil, err
	}
	discover := s.discover(ctx)
	_, err = s.update(ctx, f, func(m *api.Machine) (events []api.Event, err error) {
		said = &ruling{armed: m.Armed != nil}
		d, events = fleet.Boot(m, who, discover, s.now())
		return events, nil
	})
	return d, said, err
}

// discover is the image that unknown machines boot from, nil for none.
func (s *Machines) discover(ctx context.Context) *api.PlanImage {
	if s.Discover == "" {
		return nil
	}
	digest, err := s.Images.Resolve(ctx, s.Discover)
	if err != nil {
		s.log().Warn("unknown machines boot their disk: the image to discover them with is not there", "image", s.Discover, "err", err)
		return nil
	}
	return &api.PlanImage{Name: s.Discover, Repository: repository(s.Discover), Digest: string(digest)}
}

// helloWait is how long an agent that waits for an arm is kept on the line.
// It is less than what its client takes for silence.
const helloWait = 20 * time.Second

// Hello answers an agent. One that waits for an arm is answered when there is
// something to tell, or after a while.
func (s *Machines) Hello(ctx context.Context, h api.Hello, from string) (api.Answer, error) {
	a, m, err := s.hello(ctx, h, from)
	if err == nil && fleet.Waits(&m, a) {
		timeout := time.NewTimer(helloWait)
		defer timeout.Stop()
		for waiting := true; waiting && err == nil && fleet.Waits(&m, a); {
			bell, running := s.room.bell(m.ID)
			// What changed before the bell was hung up is not missed.
			if a, m, err = s.hello(ctx, h, from); err != nil || !running || !fleet.Waits(&m, a) {
				break
			}
			select {
			case <-bell:
			case <-timeout.C:
				waiting = false
			case <-ctx.Done():
				return a, ctx.Err()
			}
		}
	}
	if s.Peers != nil {
		a.Servers = s.Peers(ctx)
	}
	return a, err
}

func (s *Machines) hello(ctx context.Context, h api.Hello, from string) (a api.Answer, m api.Machine, err error) {
	f, err := s.locate(ctx, fleet.ShownBy(&h.Inventory))
	if ambiguous, ok := errors.AsType[*fleet.AmbiguousError](err); ok {
		return api.Answer{Action: api.ActionWait, Retry: 30, Message: ambiguous.Error() + ": " + ambiguous.Hint()}, m, nil
	}
	if err != nil {
		return a, m, err
	}
	m, err = s.update(ctx, f, func(m *api.Machine) (events []api.Event, err error) {
		before := m.Inventory
		a, events = fleet.Hello(m, h, from, s.Discover != "", s.now())
		s.steady(m, before)
		return events, nil
	})
	if stranger, full := errors.AsType[*strangerError](err); full {
		return s.turnedAway(stranger), m, nil
	}
	a.Name = m.Spec.Name
	return a, m, err
}

// steady keeps an inventory that differs from being written down at every word:
// it is most of a record. What firmware says of itself gives way at once.
func (s *Machines) steady(m *api.Machine, before *api.Inventory) {
	if before == nil || before.Kernel == "" || reflect.DeepEqual(before, m.Inventory) {
		return
	}
	if !s.inventories.Allow(m.ID, s.now()) {
		m.Inventory = before
	}
}

// bySession finds the record of a machine whose agent speaks. An agent is
// bound by its hello, which may have come by another NIC than the report, so
// its session goes before addresses.
func (s *Machines) bySession(ctx context.Context, mac, session string) (fleet.Found, error) {
	found, err := s.Store.Find(ctx, []string{mac})
	if err != nil {
		return fleet.Found{}, err
	}
	if i := slices.IndexFunc(found, func(m api.Machine) bool { return m.Session == session }); i >= 0 {
		return fleet.Found{ID: found[i].ID, Known: true}, nil
	}
	f, err := fleet.Match(found, fleet.Shown{MACs: []string{mac}})
	if err != nil {
		return f, &fleet.SessionError{MAC: mac, Why: err.Error()}
	}
	return f, nil
}

// Report takes an agent's events.
func (s *Machines) Report(ctx context.Context, r api.Report, from string) error {
	f, err := s.bySession(ctx, r.MAC, r.Session)
	if err != nil {
		return err
	}
	_, err = s.update(ctx, f, func(m *api.Machine) ([]api.Event, error) {
		return fleet.Report(m, r, from, s.now())
	})
	return err
}

// Beacon takes the call of a new system; false: nobody waits for it.
func (s *Machines) Beacon(ctx context.Context, token, from string) (bool, error) {
	found, err := s.Store.Find(ctx, []string{fleet.BeaconLabel(token)})
	if err != nil {
		return false, err
	}
	var failed error
	for i := range found {
		var ok bool
		_, err := s.change(ctx, found[i].ID, func(m *api.Machine) (events []api.Event, err error) {
			events, ok = fleet.Beacon(m, token, from, s.now())
			return events, nil
		})
		if err == nil && ok {
			return true, nil
		}
		failed = cmp.Or(failed, err)
	}
	return false, failed
}

// Identity gives the agent that holds a plan what its clone is to be; false:
// the plan has no identity. Any other agent gets a *fleet.SessionError.
func (s *Machines) Identity(ctx context.Context, r api.IdentityRequest) (identity api.Identity, has bool, err error) {
	f, err := s.bySession(ctx, r.MAC, r.Session)
	if err != nil {
		return identity, false, err
	}
	m, err := s.Store.Get(ctx, f.ID)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return identity, false, err
	}
	if r.Plan == "" || planOf(&m) != r.Plan || m.Session != r.Session {
		return identity, false, &fleet.SessionError{MAC: r.MAC, Why: "it does not hold this plan"}
	}
	if m.Armed.Plan.Identity == "" {
		return identity, false, nil
	}
	found, err := s.Store.GetDoc(ctx, kindPlanIdentity, r.Plan, &identity)
	if err == nil && !found {
		err = errors.New("the identity of this plan is not stored any more: arm the machine again")
	}
	return identity, err == nil, err
}
