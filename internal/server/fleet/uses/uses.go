// Package uses tells what names the things that an operator removes.
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
	"github.com/gild-dev/gild/internal/server/fleet/specs"
	"github.com/gild-dev/gild/internal/settings"
)

// OfImage says what names an image: arms first, then machines, then groups,
// each by name.
func OfImage(image string, machines []fleet.Record, groups map[string]api.Group) []api.Use {
	return of(machines, groups,
		func(a *fleet.Armed) bool { return a.Holds().Name == image },
		func(f settings.Settings) bool { return f.Image == image })
}

// OfIdentity says what names an identity, in the same order.
func OfIdentity(identity string, machines []fleet.Record, groups map[string]api.Group) []api.Use {
	return of(machines, groups,
		func(a *fleet.Armed) bool { return a.IdentityName == identity },
		func(f settings.Settings) bool { return f.Identity == identity })
}

// OfGroup says which machines are in a group, by name. A selector that cannot
// be read picks none.
func OfGroup(group api.Group, machines []fleet.Record) (members []api.Use) {
	for i := range machines {
		if m := &machines[i]; !fleet.Stranger(m) && specs.InGroup(m.Spec, group) {
			members = append(members, api.Use{Kind: api.UseMember, Name: cmp.Or(m.Spec.Name, m.ID)})
		}
	}
	slices.SortFunc(members, byName)
	return members
}

// OfNamed says what names a group or an identity, and whether there is one.
func OfNamed(kind, name string, machines []fleet.Record, groups map[string]api.Group,
	identities map[string]api.Identity,
) (named []api.Use, there bool) {
	if kind == api.KindIdentity {
		_, there = identities[name]
		return OfIdentity(name, machines, groups), there
	}
	g, there := groups[name]
	return OfGroup(g, machines), there
}

func of(machines []fleet.Record, named map[string]api.Group, armed func(*fleet.Armed) bool, said func(settings.Settings) bool) []api.Use {
	var arms, own, groups []api.Use
	for i := range machines {
		m := &machines[i]
		name := cmp.Or(m.Spec.Name, m.ID)
		if m.Armed != nil && armed(m.Armed) {
			arms = append(arms, api.Use{Kind: api.UseArm, Name: name})
		}
		if said(m.Spec.Flash) {
			own = append(own, api.Use{Kind: api.UseMachine, Name: name})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(named)) {
		if said(named[name].Flash) {
			groups = append(groups, api.Use{Kind: api.UseGroup, Name: name})
		}
	}
	slices.SortFunc(arms, byName)
	slices.SortFunc(own, byName)
	return slices.Concat(arms, own, groups)
}

func byName(a, b api.Use) int { return strings.Compare(a.Name, b.Name) }

// maxTold bounds what a refusal names.
const maxTold = 5

// Refuse refuses to remove what is named. It is the one refusal of the command
// line, the API and the dashboard.
func Refuse(kind, name string, uses []api.Use) error {
	var told []string
	for _, u := range uses[:min(len(uses), maxTold)] {
		told = append(told, u.String())
	}
	if more := len(uses) - len(told); more > 0 {
		told = append(told, fmt.Sprintf("and %d more", more))
	}
	return &fleet.ConflictError{
		Problem: fmt.Sprintf("%s %.120q is in use: %s", kind, name, strings.Join(told, ", ")),
		Help:    "cancel or change what names it first, or remove it all the same with --force: " + after[kind],
	}
}

// after is what a removal by force leaves.
var after = map[string]string{
	api.KindImage:    "what is armed is still flashed, nothing new can be",
	api.KindIdentity: "what is armed keeps its identity, nothing new can be armed with it",
	api.KindGroup:    "what is armed stays as it is, later arms lack what the group says",
}

// Removed is the event of a removal.
func Removed(gone api.Removed, actor string, now time.Time) api.Event {
	text := fmt.Sprintf("%s %.120q was removed", gone.Kind, gone.Name)
	if n := len(gone.Uses); n > 0 {
		text += fmt.Sprintf(" by force: %d named it", n)
	}
	return api.Event{Time: now, Step: gone.Kind, State: api.StateDone, Actor: actor, Message: text}
}
