package machines

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/history"
	"github.com/gild-dev/gild/internal/server/fleet/selector"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/presence"
)

const listHelp = "gild machine ls shows the machines that were seen or registered"

// named finds the record that an operator means: by its name, ID, a MAC in any
// spelling, UUID or serial. What fits none of them is not known; its ID is
// then the MAC, if it is one.
func (s Operators) named(ctx context.Context, spelling string) (fleet.Found, error) {
	spelling = strings.TrimSpace(spelling)
	mac, err := wire.ParseMAC(spelling)
	if err == nil {
		// Its own record goes first, so that each of two records can be acted on.
		m, err := s.Store.Get(ctx, mac)
		if !errors.Is(err, state.ErrNotFound) {
			return fleet.Found{ID: cmp.Or(m.Joined, mac), Known: true}, err
		}
	}
	labels := []string{spelling, mac, fleet.NameLabel(spelling), fleet.UUIDLabel(spelling), fleet.SerialLabel(spelling)}
	labels = slices.DeleteFunc(labels, func(l string) bool { return l == "" })
	found, err := s.Store.Find(ctx, labels)
	if err != nil {
		return fleet.Found{}, err
	}
	// A name goes before an ID, which a host can choose, and both before labels,
	// so that whatever is listed can be acted on.
	for _, only := range []func(m fleet.Record) string{
		func(m fleet.Record) string { return m.Spec.Name },
		func(m fleet.Record) string { return m.ID },
	} {
		if i := slices.IndexFunc(found, func(m fleet.Record) bool { return strings.EqualFold(only(m), spelling) }); i >= 0 {
			found = found[i : i+1]
		}
	}
	switch len(found) {
	case 0:
		return fleet.Found{ID: mac}, nil
	case 1:
		return fleet.Found{ID: cmp.Or(found[0].Joined, found[0].ID), Known: true}, nil
	}
	var ids []string
	for i := range found {
		ids = append(ids, found[i].ID)
	}
	return fleet.Found{}, &fleet.ConflictError{
		Problem: spelling + " is a label of several machines: " + strings.Join(ids, ", "),
		Help:    "name one of them as it stands here",
	}
}

// mustKnow finds the ID of a record that an operator means.
func (s Operators) mustKnow(ctx context.Context, spelling string) (string, error) {
	f, err := s.named(ctx, spelling)
	if err == nil && !f.Known {
		err = &fleet.UnknownError{What: "machine", Name: spelling, Help: listHelp}
	}
	return f.ID, err
}

// Machines lists the machines that a selector picks, all when it is empty, by
// name, then ID.
func (s Operators) Machines(ctx context.Context, selects string) ([]api.Machine, error) {
	all, _, err := s.Store.List(ctx)
	if err != nil {
		return nil, err
	}
	machines := make([]api.Machine, 0, len(all))
	for _, r := range all {
		if r.Joined == "" {
			machines = append(machines, s.room.view(r, s.now()))
		}
	}
	if selects != "" {
		if machines, err = selector.Select(selects, machines); err != nil {
			return nil, &fleet.InvalidError{Problem: err.Error(), Help: "a selector looks like rack=b7,role!=db"}
		}
	}
	slices.SortFunc(machines, func(a, b api.Machine) int {
		// Those without a name come last.
		return cmp.Or(cmp.Compare(nameless(a), nameless(b)), strings.Compare(a.Spec.Name, b.Spec.Name), strings.Compare(a.ID, b.ID))
	})
	return machines, nil
}

func nameless(m api.Machine) int {
	if m.Spec.Name == "" {
		return 1
	}
	return 0
}

// Machine returns one machine.
func (s Operators) Machine(ctx context.Context, spelling string) (api.Machine, error) {
	r, err := recordOf(ctx, s, spelling)
	if err != nil {
		return api.Machine{}, err
	}
	return s.room.view(r, s.now()), nil
}

