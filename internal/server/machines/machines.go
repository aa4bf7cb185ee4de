// Package machines makes one rule of fleet one transaction of state.
package machines

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
	"github.com/gild-dev/gild/internal/server/alarm"
	"github.com/gild-dev/gild/internal/server/cards"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/view"
	"github.com/gild-dev/gild/internal/server/metrics"
	"github.com/gild-dev/gild/internal/server/sniff"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/docs"
)

// Images is what is asked of stored images. One that is not stored MUST be an
// error that is fs.ErrNotExist.
type Images interface {
	// Resolve returns the digest of the manifest that the name stands for now.
	Resolve(ctx context.Context, name string) (golden.Digest, error)
	// Describe returns what a list shows of one image, by name or digest.
	Describe(ctx context.Context, name string) (api.Image, error)
}

// Core brings rules and store together: each change is one rule of fleet in one
// transaction of state. Who asks has methods of its own: see Agents, Operators
// and Upkeep.
type Core struct {
	Store  *state.Store
	Images Images
	Pins   Pins // nil: the images do not go
	// RemoveImage takes the name of a stored image away; what is pinned stays.
	RemoveImage func(ctx context.Context, name string) error
	// Boots tells what a machine boots for a flash, or why it could not be
	// booted; nil: that is not asked.
	Boots func(p view.Proposal) (*api.Boots, error)
	// BaseURL is how machines reach this server: what a new system calls to
	// say that it runs.
	BaseURL string
	// CA is the certificate, in PEM, of who signs for this server and its peers:
	// agents trust nobody else.
	CA []byte
	// Discover names the image whose kernel unknown machines boot to report
	// what they are and wait for an arm; empty: they boot their disk.
	Discover string
	// Expires is how long an arm stands that does not say itself, in seconds:
	// see api.FlashRequest; 0 is a day.
	Expires int
	// Peers returns the base URLs of every server of the cluster; nil: agents
	// are told of none.
	Peers func(context.Context) []string
	// PeerAddrs returns the addresses of the other servers of the cluster; nil:
	// there are none.
	PeerAddrs func(context.Context) []netip.Addr
	// Cards is told what DHCP leases, so that nobody speaks for another's card.
	Cards   cards.Cards
	Alarms  *alarm.Alarms
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
}

func (s *Core) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}

func (s *Core) log() *slog.Logger { return cmp.Or(s.Logger, slog.New(slog.DiscardHandler)) }

type (
	// rule changes a machine and says what happened.
	rule = func(*fleet.Record) ([]api.Event, error)
	// update is state.Store.Update or the like of it.
	update func(ctx context.Context, id string, change rule) (fleet.Record, error)
)

// change applies a rule to one machine, and what follows from it.
func (s *Core) change(ctx context.Context, id string, r rule) (fleet.Record, error) {
	return s.changeBy(ctx, s.Store.Update, id, r)
}

