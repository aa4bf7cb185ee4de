package vercmp

import (
	"cmp"
	"regexp"
	"strings"
)

// Debian is the order of deb-version(7).
func Debian(a, b string) int {
	ae, a := epoch(a)
	be, b := epoch(b)
	av, ar := cutLast(a)
	bv, br := cutLast(b)
	return cmp.Or(numbers(ae, be), debianPart(av, bv, 0), debianPart(ar, br, 0))
}

func epoch(s string) (epoch, rest string) {
	if e, rest, ok := strings.Cut(s, ":"); ok {
		return e, rest
	}
	return "", s
}

// debianPart compares runs of other bytes and of digits in turn: letters before
// other bytes, a tilde before the end. The end itself has a rank: 0 is a
// digit's.
func debianPart(a, b string, end int) int {
	rank := func(s string) int {
		switch {
		case s == "":
			return end
		case digit(s[0]):
			return 0
		case letter(s[0]):
			return int(s[0])
		case s[0] == '~':
			return -2
		}
		return int(s[0]) + 256
	}
	for a != "" || b != "" {
		for a != "" && !digit(a[0]) || b != "" && !digit(b[0]) {
			if c := cmp.Compare(rank(a), rank(b)); c != 0 {
				return c
			}
			a, b = a[min(1, len(a)):], b[min(1, len(b)):]
		}
		var x, y string
		x, a = run(a, digit)
		y, b = run(b, digit)
		if c := numbers(x, y); c != 0 {
			return c
		}
	}
	return 0
}

// suffix is what [FileName] sets aside at first (gnulib, lib/filevercmp.h).
var suffix = regexp.MustCompile(`(\.[A-Za-z~][A-Za-z0-9~]*)*$`)

// FileName is the order of sort -V and of the blscfg of GRUB 2.14 (gnulib's
// filevercmp), for names without a slash.
func FileName(a, b string) int {
	if c := cmp.Compare(dots(a), dots(b)); c != 0 || dots(a) < 3 {
		return c
	}
	if a[0] == '.' && b[0] == '.' {
		a, b = a[1:], b[1:]
	}
	short := func(s string) string { return s[:len(s)-len(suffix.FindString(s))] }
	return cmp.Or(debianPart(short(a), short(b), -1), debianPart(a, b, -1))
}

// dots ranks the names that come before all others: the empty one, ".", "..",
// then those that begin with a dot.
func dots(s string) int {
	switch {
	case s == "":
		return 0
	case s == ".":
		return 1
	case s == "..":
		return 2
	case s[0] == '.':
		return 3
	}
	return 4
}

// testing are the words that Debian's grub-mkconfig puts before the version
// that they stand behind.
var testing = regexp.MustCompile(`[._-](pre|rc|test|git|old|trunk)`)

// Mkconfig is the order in which grub-mkconfig of Debian (to 12) puts kernels
// by the name of their file, such as vmlinuz-6.1.0-13-amd64.
func Mkconfig(a, b string) int {
	version := func(s string) (string, bool) {
		_, v, _ := strings.Cut(s, "-")
		v, old := strings.CutSuffix(v, ".old")
		return testing.ReplaceAllString(v, "~$1"), old
	}
	av, aOld := version(a)
	bv, bOld := version(b)
	return cmp.Or(Debian(av, bv), cmp.Compare(b2i(bOld), b2i(aOld)))
}

// MkconfigUpstream is that order in GRUB itself to 2.06, for all other
// distributions.
func MkconfigUpstream(a, b string) int {
	version := func(s string) (string, bool) {
		_, v, _ := strings.Cut(s, "-")
		return strings.CutSuffix(v, ".old")
	}
	av, aOld := version(a)
	bv, bOld := version(b)
	return cmp.Or(FileName(av, bv), cmp.Compare(b2i(bOld), b2i(aOld)))
}
