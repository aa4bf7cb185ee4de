package specs

import (
	"fmt"
	"maps"
	"strings"
)

// Pairs gives labels, or values, with some changes: KEY=VALUE sets one, KEY-
// removes it. The map that is given stays as it is.
func Pairs(of map[string]string, changes []string) (map[string]string, error) {
	changed := maps.Clone(of)
	for _, c := range changes {
		key, value, set := strings.Cut(c, "=")
		bare, remove := strings.CutSuffix(c, "-")
		switch {
		case set && key != "":
			if changed == nil {
				changed = map[string]string{}
			}
			changed[key] = value
		case !set && remove && bare != "":
			delete(changed, bare)
		default:
			return nil, fmt.Errorf("%.60q: want KEY=VALUE or KEY-", c)
		}
	}
	return changed, nil
}
