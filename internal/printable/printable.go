// Package printable makes foreign text fit to be shown: on a terminal, in a
// log, on a page.
package printable

import (
	"strings"
	"unicode"
)

// Is reports whether a character may be shown: a letter, mark, number,
// punctuation, symbol or the ASCII blank. What drives a terminal, turns the
// direction of writing, breaks a line or is no character may not.
func Is(r rune) bool { return r != unicode.ReplacementChar && unicode.IsPrint(r) }

// Mark puts a question mark in the place of each character that may not be
// shown, and of each byte that is no UTF-8.
func Mark(s string) string { return replace(s, '?') }

// Drop leaves them out: for names, which are compared with what a person types.
func Drop(s string) string { return replace(s, -1) }

// Line brings a text into one line of at most so many bytes, and three dots
// where more was cut off.
func Line(s string, most int) string {
	s = Mark(strings.Join(strings.Fields(s), " "))
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

func replace(s string, by rune) string {
	return strings.Map(func(r rune) rune {
		if Is(r) {
			return r
		}
		return by
	}, s)
}
