package sniff

import "strings"

// Base is a base URL of a server as agents use it: by TLS.
func Base(base string) string {
	if rest, plain := strings.CutPrefix(base, "http://"); plain {
		return "https://" + rest
	}
	return base
}

// Bases is Base of each.
func Bases(bases []string) []string {
	all := make([]string, len(bases))
	for i, base := range bases {
		all[i] = Base(base)
	}
	return all
}
