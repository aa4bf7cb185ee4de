// Package uses tells what names an image.
package uses

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// Of says what names an image: arms first, then machines, then groups, each by
// name.
func Of(image string, machines []fleet.Record, named map[string]api.Group) []api.ImageUse {
	var arms, own, groups []api.ImageUse
	for i := range machines {
		m := &machines[i]
		name := cmp.Or(m.Spec.Name, m.ID)
		if m.Armed != nil && m.Armed.Holds().Name == image {
			arms = append(arms, api.ImageUse{Kind: api.UseArm, Name: name})
		}
		if m.Spec.Flash.Image == image {
			own = append(own, api.ImageUse{Kind: api.UseMachine, Name: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if named[name].Flash.Image == image {
			groups = append(groups, api.ImageUse{Kind: api.UseGroup, Name: name})
		}
	}
	byName := func(a, b api.ImageUse) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(arms, byName)
	slices.SortFunc(own, byName)
	return slices.Concat(arms, own, groups)
}

// maxTold bounds what a refusal names.
const maxTold = 5

// Refuse refuses to remove an image that is named.
func Refuse(image string, uses []api.ImageUse) error {
	var told []string
	for _, u := range uses[:min(len(uses), maxTold)] {
		told = append(told, u.String())
	}
	if more := len(uses) - len(told); more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return &fleet.ConflictError{
		Problem: fmt.Sprintf("image %.120q is in use: %s", image, strings.Join(told, ", ")),
		Help: "cancel or change what names it first, or remove it all the same with --force: what is armed is still flashed, nothing " +
			"new can be",
	}
}

// Removed is the event of a removal.
func Removed(gone api.RemovedImage, actor string, now time.Time) api.Event {
	text := fmt.Sprintf("image %.120q was removed", gone.Name)
	if n := len(gone.Uses); n > 0 {
		text += fmt.Sprintf(" by force: %d named it", n)
	}
	return api.Event{Time: now, Step: "image", State: api.StateDone, Actor: actor, Message: text}
}