// recordOf finds the record that an operator means.
func recordOf(ctx context.Context, s Operators, spelling string) (fleet.Record, error) {
	id, err := s.mustKnow(ctx, spelling)
	if err != nil {
		return fleet.Record{}, err
	}
	r, err := s.Store.Get(ctx, id)
	if errors.Is(err, state.ErrNotFound) {
		err = &fleet.UnknownError{What: "machine", Name: spelling, Help: listHelp}
	}
	return r, err
}

// Register makes a machine known, seen or not. A record that was made when it
// was seen becomes the one that is registered.
func (s Operators) Register(ctx context.Context, actor string, spec api.Spec) (api.Machine, error) {
	if err := specs.Check(&spec); err != nil {
		return api.Machine{}, err
	}
	return s.setSpec(ctx, actor, spec, api.Spec{}, "", func(found []fleet.Record) (string, error) { return specs.Adopt(found, spec) })
}

// Edit replaces what the operator says of a machine, if that still is of the
// revision that was read; empty: whatever it is. One that was only seen so far
// becomes known by the address that it was seen by.
func (s Operators) Edit(ctx context.Context, actor, spelling, revision string, spec api.Spec) (api.Machine, error) {
	r, err := recordOf(ctx, s, spelling)
	if err != nil {
		return api.Machine{}, err
	}
	spec = specs.Introduced(&r, spec)
	if err := specs.Check(&spec); err != nil {
		return api.Machine{}, err
	}
	return s.setSpec(ctx, actor, spec, r.Spec, revision, func(found []fleet.Record) (string, error) {
		id, err := s.mustKnow(ctx, spelling)
		if err != nil {
			return "", err
		}
		return id, specs.Taken(found, id, spec)
	})
}

// guardSpecs stands before everything that the operator says of machines.
const guardSpecs = "specs"

// setSpec gives a spec to the record that choose says. found are the records
// that have one of its labels, and none more has when the spec is stored,
// whatever the other servers of the cluster do.
func (s Operators) setSpec(ctx context.Context, actor string, spec, before api.Spec, revision string,
	choose func(found []fleet.Record) (id string, err error),
) (api.Machine, error) {
	// What was named before may have been removed since by force.
	if image := spec.Flash.Image; image != "" && image != before.Flash.Image {
		if _, err := s.image(ctx, image); err != nil {
			return api.Machine{}, err
		}
	}
	s.registering.Lock()
	defer s.registering.Unlock()
	for {
		guard, err := s.Store.Guard(ctx, guardSpecs)
		if err != nil {
			return api.Machine{}, err
		}
		found, err := s.Store.Find(ctx, specs.Labels(spec))
		if err != nil {
			return api.Machine{}, err
		}
		id, err := choose(found)
		if err != nil {
			return api.Machine{}, err
		}
		r, err := s.putSpec(ctx, actor, id, spec, revision, &guard)
		if !errors.Is(err, state.ErrMoved) {
			return s.room.view(r, s.now()), err
		}
	}
}

// putSpec gives a spec to a record, if that is of the revision (empty: whatever
// it is) and what guard stands before has not moved.
func (s *Core) putSpec(ctx context.Context, actor, id string, spec api.Spec, revision string, guard *state.Guard) (fleet.Record, error) {
	guarded := func(ctx context.Context, id string, change rule) (fleet.Record, error) {
		return s.Store.UpdateGuarded(ctx, guard, id, change)
	}
	return s.changeBy(ctx, guarded, id, func(m *fleet.Record) ([]api.Event, error) {
		if err := specs.Unread(m, revision); err != nil {
			return nil, err
		}
		return specs.Set(m, spec, actor, s.now())
	})
}

