package selector

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// Labels that every machine has for selectors, unless it has its own of these
// names.
const (
	keyName    = "name"
	keyState   = "state"
	keyTrouble = "trouble" // the cause; a machine without trouble has no such label
)

// Labels are what a selector can pick a machine by: its labels, its name,
// its state and its trouble. A state has hyphens for its blanks there.
func Labels(m *api.Machine) map[string]string {
	out := map[string]string{keyName: m.Spec.Name, keyState: stateWord(m.State)}
	if m.Trouble != nil {
		out[keyTrouble] = m.Trouble.Cause
	}
	maps.Copy(out, m.Spec.Labels)
	return out
}

// kinds are the values that there are of a state and of a trouble.
func kinds() map[string][]string {
	var states []string
	for _, s := range api.MachineStates {
		states = append(states, stateWord(s))
	}
	return map[string][]string{keyState: states, keyTrouble: api.Causes}
}

func stateWord(state string) string { return strings.ReplaceAll(state, " ", "-") }

// Select picks machines. An error says that the selector cannot be read, or
// means a state or cause that there is not, which would pick nobody in silence.
func Select(selector string, machines []api.Machine) ([]api.Machine, error) {
	pick, err := Parse(selector)
	if err != nil {
		return nil, err
	}
	for key, known := range kinds() {
		if own(machines, key) {
			continue // somebody's own label, with whatever values
		}
		for _, value := range pick.values(key) {
			if !slices.Contains(known, value) {
				return nil, fmt.Errorf("selector: there is no %s %.40q; there are %s", key, value, strings.Join(known, ", "))
			}
		}
	}
	picked := make([]api.Machine, 0, len(machines))
	for i := range machines {
		if pick.Matches(Labels(&machines[i])) {
			picked = append(picked, machines[i])
		}
	}
	return picked, nil
}

// own reports whether a machine has a label of its own by this name.
func own(machines []api.Machine, key string) bool {
	return slices.ContainsFunc(machines, func(m api.Machine) bool { _, has := m.Spec.Labels[key]; return has })
}

// ForGroup reads a group's selector. It must name something: an empty one is
// more often forgotten than meant. It must not mean a state, which a group does
// not see: what is written to a machine must not change while it boots.
func ForGroup(text string) (Selector, error) {
	s, err := Parse(text)
	if err != nil {
		return s, err
	}
	if len(s.terms) == 0 {
		return s, errors.New("no selector: say which machines, such as rack=b7")
	}
	for key, known := range kinds() {
		for _, value := range s.values(key) {
			if slices.Contains(known, value) {
				return s, fmt.Errorf("%s=%s: a group has machines by their labels and names, whatever their %s", key, value, key)
			}
		}
	}
	return s, nil
}

// MatchesSpec reports whether every condition holds for what an operator says
// of a machine.
func (s Selector) MatchesSpec(spec api.Spec) bool {
	labels := map[string]string{keyName: spec.Name}
	maps.Copy(labels, spec.Labels)
	return s.Matches(labels)
}
