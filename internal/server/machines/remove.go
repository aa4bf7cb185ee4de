package machines

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/apply"
	"github.com/gild-dev/gild/internal/server/fleet/uses"
	"github.com/gild-dev/gild/internal/server/state/docs"
)

// RemoveImages removes all images or none. One that something names is refused
// with a *fleet.ConflictError; force: it goes, and what named it is told.
func (s Operators) RemoveImages(ctx context.Context, actor string, names []string, force bool) ([]api.RemovedImage, error) {
	// No arm comes between the look and the removal.
	s.arming.Lock()
	defer s.arming.Unlock()
	have, err := s.unlapsed(ctx)
	if err != nil {
		return nil, err
	}
	var out []api.RemovedImage
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if _, err := s.image(ctx, name); errors.As(err, new(*fleet.UnknownError)) {
			return nil, err // one that is damaged can be removed
		}
		named := append([]api.Use{}, uses.OfImage(name, have.Machines, have.Groups)...)
		if name == s.Discover {
			named = append(named, api.Use{Kind: api.UseDiscover})
		}
		if len(named) > 0 && !force {
			return nil, uses.Refuse(api.KindImage, name, named)
		}
		out = append(out, api.RemovedImage{Name: name, Uses: named})
	}
	for _, gone := range out {
		if err := s.RemoveImage(ctx, gone.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		removed := api.Removed{Kind: api.KindImage, Name: gone.Name, Uses: gone.Uses}
		if err := s.Store.Note(ctx, uses.Removed(removed, actor, s.now())); err != nil {
			return nil, err
		}
	}
	Upkeep{s.Core}.checkDiscover(ctx)
	return out, nil
}

// RemoveNamed removes a group or an identity. One that something names is
// refused with a *fleet.ConflictError; force: it goes, and what named it is
// told.
func (s Operators) RemoveNamed(ctx context.Context, actor, kind, name string, force bool) (gone api.Removed, err error) {
	s.registering.Lock() // no apply comes between the look and the removal
	defer s.registering.Unlock()
	have, err := s.unlapsed(ctx)
	if err != nil {
		return gone, err
	}
	named, there := uses.OfNamed(kind, name, have.Machines, have.Groups, have.Identities)
	switch {
	case !there:
		return gone, &fleet.UnknownError{What: kind, Name: name, Help: "gild " + kind + " ls shows those that there are"}
	case len(named) > 0 && !force:
		return gone, uses.Refuse(kind, name, named)
	}
	gone = api.Removed{Kind: kind, Name: name, Uses: append([]api.Use{}, named...)}
	if err := docs.Delete(ctx, s.Store.Space, kind, name); err != nil {
		return gone, err
	}
	return gone, s.Store.Note(ctx, uses.Removed(gone, actor, s.now()))
}

// unlapsed is what is stored, without the arms that have lapsed.
func (s Operators) unlapsed(ctx context.Context) (apply.Stored, error) {
	have, err := s.stored(ctx)
	for i := range have.Machines {
		fleet.Lapse(&have.Machines[i], s.now())
	}
	return have, err
}

// checkDiscover raises an alarm while unknown machines are to boot an image
// that is not stored: they boot their disks.
func (s Upkeep) checkDiscover(ctx context.Context) {
	if s.Discover == "" || s.Alarms == nil {
		return
	}
	switch _, err := s.Images.Resolve(ctx, s.Discover); {
	case err == nil:
		s.Alarms.Clear(api.AlarmDiscover)
	case errors.Is(err, fs.ErrNotExist):
		s.Alarms.Raise(api.AlarmDiscover, fmt.Sprintf("image %.120q is not stored: unknown machines boot their disks instead of its kernel; "+
			"add it with gild image add, or start the server with another --discover", s.Discover))
	}
}