// Delete forgets a machine; force: also while its disk is being written.
func (s Operators) Delete(ctx context.Context, actor, spelling string, force bool) error {
	id, err := s.mustKnow(ctx, spelling)
	if err != nil {
		return err
	}
	err = s.forget(ctx, actor, id, func(m *fleet.Record) ([]api.Event, error) { return fleet.Forget(m, actor, force, s.now()) })
	if errors.Is(err, state.ErrNotFound) { // somebody was faster
		err = &fleet.UnknownError{What: "machine", Name: spelling, Help: listHelp}
	}
	return err
}

// forget removes the record with an ID, which is no spelling: no name and no
// other label of a machine is meant by it. allowed may refuse.
func (s *Core) forget(ctx context.Context, actor, id string, allowed rule) error {
	var plan string
	var addresses []string
	err := s.Store.Delete(ctx, id, func(m *fleet.Record) ([]api.Event, error) {
		plan, addresses = planOf(m), fleet.MACs(m)
		return allowed(m)
	})
	if err != nil {
		return err
	}
	if plan != "" {
		s.endIdentity(context.WithoutCancel(ctx), plan)
	}
	if err := s.deleteJoined(ctx, id, addresses); err != nil {
		return err
	}
	s.log().Info("machine is forgotten", "machine", id, "actor", actor)
	return nil
}

// deleteJoined forgets the records that were joined with a machine.
func (s *Core) deleteJoined(ctx context.Context, id string, addresses []string) error {
	found, err := s.Store.Find(ctx, addresses)
	if err != nil {
		return err
	}
	var failed []error
	for i := range found {
		if found[i].Joined != id {
			continue
		}
		err := s.Store.Delete(ctx, found[i].ID, func(*fleet.Record) ([]api.Event, error) { return nil, nil })
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			failed = append(failed, err)
		}
		if away(err) {
			break
		}
	}
	return errors.Join(failed...)
}

// Cancel takes an arm back; force: also while the disk is being written.
func (s Operators) Cancel(ctx context.Context, actor, spelling string, force bool) (api.Machine, error) {
	id, err := s.mustKnow(ctx, spelling)
	if err != nil {
		return api.Machine{}, err
	}
	m, err := s.change(ctx, id, func(m *fleet.Record) ([]api.Event, error) {
		return fleet.Cancel(m, actor, force, s.now())
	})
	return s.room.view(m, s.now()), err
}

// Events returns what is kept of a machine's past.
func (s Operators) Events(ctx context.Context, spelling string) ([]api.Event, error) {
	id, err := s.mustKnow(ctx, spelling)
	if err != nil {
		return nil, err
	}
	return s.Store.Events(ctx, id)
}

// Flashes returns a machine's history, the newest flash first. The samples of
// one under way are those that this server has seen.
func (s Operators) Flashes(ctx context.Context, spelling string) ([]api.Flash, error) {
	id, err := s.mustKnow(ctx, spelling)
	if err != nil {
		return nil, err
	}
	events, err := s.Store.Events(ctx, id)
	if err != nil {
		return nil, err
	}
	flashes := history.Flashes(events)
	for i := range flashes {
		if f := &flashes[i]; len(f.Samples) == 0 {
			f.Samples = s.room.outlook.Samples(id, f.Plan)
		}
	}
	return flashes, nil
}

// maxLog bounds how much of the log one answer has.
const maxLog = 1000

// Log returns the newest events of all machines, newest first; audit: only what
// operators and the server did, and receipts.
func (s Operators) Log(ctx context.Context, limit int, audit bool) ([]api.LogEntry, error) {
	if limit <= 0 {
		limit = 100
	}
	return s.Store.Recent(ctx, min(limit, maxLog), audit)
}

// StateUsage tells how full the database is.
func (s Operators) StateUsage(ctx context.Context) (api.StateUsage, error) {
	u, err := s.Store.Usage(ctx)
	return api.StateUsage{Size: u.Size, InUse: u.InUse, Quota: u.Quota, Full: u.Full}, err
}

// Servers returns every server of the cluster that is alive.
func (s Operators) Servers(ctx context.Context) ([]api.Server, error) {
	return presence.Servers(ctx, s.Store.Space)
}
