package bootcfg

import (
	"errors"
	"strings"
)

// maxExpanded bounds one command after its variables are expanded, and maxWork all of them: variables that double
// themselves would otherwise grow without end.
const (
	maxExpanded = 16 << 10
	maxWork     = 32 << 20
)

var errTooMuchExpansion = errors.New("variables expand to too much")

// word is one word of a GRUB command after expansion.
type word struct {
	text  string
	plain bool // nothing in it was quoted or expanded, so it may be a keyword
	unset bool // a variable in it has no value
	// An empty word exists only by its quotes.
	quoted bool
}

// grubScanner cuts a GRUB script into commands (GRUB manual, "Writing full configuration files directly").
type grubScanner struct {
	src  string
	vars map[string]string
	work int
}

// next gives the words of the next command, expanded with the variables as they are now; nil at the end.
func (s *grubScanner) next() ([]word, error) {
	for {
		words, err := s.command()
		if err != nil || len(words) > 0 || s.src == "" {
			return words, err
		}
	}
}

func (s *grubScanner) command() ([]word, error) {
	var words []word
	total := 0
	for s.src != "" {
		switch c := s.src[0]; {
		case c == '\n' || c == ';' || c == '&' || c == '|':
			s.src = s.src[1:]
			return words, nil
		case c == ' ' || c == '\t' || c == '\r':
			s.src = s.src[1:]
		case strings.HasPrefix(s.src, "\\\n"):
			s.src = s.src[2:]
		case c == '#':
			if i := strings.IndexByte(s.src, '\n'); i >= 0 {
				s.src = s.src[i:]
			} else {
				s.src = ""
			}
		case c == '}' && len(words) > 0:
			return words, nil // the brace is a command of its own
		case c == '{' || c == '}':
			s.src = s.src[1:]
			return append(words, word{text: string(c), plain: true}), nil
		default:
			w, err := s.word()
			if err != nil {
				return nil, err
			}
			if total += len(w.text); total > maxExpanded {
				return nil, errTooMuchExpansion
			}
			if w.text == "" && !w.quoted {
				continue // an unset variable by itself is no word
			}
			words = append(words, w)
		}
	}
	return words, nil
}

// word reads one word with its quotes, escapes and variables.
func (s *grubScanner) word() (word, error) {
	var b strings.Builder
	w := word{plain: true}
	quoted := false
	for s.src != "" {
		c := s.src[0]
		switch {
		case c == '"':
			quoted, w.plain, w.quoted = !quoted, false, true
			s.src = s.src[1:]
		case c == '\'' && !quoted:
			w.plain, w.quoted = false, true
			text, rest, _ := strings.Cut(s.src[1:], "'")
			b.WriteString(text)
			s.src = rest
		case c == '\\' && len(s.src) > 1:
			s.escape(&b, quoted)
			w.plain = false
		case c == '$':
			value, unset := s.variable()
			b.WriteString(value)
			w.plain, w.unset = false, w.unset || unset
		case !quoted && strings.IndexByte(" \t\r\n;&|", c) >= 0,
			!quoted && (c == '{' || c == '}'):
			w.text = b.String()
			return w, nil
		default:
			b.WriteByte(c)
			s.src = s.src[1:]
		}
		if s.work++; b.Len() > maxExpanded || s.work > maxWork {
			return word{}, errTooMuchExpansion
		}
	}
	w.text = b.String()
	return w, nil
}

// escape takes a backslash and what follows. Within double quotes only $, ", \ and newline are special.
func (s *grubScanner) escape(b *strings.Builder, quoted bool) {
	c := s.src[1]
	s.src = s.src[2:]
	switch {
	case c == '\n':
	case quoted && c != '$' && c != '"' && c != '\\':
		b.WriteByte('\\')
		b.WriteByte(c)
	default:
		b.WriteByte(c)
	}
}

// variable takes $name or ${name}. A dollar sign with no name behind it stands for itself.
func (s *grubScanner) variable() (value string, unset bool) {
	rest := s.src[1:]
	var name string
	if strings.HasPrefix(rest, "{") {
		end := strings.IndexAny(rest, "}\n")
		if end < 0 || rest[end] != '}' {
			s.src = rest
			return "$", false
		}
		name, s.src = rest[1:end], rest[end+1:]
	} else {
		n := 0
		for n < len(rest) && (rest[n] == '_' || isDigit(rest[n]) || rest[n]|0x20 >= 'a' && rest[n]|0x20 <= 'z') {
			n++
		}
		if n == 0 {
			s.src = rest
			if rest != "" && strings.IndexByte("?*@#", rest[0]) >= 0 {
				s.src = rest[1:]
				return "", true
			}
			return "$", false
		}
		name, s.src = rest[:n], rest[n:]
	}
	value, ok := s.vars[name]
	s.work += len(value)
	return value, !ok
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
