// Package cmdline reads the kernel's command line.
package cmdline

import (
	"fmt"
	"strings"
)

// Line is a command line as words, in order.
type Line []Word

// Word is one word, "key" or "key=value". Key and Value are without the
// quotes that kept a word with spaces together.
type Word struct {
	Key   string
	Value string
	// Bare is a word without "=": "quiet", not "quiet=".
	Bare bool
}

// Parse splits a command line as the kernel's next_arg does (lib/cmdline.c):
// words end at white space outside of double quotes, the first "=" ends the
// key, one quote around the value or the whole word is dropped. There is no
// escaping, so every string is a command line.
func Parse(s string) Line {
	var line Line
	for {
		s = strings.TrimLeft(s, " \t\n\v\f\r")
		if s == "" {
			return line
		}
		end, quoted := 0, false
		for ; end < len(s) && (quoted || !isSpace(s[end])); end++ {
			if s[end] == '"' {
				quoted = !quoted
			}
		}
		line = append(line, word(s[:end]))
		s = s[end:]
	}
}

func word(s string) Word {
	if rest, ok := strings.CutPrefix(s, `"`); ok {
		s = strings.TrimSuffix(rest, `"`)
	}
	key, value, ok := strings.Cut(s, "=")
	if rest, quoted := strings.CutPrefix(value, `"`); quoted {
		value = strings.TrimSuffix(rest, `"`)
	}
	return Word{Key: key, Value: value, Bare: !ok}
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// Value returns the value of the last word with that key: for most options
// the kernel lets the last one win.
func (l Line) Value(key string) (string, bool) {
	for i := len(l) - 1; i >= 0; i-- {
		if l[i].Key == key {
			return l[i].Value, true
		}
	}
	return "", false
}

// ReadOnlyRoot reports whether the root is to be mounted read-only at first:
// the last of "ro" and "rw" counts, and without either the kernel's own
// default is "ro".
func (l Line) ReadOnlyRoot() bool {
	ro := true
	for _, w := range l {
		if w.Bare && (w.Key == "ro" || w.Key == "rw") {
			ro = w.Key == "ro"
		}
	}
	return ro
}

// Settings are the words that are meant for the agent.
type Settings struct {
	Server string // gild.server=http://host:port
	Ticket string // gild.ticket=TOKEN: what the hello presents, from the server's boot script
	Rescue bool   // gild.rescue: a shell on the console, no flash
	Debug  bool   // gild.debug: say more, show the kernel's log
}

// Settings reads the gild.* words. Those that it does not know are named in
// the warnings: a misspelt word must not be a silent one.
func (l Line) Settings() (s Settings, warnings []string) {
	for _, w := range l {
		name, ours := strings.CutPrefix(w.Key, "gild.")
		if !ours {
			continue
		}
		switch name {
		case "server":
			s.Server = w.Value
		case "ticket":
			s.Ticket = w.Value
			if !isTicket(s.Ticket) {
				s.Ticket = ""
				warnings = append(warnings, "gild.ticket on the kernel command line is not a valid ticket: was the boot script edited?")
			}
		case "rescue":
			s.Rescue = truth(w)
		case "debug":
			s.Debug = truth(w)
		default:
			warnings = append(warnings, fmt.Sprintf("unknown word %.80q on the kernel command line", w.Key))
		}
	}
	return s, warnings
}

// isTicket reports whether s can be a ticket: whether it is known to the server
// is the server's to say.
func isTicket(s string) bool {
	const chars = "abcdefghijklmnopqrstuvwxyz0123456789"
	return len(s) > 0 && len(s) <= maxTicket && strings.Trim(s, chars) == ""
}

// maxTicket is the longest ticket in bytes. Those of this version have 26.
const maxTicket = 64

// truth reads a switch: "gild.rescue", "gild.rescue=1", "gild.rescue=no".
func truth(w Word) bool {
	switch strings.ToLower(w.Value) {
	case "0", "no", "off", "false":
		return false
	}
	return true
}