func (s *Core) changeBy(ctx context.Context, by update, id string, r rule) (fleet.Record, error) {
	var before string
	var events []api.Event
	m, err := by(ctx, id, func(m *fleet.Record) (kept []api.Event, err error) {
		before = planOf(m)
		if events, err = r(m); err == nil {
			events = fleet.Ration(m, events, s.now())
		}
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

func planOf(m *fleet.Record) string {
	if m.Armed == nil {
		return ""
	}
	return m.Armed.Plan.ID
}

// update changes the record of a machine that the network named.
func (s *Core) update(ctx context.Context, f fleet.Found, r rule) (fleet.Record, error) {
	if !f.Known {
		if err := s.admit(f.ID); err != nil {
			return fleet.Record{}, err
		}
	}
	return s.change(ctx, f.ID, r)
}

// Seen notes a machine that dhcpd, tftpd or httpd met.
func (s Agents) Seen(ctx context.Context, sight fleet.Sighting) error {
	f, err := s.locate(ctx, fleet.Shown{MACs: []string{sight.MAC}, UUID: sight.UUID})
	if _, ambiguous := errors.AsType[*fleet.AmbiguousError](err); ambiguous {
		return nil
	}
	if err != nil || !f.Known && !sight.Records() {
		return err
	}
	_, err = s.update(ctx, f, func(m *fleet.Record) ([]api.Event, error) {
		return fleet.Seen(m, sight, s.now()), nil
	})
	if stranger, full := errors.AsType[*strangerError](err); full {
		s.log().Debug("not written down", "machine", sight.MAC, "why", stranger.Why)
		return nil
	}
	return err
}

// Boot decides what a machine boots that asks from an IP address. An error
// means that it is not known whether the machine is armed.
func (s Agents) Boot(ctx context.Context, who api.Inventory, from string) (fleet.Decision, error) {
	if err := s.Cards.Fits(who.MAC, from, s.now()); err != nil {
		s.log().Warn("boot script refused", "machine", who.MAC, "client", from, "err", err)
		return fleet.Decision{ID: who.MAC, Why: err.Error() + ": booting the local disk"}, nil
	}
	d, said, err := s.boot(ctx, who)
	if err != nil && ctx.Err() == nil {
		return s.unarmed(who, said, err)
	}
	return d, err
}

// boot decides by the record; said is what it saw, also when the record could
// not be written.
func (s Agents) boot(ctx context.Context, who api.Inventory) (d fleet.Decision, said *ruling, err error) {
	f, err := s.locate(ctx, fleet.ShownBy(&who))
	if ambiguous, ok := errors.AsType[*fleet.AmbiguousError](err); ok {
		return fleet.Decision{ID: who.MAC, Why: ambiguous.Error() + ": booting the local disk"}, nil, nil
	}
	if err != nil {
		return d, nil, err
	}
	discover := s.discover(ctx)
	_, err = s.update(ctx, f, func(m *fleet.Record) (events []api.Event, err error) {
		said = &ruling{armed: m.Armed != nil}
		if f.Doubt != "" && f.Known {
			d, events = fleet.DoubtedBoot(m, who, f, s.now())
			return events, nil
		}
		d, events = fleet.Boot(m, who, discover, s.now())
		if d.Image != nil {
			d.Ticket = newTicket()
			fleet.Issue(m, d.Ticket, who, s.now())
		}
		return events, nil
	})
	return d, said, err
}

// discover is the image that unknown machines boot from, nil for none.
func (s Agents) discover(ctx context.Context) *api.PlanImage {
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
func (s Agents) Hello(ctx context.Context, h api.Hello, from string) (api.Answer, error) {
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
		if a.Servers = s.Peers(ctx); !h.Plain {
			a.Servers = sniff.Bases(a.Servers)
		}
	}
	return a, err
}

func (s Agents) hello(ctx context.Context, h api.Hello, from string) (a api.Answer, m fleet.Record, err error) {
	if err := s.Cards.Fits(h.Inventory.MAC, from, s.now()); err != nil {
		s.log().Warn("agent refused", "machine", h.Inventory.MAC, "client", from, "err", err)
		return api.Answer{Action: api.ActionWait, Retry: 30, Message: err.Error()}, m, nil
	}
	f, err := s.locateAgent(ctx, &h)
	if ambiguous, ok := errors.AsType[*fleet.AmbiguousError](err); ok {
		return api.Answer{Action: api.ActionWait, Retry: 30, Message: ambiguous.Error() + ": " + ambiguous.Hint()}, m, nil
	}
	if refused, ok := errors.AsType[*fleet.TicketError](err); ok {
		return s.refuse(ctx, f, h.Inventory, refused)
	}
	if err != nil {
		return a, m, err
	}
	m, err = s.update(ctx, f, func(m *fleet.Record) (events []api.Event, err error) {
		before := m.Inventory
		if f.Doubt != "" {
			a, events = fleet.Doubted(m, h, f, s.now())
		} else {
			a, events = fleet.Hello(m, h, from, s.Discover != "", s.now())
			events = append(events, fleet.Disclaim(m, f.Foreign, s.now())...)
		}
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
// it is most of a record. What firmware says of itself gives way at once, and
// what the machine is known by is noted at once.
func (s Agents) steady(m *fleet.Record, before *api.Inventory) {
	if before == nil || before.Kernel == "" || reflect.DeepEqual(before, m.Inventory) {
		return
	}
	if before.UUID != m.Inventory.UUID || before.Serial != m.Inventory.Serial {
		return
	}
	if !s.inventories.Allow(m.ID, s.now()) {
		m.Inventory = before
	}
}

// bySession finds the record of the machine whose agent speaks: the one that
// its hello has bound it to, whatever the address; that of a flash which has
// its receipt may say so again. An agent that no machine is bound to is a
// *fleet.EarlyError, one that speaks of a plan a *fleet.SessionError.
func (s Agents) bySession(ctx context.Context, mac, session, plan string) (id string, err error) {
	found, err := s.Store.Find(ctx, []string{mac})
	if err != nil {
		return "", err
	}
	if i := slices.IndexFunc(found, func(m fleet.Record) bool { return m.Session == session }); i >= 0 {
		return found[i].ID, nil
	}
	if i := slices.IndexFunc(found, func(m fleet.Record) bool {
		return plan != "" && (planOf(&m) == plan || m.Receipt != nil && m.Receipt.Plan == plan)
	}); i >= 0 {
		return found[i].ID, nil
	}
	if plan == "" {
		return "", &fleet.EarlyError{MAC: mac}
	}
	return "", &fleet.SessionError{MAC: mac, Why: "no machine is bound to this agent"}
}

// Report takes an agent's events.
func (s Agents) Report(ctx context.Context, r api.Report, from string) error {
	id, err := s.bySession(ctx, r.MAC, r.Session, r.Plan)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, id, func(m *fleet.Record) ([]api.Event, error) {
		return fleet.Report(m, r, from, s.now())
	})
	return err
}

// Beacon takes the call of a new system; false: nobody waits for it.
func (s Agents) Beacon(ctx context.Context, token, from string) (bool, error) {
	found, err := s.Store.Find(ctx, []string{fleet.BeaconLabel(token)})
	if err != nil {
		return false, err
	}
	var failed error
	for i := range found {
		var ok bool
		_, err := s.change(ctx, found[i].ID, func(m *fleet.Record) (events []api.Event, err error) {
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
func (s Agents) Identity(ctx context.Context, r api.IdentityRequest, from string) (identity api.Identity, has bool, err error) {
	if err := s.Cards.Fits(r.MAC, from, s.now()); err != nil {
		return identity, false, &fleet.SessionError{MAC: r.MAC, Why: err.Error()}
	}
	id, err := s.bySession(ctx, r.MAC, r.Session, r.Plan)
	if err != nil {
		return identity, false, err
	}
	m, err := s.change(ctx, id, func(m *fleet.Record) ([]api.Event, error) {
		return fleet.GiveIdentity(m, r, s.now())
	})
	if err != nil || m.Armed.Plan.Identity == "" {
		return identity, false, err
	}
	found, err := docs.Get(ctx, s.Store.Space, KindPlanIdentity, r.Plan, &identity)
	if err == nil && !found {
		err = errors.New("the identity of this plan is not stored any more: arm the machine again")
	}
	return identity, err == nil, err
}
