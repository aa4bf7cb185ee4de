package kmod

import "strings"

// Match reports whether a device's or service's alias matches a pattern of
// modules.alias, in the manner of fnmatch(3) without flags: '*' any run, '?'
// any one byte, "[a-c]" and "[!a]" sets, '\' quotes. '-' and '_' are equal
// outside of sets. A set that never closes matches itself literally.
//
// It takes time of at most len(pattern)*len(alias): only the latest '*' is ever
// returned to.
func Match(pattern, alias string) bool {
	p, a := 0, 0
	star, retry := -1, 0 // where to resume after the latest '*', and at which byte of alias
	for a < len(alias) {
		switch next, ok := matchOne(pattern, p, alias[a]); {
		case p < len(pattern) && pattern[p] == '*':
			p++
			star, retry = p, a
		case ok:
			p, a = next, a+1
		case star >= 0:
			retry++
			p, a = star, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one byte against the element of pattern at p, which is no
// '*', and returns where the next element starts.
func matchOne(pattern string, p int, c byte) (next int, ok bool) {
	if p >= len(pattern) {
		return p, false
	}
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		if end := setEnd(pattern, p); end > 0 {
			return end + 1, inSet(pattern[p+1:end], c)
		}
	case '\\':
		if p+1 < len(pattern) {
			return p + 2, fold(pattern[p+1]) == fold(c)
		}
	}
	return p + 1, fold(pattern[p]) == fold(c)
}

// setEnd returns the index of the ']' that closes the set opened at p, or 0. A
// ']' in first place is a member of the set.
func setEnd(pattern string, p int) int {
	from := p + 1
	if from < len(pattern) && (pattern[from] == '!' || pattern[from] == '^') {
		from++
	}
	from++
	if from > len(pattern) {
		return 0
	}
	if i := strings.IndexByte(pattern[from:], ']'); i >= 0 {
		return from + i
	}
	return 0
}

func inSet(set string, c byte) bool {
	negated := set[0] == '!' || set[0] == '^'
	if negated {
		set = set[1:]
	}
	for i := 0; i < len(set); i++ {
		low, high := set[i], set[i]
		if i+2 < len(set) && set[i+1] == '-' {
			high = set[i+2]
			i += 2
		}
		if low <= c && c <= high {
			return !negated
		}
	}
	return negated
}

func fold(c byte) byte {
	if c == '-' {
		return '_'
	}
	return c
}

// literalPrefix returns what of pattern comes before its first wildcard, as
// [Match] compares it.
func literalPrefix(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		pattern = pattern[:i]
	}
	return CanonicalName(pattern)
}
