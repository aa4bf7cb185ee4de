package fleet

import (
	"fmt"
	"strings"
)

// Selector picks machines by their labels.
type Selector struct{ terms [][2]string }

// ParseSelector reads KEY=VALUE terms joined by commas.
func ParseSelector(s string) (Selector, error) {
	var out Selector
	for term := range strings.SplitSeq(s, ",") {
		k, v, ok := strings.Cut(term, "=")
		if !ok && s != "" {
			return out, fmt.Errorf("selector %.80q: %.40q is not of the form key=value", s, term)
		}
		if s != "" {
			out.terms = append(out.terms, [2]string{k, v})
		}
	}
	return out, nil
}

// Matches reports whether the labels fit.
func (s Selector) Matches(labels map[string]string) bool {
	for _, t := range s.terms {
		if labels[t[0]] != t[1] {
			return false
		}
	}
	return true
}
