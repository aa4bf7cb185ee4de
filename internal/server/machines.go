package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/httpd"
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
	Now      func() time.Time // nil: time.Now

	// arming is held for reading from a pin to its arm, so that no sweep
	// between them takes the pin away.
	arming sync.RWMutex
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

// maxMachines bounds the records, so that a host that makes up addresses
// cannot fill the database and stop everything else with it.
const maxMachines = 20_000

// update changes the record of a machine that the network named.
func (s *Machines) update(ctx context.Context, mac string, known bool, change func(*api.Machine) ([]api.Event, error)) error {
	if !known {
		n, err := s.Store.Count(ctx)
		if err != nil {
			return err
		}
		if n >= maxMachines {
			return fmt.Errorf("machine %s is not recorded: there are %d already; gild machine rm makes room", mac, n)
		}
	}
	_, err := s.Store.Update(ctx, mac, change)
	return err
}

// locate returns the MAC of the record of a machine with the given addresses.
func (s *Machines) locate(ctx context.Context, macs []string, uuid string) (mac string, known bool, err error) {
	found, err := s.Store.Find(ctx, macs)
	if err != nil {
		return "", false, err
	}
	mac, err = fleet.Match(found, macs, uuid)
	return mac, len(found) > 0, err
}

// Seen notes a machine that dhcpd, tftpd or httpd met.
func (s *Machines) Seen(ctx context.Context, sight fleet.Sighting) error {
	mac, known, err := s.locate(ctx, []string{sight.MAC}, "")
	if err != nil || !known && !sight.Records() {
		return err
	}
	return s.update(ctx, mac, known, func(m *api.Machine) ([]api.Event, error) {
		return fleet.Seen(m, sight, s.now()), nil
	})
}

// Boot decides what a machine boots.
func (s *Machines) Boot(ctx context.Context, who api.Inventory) (fleet.Decision, error) {
	mac, known, err := s.locate(ctx, []string{who.MAC}, who.UUID)
	if ambiguous, ok := errors.AsType[*fleet.AmbiguousError](err); ok {
		return fleet.Decision{MAC: who.MAC, Why: ambiguous.Error() + ": booting the local disk"}, nil
	}
	if err != nil {
		return fleet.Decision{}, err
	}
	var d fleet.Decision
	err = s.update(ctx, mac, known, func(m *api.Machine) (events []api.Event, err error) {
		d, events = fleet.Boot(m, who, s.now())
		return events, nil
	})
	return d, err
}

// Hello answers an agent.
func (s *Machines) Hello(ctx context.Context, h api.Hello) (api.Answer, error) {
	mac, known, err := s.locate(ctx, helloMACs(h), h.Inventory.UUID)
	if ambiguous, ok := errors.AsType[*fleet.AmbiguousError](err); ok {
		return api.Answer{Action: api.ActionWait, Retry: 30, Message: ambiguous.Error() + ": " + ambiguous.Hint()}, nil
	}
	if err != nil {
		return api.Answer{}, err
	}
	var a api.Answer
	err = s.update(ctx, mac, known, func(m *api.Machine) (events []api.Event, err error) {
		a, events = fleet.Hello(m, h, s.now())
		return events, nil
	})
	return a, err
}

// helloMACs returns the address that the agent uses, then those of all NICs.
func helloMACs(h api.Hello) []string {
	return fleet.MACs(&api.Machine{MAC: h.Inventory.MAC, Inventory: &h.Inventory})
}

// Report takes an agent's events. An agent is bound by its hello, which may
// have come by another NIC than the report, so its session goes before
// addresses.
func (s *Machines) Report(ctx context.Context, r api.Report) error {
	found, err := s.Store.Find(ctx, []string{r.MAC})
	if err != nil {
		return err
	}
	mac, err := fleet.Match(found, []string{r.MAC}, "")
	for i := range found {
		if found[i].Session == r.Session {
			mac, err = found[i].MAC, nil
		}
	}
	if err != nil {
		return &fleet.SessionError{MAC: r.MAC, Why: err.Error()}
	}
	return s.update(ctx, mac, len(found) > 0, func(m *api.Machine) ([]api.Event, error) {
		return fleet.Report(m, r, s.now())
	})
}

// named finds the record that an operator means.
func (s *Machines) named(ctx context.Context, spelling string) (mac string, known bool, err error) {
	want, err := fleet.ParseMAC(spelling)
	if err != nil {
		return "", false, &fleet.InvalidError{Problem: err.Error(), Help: "gild machine ls shows the machines that were seen"}
	}
	// Its own record goes first, so that each of two records can be acted on.
	if _, err := s.Store.Get(ctx, want); !errors.Is(err, state.ErrNotFound) {
		return want, true, err
	}
	return s.locate(ctx, []string{want}, "")
}

func (s *Machines) mustKnow(ctx context.Context, spelling string) (string, error) {
	mac, known, err := s.named(ctx, spelling)
	if err == nil && !known {
		err = &fleet.UnknownError{What: "machine", Name: mac, Help: "gild machine ls shows the machines that were seen"}
	}
	return mac, err
}

// Machines lists all machines.
func (s *Machines) Machines(ctx context.Context) ([]api.Machine, error) {
	machines, _, err := s.Store.List(ctx)
	for i := range machines {
		fleet.Lapse(&machines[i], s.now())
	}
	return machines, err
}

