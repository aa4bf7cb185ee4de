// Package vercmp has the orders in which boot loaders or distributions put
// versions.
//
// No two of them agree, so each caller has to know whose order it asks for.
//
// Every comparison gives a negative number, zero or a positive number where a
// is older than, as old as or newer than b.
package vercmp

import (
	"cmp"
	"strings"
)

func digit(c byte) bool { return c >= '0' && c <= '9' }

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// run cuts the leading bytes that are of a kind off s.
func run(s string, is func(byte) bool) (head, rest string) {
	i := 0
	for i < len(s) && is(s[i]) {
		i++
	}
	return s[:i], s[i:]
}

// numbers compares digits of any length.
func numbers(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// starts compares whether the strings start with c: one that does is the older.
func starts(a, b string, c byte) (order int, both bool) {
	x, y := a != "" && a[0] == c, b != "" && b[0] == c
	switch {
	case x && !y:
		return -1, false
	case y && !x:
		return 1, false
	}
	return 0, x
}

// UAPI is the order of the UAPI Group's Version Format Specification, which
// systemd-boot uses (strverscmp_improved).
func UAPI(a, b string) int {
	stray := func(c byte) bool { return !digit(c) && !letter(c) && strings.IndexByte("~-^.", c) < 0 }
	for a != "" || b != "" {
		_, a = run(a, stray)
		_, b = run(b, stray)
		order, both := starts(a, b, '~')
		if order != 0 {
			return order
		}
		if both {
			a, b = a[1:], b[1:]
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		for _, c := range []byte("-^.") {
			if order, both = starts(a, b, c); order != 0 {
				return order
			}
			if both {
				a, b = a[1:], b[1:]
			}
		}
		if order, a, b = segment(a, b); order != 0 {
			return order
		}
	}
	return 0
}

// segment compares the leading digits or letters, digits being newer, and cuts
// them off.
func segment(a, b string) (order int, restA, restB string) {
	if a != "" && digit(a[0]) || b != "" && digit(b[0]) {
		x, restA := run(a, digit)
		y, restB := run(b, digit)
		return cmp.Or(cmp.Compare(min(len(x), 1), min(len(y), 1)), numbers(x, y)), restA, restB
	}
	x, restA := run(a, letter)
	y, restB := run(b, letter)
	n := min(len(x), len(y))
	return cmp.Or(strings.Compare(x[:n], y[:n]), cmp.Compare(len(x), len(y))), restA, restB
}

// RPM is the order of rpmvercmp (rpm-version(7)), for a version or a release
// alone.
func RPM(a, b string) int {
	return rpmWalk(a, b, "~^", func(a, b string) (int, bool) {
		order, both := starts(b, a, '^') // the caret is newer than what it stands behind
		if order != 0 && a != "" && b != "" {
			order = -order // but older than anything else there
		}
		return order, both
	})
}

// BLS is the order of one part of a name in Red Hat's blscfg (grub2,
// commands/blscfg.c, vercmp): rpm's of before the caret. With plus, as from
// RHEL 9 on, a plus sign is above the end and below all else.
func BLS(a, b string, plus bool) int {
	if !plus {
		return rpmWalk(a, b, "~", nil)
	}
	return rpmWalk(a, b, "~+", func(a, b string) (int, bool) {
		order, both := starts(a, b, '+')
		if order != 0 && (a == "" || b == "") {
			order = -order
		}
		return order, both
	})
}

// rpmWalk compares runs of digits and of letters; other bytes only part them,
// but for the special ones. mark, where it is given, judges the one that is
// special to a variant.
func rpmWalk(a, b, special string, mark func(a, b string) (order int, both bool)) int {
	parts := func(c byte) bool { return !digit(c) && !letter(c) && strings.IndexByte(special, c) < 0 }
	for a != b {
		_, a = run(a, parts)
		_, b = run(b, parts)
		order, both := starts(a, b, '~')
		if order == 0 && !both && mark != nil {
			order, both = mark(a, b)
		}
		if order != 0 {
			return order
		}
		if both {
			a, b = a[1:], b[1:]
			continue
		}
		if a == "" || b == "" {
			return cmp.Compare(len(a), len(b))
		}
		if order, a, b = rpmSegment(a, b); order != 0 {
			return order
		}
	}
	return 0
}

func rpmSegment(a, b string) (order int, restA, restB string) {
	kind := letter
	if digit(a[0]) {
		kind = digit
	}
	x, restA := run(a, kind)
	y, restB := run(b, kind)
	switch {
	case x == "" || y == "": // of two kinds, and digits are newer
		return cmp.Compare(b2i(digit(a[0])), b2i(digit(b[0]))), restA, restB
	case digit(a[0]):
		return numbers(x, y), restA, restB
	}
	return strings.Compare(x, y), restA, restB
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// BLSName is the order in which Red Hat's blscfg puts entries by file name,
// without .conf: the name is cut at its last two hyphens into name, version and
// release.
func BLSName(a, b string, plus bool) int {
	an, av, ar := cutName(a)
	bn, bv, br := cutName(b)
	return cmp.Or(BLS(an, bn, plus), BLS(av, bv, plus), BLS(ar, br, plus))
}

// BLSVersion is the order of the version key in RHEL 8: a version and, behind
// the last hyphen, a release.
func BLSVersion(a, b string) int {
	av, ar := cutLast(a)
	bv, br := cutLast(b)
	return cmp.Or(BLS(av, bv, false), BLS(ar, br, false))
}

// cutName splits at the last two hyphens; a name with one only has no release.
func cutName(s string) (name, version, release string) {
	s, release = cutLast(s)
	name, version = cutLast(s)
	if version == "" {
		version, release = release, ""
	}
	return name, version, release
}

func cutLast(s string) (head, tail string) {
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}
