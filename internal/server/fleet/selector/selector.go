// Package selector picks machines by their labels.
package selector

import (
	"fmt"
	"slices"
	"strings"
)

// Bounds of a selector: it comes from the wire and is tried on every machine.
const (
	maxSelector = 512 // bytes
	maxTerms    = 64
)

// Selector picks machines by their labels. The zero Selector picks all.
type Selector struct{ terms []term }

// term is one condition on one label.
type term struct {
	key    string
	values []string // none: whether the label is there is all that counts
	not    bool
}

// Parse reads conditions joined by commas, all of which must hold:
//
//	rack=b7          has the label, with this value
//	rack!=b7         has another value, or no such label
//	rack in (b7,b8)  has the label, with one of these values
//	rack             has the label, whatever its value
//	!rack            has no such label
//
// Blanks around words do not count. Keys and values are what CheckSpec admits
// for labels, less the characters that mean something here: , ( ) ! =, blanks
// and control characters. An error says at which byte, from 1. What is empty
// picks every machine.
func Parse(s string) (Selector, error) {
	if len(s) > maxSelector {
		return Selector{}, fmt.Errorf("selector of %d bytes; at most %d are read", len(s), maxSelector)
	}
	p := selectorParser{text: s}
	p.blanks()
	for p.at < len(s) {
		t, err := p.term()
		if err != nil {
			return Selector{}, err
		}
		if p.out.terms = append(p.out.terms, t); len(p.out.terms) > maxTerms {
			return Selector{}, p.fail("more than %d conditions", maxTerms)
		}
		if p.at == len(s) {
			break
		}
		if !p.take(",") {
			return Selector{}, p.fail("want a comma or the end")
		}
		if p.at == len(s) {
			return Selector{}, p.fail("want a condition after the comma")
		}
	}
	return p.out, nil
}

// Matches reports whether every condition holds for the labels: those of
// Selectable, which have the machine's name and state among them.
func (s Selector) Matches(labels map[string]string) bool {
	for _, t := range s.terms {
		value, has := labels[t.key]
		holds := has && (len(t.values) == 0 || slices.Contains(t.values, value))
		if holds == t.not {
			return false
		}
	}
	return true
}

// Empty reports whether there is no condition: it picks every machine.
func (s Selector) Empty() bool { return len(s.terms) == 0 }

// values are those that the selector's conditions on a label name.
func (s Selector) values(key string) []string {
	var out []string
	for _, t := range s.terms {
		if t.key == key {
			out = append(out, t.values...)
		}
	}
	return out
}

// String is the selector in the one form that Parse reads back as
// the same.
func (s Selector) String() string {
	out := make([]string, len(s.terms))
	for i, t := range s.terms {
		switch {
		case len(t.values) == 0 && t.not:
			out[i] = "!" + t.key
		case len(t.values) == 0:
			out[i] = t.key
		case t.not:
			out[i] = t.key + "!=" + t.values[0]
		case len(t.values) == 1:
			out[i] = t.key + "=" + t.values[0]
		default:
			out[i] = t.key + " in (" + strings.Join(t.values, ",") + ")"
		}
	}
	return strings.Join(out, ",")
}

type selectorParser struct {
	text string
	at   int
	out  Selector
}

func (p *selectorParser) fail(format string, args ...any) error {
	return fmt.Errorf("selector %.80q, byte %d: %s", p.text, p.at+1, fmt.Sprintf(format, args...))
}

func (p *selectorParser) blanks() {
	for p.at < len(p.text) && p.text[p.at] == ' ' {
		p.at++
	}
}

// take steps over a mark and the blanks behind it, if it stands here.
func (p *selectorParser) take(mark string) bool {
	if !strings.HasPrefix(p.text[p.at:], mark) {
		return false
	}
	p.at += len(mark)
	p.blanks()
	return true
}

// word reads up to the next mark or blank.
func (p *selectorParser) word(what string) (string, error) {
	rest := p.text[p.at:]
	end := strings.IndexFunc(rest, func(r rune) bool {
		return r <= ' ' || r == 0x7f || strings.ContainsRune(",()!=", r)
	})
	if end < 0 {
		end = len(rest)
	}
	if end == 0 {
		return "", p.fail("want %s", what)
	}
	p.at += end
	p.blanks()
	return rest[:end], nil
}

func (p *selectorParser) term() (t term, err error) {
	t.not = p.take("!")
	if t.key, err = p.word("the name of a label"); err != nil || t.not {
		return t, err
	}
	switch {
	case p.take("!="):
		t.not = true
	case p.take("="):
	case strings.HasPrefix(p.text[p.at:], "in ") || strings.HasPrefix(p.text[p.at:], "in("):
		p.take("in")
		return t, p.list(&t)
	default:
		return t, nil
	}
	// "rack=" would mean a label that is there and empty: more often a shell
	// variable that is, and then it must not pick what nobody meant.
	value, err := p.word("a value")
	t.values = []string{value}
	return t, err
}

// list reads the values of "in".
func (p *selectorParser) list(t *term) error {
	if !p.take("(") {
		return p.fail("want ( after in")
	}
	for {
		value, err := p.word("a value")
		if err != nil {
			return err
		}
		t.values = append(t.values, value)
		if p.take(")") {
			return nil
		}
		if !p.take(",") {
			return p.fail("want a comma or )")
		}
	}
}
