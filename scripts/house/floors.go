package main

import (
	"slices"
	"strings"
)

// floors are the wings from the roof down. An import goes to a lower floor or
// stays within its wing; wings of one floor do not know each other.
var floors = [][]string{
	{"cmd", "bench", "scripts", "test"},
	{"internal/cli"},
	{"internal/vm", "internal/takeover", "internal/media"},
	{"internal/server", "internal/agent"},
	{"internal/flash"},
	{"internal/swarm", "internal/power"},
	{"internal/golden"},
	{"internal/oci"},
	{"internal/initramfs"},
	{"internal/evidence"},
	{"internal/api"},
	{"internal/settings"},
	{"internal/progress"},
	{"internal/disk"},
	{
		"internal/tier", "internal/child", "internal/version", "internal/backoff", "internal/lockedbuf", "internal/printable",
		"internal/units", "internal/wholefile",
	},
}

// wiring roots are at the top of their wing: nothing below imports them. The
// other roots hold the values that their wing is about, and are below it.
var wiring = []string{"internal/cli", "internal/server", "internal/agent", "internal/flash"}

// nouns are the rooms of the command line's nouns: none of them imports
// another.
var nouns = []string{
	"serve", "doctor", "state", "token", "image", "kernel", "write", "machine", "definition", "flash", "power", "watch",
	"events", "apply", "login",
}

// nounOf gives the noun whose room a package is; empty: of none.
func nounOf(dir string) string {
	room, _, _ := strings.Cut(strings.TrimPrefix(dir, "internal/cli/"), "/")
	if dir == "internal/cli/"+room && slices.Contains(nouns, room) {
		return room
	}
	return ""
}

// allowed reports whether an import runs the right way. A package without a
// floor may import nothing and be imported by nothing: it needs a place first.
func allowed(from, to string) bool {
	for _, root := range wiring {
		if to == root && strings.HasPrefix(from, root+"/") {
			return false
		}
	}
	if nounOf(from) != "" && nounOf(to) != "" {
		return false
	}
	a, fromFloor := floorOf(from)
	b, toFloor := floorOf(to)
	if fromFloor < 0 || toFloor < 0 {
		return false
	}
	return a == b || fromFloor < toFloor || fromFloor == 0 && toFloor == 0
}

// floorOf finds the wing of a package with the number of its floor, counted
// from the roof; -1: it has none.
func floorOf(dir string) (wing string, floor int) {
	for i, wings := range floors {
		for _, w := range wings {
			if dir == w || strings.HasPrefix(dir, w+"/") {
				return w, i
			}
		}
	}
	return "", -1
}