// Machine returns one machine.
func (s *Machines) Machine(ctx context.Context, spelling string) (api.Machine, error) {
	mac, err := s.mustKnow(ctx, spelling)
	if err != nil {
		return api.Machine{}, err
	}
	m, err := s.Store.Get(ctx, mac)
	if err == nil {
		fleet.Lapse(&m, s.now())
	}
	return m, err
}

// Delete forgets a machine.
func (s *Machines) Delete(ctx context.Context, spelling string) error {
	mac, err := s.mustKnow(ctx, spelling)
	if err != nil {
		return err
	}
	return s.Store.Delete(ctx, mac, func(m *api.Machine) error { return fleet.Forget(m, s.now()) })
}

// Flash arms a machine. The image's name is turned into its digest here and
// now, and pinned: what becomes of the name later does not matter.
func (s *Machines) Flash(ctx context.Context, spelling string, f api.FlashRequest) (api.Machine, error) {
	mac, known, err := s.named(ctx, spelling)
	if err != nil {
		return api.Machine{}, err
	}
	if !known && !f.Unseen {
		return api.Machine{}, &fleet.UnknownError{
			What: "machine", Name: mac,
			Help: "gild machine ls shows the machines that were seen; to arm one before its first boot, say so (--unseen)",
		}
	}
	if f.Image == "" {
		return api.Machine{}, &fleet.InvalidError{Problem: "no image is named", Help: "gild image ls shows the stored images"}
	}
	s.arming.RLock()
	defer s.arming.RUnlock()
	digest, err := s.Images.Resolve(ctx, f.Image)
	if err == nil {
		err = s.pin(ctx, digest)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return api.Machine{}, &fleet.UnknownError{What: "image", Name: f.Image, Help: "gild image ls shows the stored images"}
	}
	if err != nil {
		return api.Machine{}, err
	}
	if err := s.bootable(digest); err != nil {
		return api.Machine{}, err
	}
	plan := newPlan(f, digest)
	return s.Store.Update(ctx, mac, func(m *api.Machine) ([]api.Event, error) {
		now := s.now()
		var expires time.Time
		if f.Expires > 0 {
			expires = now.Add(time.Duration(f.Expires) * time.Second)
		}
		if m.FirstSeen.IsZero() {
			m.FirstSeen = now
		}
		return fleet.Arm(m, plan, expires, now)
	})
}

// bootable refuses what a machine would only be told at its next boot.
func (s *Machines) bootable(image golden.Digest) error {
	if s.Bootable == nil {
		return nil
	}
	err := s.Bootable(image)
	if hinted, ok := errors.AsType[interface {
		error
		Hint() string
	}](err); ok {
		return &fleet.InvalidError{Problem: fmt.Sprintf("no machine can be flashed with image %s: %v", image.Short(), err), Help: hinted.Hint()}
	}
	return err
}

func newPlan(f api.FlashRequest, digest golden.Digest) api.Plan {
	// A digest can stand for an image too, and a repository has no colon.
	repository := "golden/" + strings.TrimPrefix(f.Image, "sha256:")
	return api.Plan{
		ID:       rand.Text(),
		Image:    api.PlanImage{Name: f.Image, Repository: repository, Digest: string(digest)},
		Disk:     f.Disk,
		ReadBack: cmp.Or(f.ReadBack, "full"),
		Handoff:  cmp.Or(f.Handoff, "auto"),
		Grow:     !f.NoGrow,
	}
}

// Cancel takes an arm back.
func (s *Machines) Cancel(ctx context.Context, spelling string) (api.Machine, error) {
	mac, err := s.mustKnow(ctx, spelling)
	if err != nil {
		return api.Machine{}, err
	}
	return s.Store.Update(ctx, mac, func(m *api.Machine) ([]api.Event, error) {
		return fleet.Cancel(m, s.now())
	})
}

// Events returns what is kept of a machine's past.
func (s *Machines) Events(ctx context.Context, spelling string) ([]api.Event, error) {
	mac, err := s.mustKnow(ctx, spelling)
	if err != nil {
		return nil, err
	}
	return s.Store.Events(ctx, mac)
}

// Follow sends changes as they happen.
func (s *Machines) Follow(ctx context.Context, after int64, send func(int64, api.Change) error) error {
	for {
		if after == 0 {
			var err error
			if after, err = s.snapshot(ctx, send); err != nil {
				return err
			}
		}
		err := s.Store.Watch(ctx, after, func(c state.Change) error {
			for i, change := range c.Changes {
				// Only the last one of a transaction is a place to go on from.
				id := int64(0)
				if i == len(c.Changes)-1 {
					id = c.Revision
				}
				if err := send(id, change); err != nil {
					return err
				}
			}
			after = c.Revision
			return nil
		})
		if !errors.Is(err, state.ErrCompacted) {
			return err
		}
		after = 0
	}
}

// snapshot sends a reset and all machines and returns the revision at which
// they were so.
func (s *Machines) snapshot(ctx context.Context, send func(int64, api.Change) error) (int64, error) {
	machines, rev, err := s.Store.List(ctx)
	if err != nil {
		return 0, err
	}
	id := int64(0)
	if len(machines) == 0 {
		id = rev
	}
	if err := send(id, api.Change{Kind: api.ChangeReset}); err != nil {
		return 0, err
	}
	for i := range machines {
		if i == len(machines)-1 {
			id = rev
		}
		if err := send(id, api.Change{Kind: api.ChangeMachine, ID: machines[i].ID, Machine: &machines[i]}); err != nil {
			return 0, err
		}
	}
	return rev, nil
}
