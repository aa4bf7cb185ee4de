package machines

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/apply"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/docs"
)

// kindNamed and namedFleet are the document with what applies have named.
const (
	kindNamed  = "named"
	namedFleet = "fleet"
)

// applyTries is how often an apply begins anew when somebody else registers
// machines meanwhile.
const applyTries = 10

// Applied returns what applies have named.
func (s Applies) Applied(ctx context.Context) (api.Applied, error) {
	have, err := s.stored(ctx)
	if err != nil {
		return api.Applied{}, err
	}
	out := api.Applied{Machines: []api.Spec{}, Groups: []api.Group{}, Identities: []string{}}
	for i := range have.Machines {
		if _, named := slices.BinarySearch(have.Named.Machines, have.Machines[i].ID); named { // they are sorted
			out.Machines = append(out.Machines, have.Machines[i].Spec)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.Groups)) {
		out.Groups = append(out.Groups, have.Groups[name])
	}
	out.Identities = slices.AppendSeq(out.Identities, maps.Keys(have.Identities))
	slices.Sort(out.Identities)
	return out, nil
}

func (s Applies) stored(ctx context.Context) (have apply.Stored, err error) {
	if have.Machines, _, err = s.Store.List(ctx); err != nil {
		return have, err
	}
	have.Machines = slices.DeleteFunc(have.Machines, func(m fleet.Record) bool { return m.Joined != "" })
	if have.Groups, err = docs.List[api.Group](ctx, s.Store.Space, kindGroup); err != nil {
		return have, err
	}
	if have.Identities, err = docs.List[api.Identity](ctx, s.Store.Space, KindIdentity); err != nil {
		return have, err
	}
	_, err = docs.Get(ctx, s.Store.Space, kindNamed, namedFleet, &have.Named)
	return have, err
}

// Apply makes the fleet what files say. What it would do is checked as a whole
// before the first change; one that ends in the middle is completed by the
// next.
func (s Applies) Apply(ctx context.Context, actor string, want api.Fleet, dryRun bool) (api.FleetDiff, error) {
	diff := api.FleetDiff{Changes: []api.FleetChange{}, DryRun: dryRun}
	if err := s.checkImages(ctx, want.Images); err != nil {
		return diff, err
	}
	s.registering.Lock()
	defer s.registering.Unlock()
	for try := 1; ; try++ {
		guard, err := s.Store.Guard(ctx, guardSpecs)
		if err != nil {
			return diff, err
		}
		have, err := s.stored(ctx)
		if err != nil {
			return diff, err
		}
		plan, err := apply.Make(have, want, s.now())
		if err != nil {
			return diff, err
		}
		if diff.Warnings, err = apply.Unstored(want, func(image string) error { _, err := s.image(ctx, image); return err }); err != nil {
			return diff, err
		}
		if n := known(have.Machines, plan); n > budget.Machines {
			return diff, &fleet.InvalidError{
				Problem: fmt.Sprintf("%d machines would be known, at most %d are kept", n, budget.Machines),
				Help:    "gild machine rm makes room",
			}
		}
		if try == 1 {
			diff.Changes = append(diff.Changes, plan.Changes...)
		}
		if dryRun {
			return diff, nil
		}
		if err = s.apply(ctx, actor, have, plan, &guard); !errors.Is(err, state.ErrMoved) || try == applyTries {
			return diff, err
		}
	}
}

// known counts the machines that the operator knows when a plan is carried
// out. What anybody can make up does not count against them.
func known(machines []fleet.Record, plan apply.Plan) int {
	ids := map[string]bool{}
	for i := range machines {
		if m := &machines[i]; !fleet.Stranger(m) && !slices.Contains(plan.RemoveMachines, m.ID) {
			ids[m.ID] = true
		}
	}
	for _, m := range plan.Machines {
		ids[m.ID] = true
	}
	return len(ids)
}

// checkImages refuses names that mean another image here than in the files.
func (s Applies) checkImages(ctx context.Context, images map[string]string) error {
	var wrong apply.BadFilesError
	for _, name := range slices.Sorted(maps.Keys(images)) {
		im, err := s.image(ctx, name)
		if _, unknown := errors.AsType[*fleet.UnknownError](err); err != nil && !unknown {
			return err
		}
		if err == nil && im.Digest != images[name] {
			err = fmt.Errorf("%.80s is stored under this name, not %.80s", im.Digest, images[name])
		}
		if err != nil {
			wrong.Fields = append(wrong.Fields, &apply.FieldError{Path: "images." + name, Err: err})
		}
	}
	if len(wrong.Fields) > 0 {
		return &wrong
	}
	return nil
}

// apply carries a plan out. What is referred to comes before what refers to
// it, and goes after it.
func (s Applies) apply(ctx context.Context, actor string, have apply.Stored, plan apply.Plan, guard *state.Guard) error {
	// What a crash leaves half done is among what a prune may remove.
	if err := docs.Put(ctx, s.Store.Space, kindNamed, namedFleet, have.Named.And(plan.Named)); err != nil {
		return err
	}
	if err := docs.PutAll(ctx, s.Store.Space, KindIdentity, plan.Identities); err != nil {
		return err
	}
	if err := docs.PutAll(ctx, s.Store.Space, kindGroup, plan.Groups); err != nil {
		return err
	}
	if err := s.applyMachines(ctx, actor, plan, guard); err != nil {
		return err
	}
	if e, changed := apply.Applied(plan, actor, s.now()); changed {
		if err := s.Store.Note(ctx, e); err != nil {
			return err
		}
	}
	for kind, names := range map[string][]string{kindGroup: plan.RemoveGroups, KindIdentity: plan.RemoveIdentities} {
		for _, name := range names {
			if err := docs.Delete(ctx, s.Store.Space, kind, name); err != nil {
				return err
			}
		}
	}
	return docs.Put(ctx, s.Store.Space, kindNamed, namedFleet, plan.Named)
}

// applyMachines changes one machine after the other, each on the condition that
// what the plan rests on has not been changed by anybody else. One that cannot
// be changed does not keep the others from it.
func (s Applies) applyMachines(ctx context.Context, actor string, plan apply.Plan, guard *state.Guard) error {
	var failed []error
	each := func(id string, change func() error) bool {
		err := change()
		if err != nil {
			failed = append(failed, fmt.Errorf("machine %s: %w", id, err))
		}
		return !errors.Is(err, state.ErrMoved) && !away(err)
	}
	for _, id := range plan.RemoveMachines { // what goes may make room for what comes
		if !each(id, func() error { return s.prune(ctx, actor, id) }) {
			return errors.Join(failed...)
		}
	}
	for _, m := range plan.Machines {
		put := func() error {
			_, err := s.putSpec(ctx, actor, m.ID, m.Spec, "", guard)
			return err
		}
		if !each(m.ID, put) {
			break
		}
	}
	return errors.Join(failed...)
}

// prune forgets a machine that the files do not name any more, if it is as it
// was when that was decided.
func (s Applies) prune(ctx context.Context, actor, id string) error {
	err := s.forget(ctx, actor, id, func(m *fleet.Record) ([]api.Event, error) {
		if !apply.Prunable(m, s.now()) {
			return nil, fmt.Errorf("pruning machine %s: %w", id, state.ErrMoved)
		}
		return fleet.Forget(m, actor, false, s.now())
	})
	if errors.Is(err, state.ErrNotFound) {
		return nil // somebody was faster
	}
	return err
}
