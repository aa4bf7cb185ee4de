// Package script parses GRUB's scripts.
package script

import "strings"

// Line is one line of a script with its number in the file.
type Line struct {
	Text   string
	Number int
}

// Script is text to be parsed, by its lines.
type Script struct {
	Name  string // of the file
	Lines []Line
}

// New cuts a file into lines as GRUB reads it (lib/getline.c, normal/main.c):
// without carriage returns, to the first NUL, and without the lines whose first
// column is a #, wherever they stand.
func New(name, text string) *Script {
	text, _, _ = strings.Cut(text, "\x00")
	s := &Script{Name: name}
	number := 0
	for l := range strings.Lines(strings.ReplaceAll(text, "\r", "")) {
		number++
		if l = strings.TrimSuffix(l, "\n"); !strings.HasPrefix(l, "#") {
			s.Lines = append(s.Lines, Line{l, number})
		}
	}
	return s
}

type tokenKind int

const (
	tokenEOF tokenKind = iota
	tokenNewline
	tokenSemicolon
	tokenOpen  // {
	tokenClose // }
	tokenWord
	tokenBad // which no rule of the grammar takes
)

type token struct {
	kind tokenKind
	word Word
	// Where it begins, for the text of blocks.
	line, at int
}

// Word is a word before expansion.
type Word struct {
	Parts []Part
	bare  bool // one literal without quotes or escapes: it may be a keyword
	Line  int
}

func (w *Word) text() string {
	if !w.bare {
		return ""
	}
	return w.Parts[0].Text
}

// Part is a piece of a word: a literal or the name of a variable.
type Part struct {
	Text     string
	Variable bool
	Quoted   bool
}

// lexer cuts a script into tokens (script/yylex.l). A further line is only
// looked at when the parser asks for it.
type lexer struct {
	src  *Script
	line int // index of the current line
	at   int // next byte in it; past its end, the newline has been given
}

const (
	blanks  = " \t"
	endWord = blanks + "{}|&;<>"
)

// current is the text of the current line.
func (l *lexer) current() string {
	if l.line >= len(l.src.Lines) {
		return ""
	}
	return l.src.Lines[l.line].Text
}

func (l *lexer) number() int {
	if len(l.src.Lines) == 0 {
		return 1
	}
	return l.src.Lines[min(l.line, len(l.src.Lines)-1)].Number
}

func (l *lexer) next() token {
	for {
		if l.line >= len(l.src.Lines) {
			return token{kind: tokenEOF, line: l.line}
		}
		text := l.current()
		if l.at > len(text) {
			l.line, l.at = l.line+1, 0
			continue
		}
		for l.at < len(text) && strings.IndexByte(blanks, text[l.at]) >= 0 {
			l.at++
		}
		here := token{line: l.line, at: l.at}
		if l.at == len(text) || text[l.at] == '#' {
			l.at = len(text) + 1
			here.kind = tokenNewline
			return here
		}
		if text[l.at:] == `\` { // joins the next line
			l.line, l.at = l.line+1, 0
			continue
		}
		l.symbol(&here, text)
		return here
	}
}

func (l *lexer) symbol(t *token, text string) {
	switch text[l.at] {
	case ';':
		t.kind = tokenSemicolon
		if strings.HasPrefix(text[l.at:], ";;") {
			t.kind = tokenBad
		}
	case '{':
		t.kind = tokenOpen
	case '}':
		t.kind = tokenClose
	case '|', '&', '<', '>':
		t.kind = tokenBad
	default:
		t.kind = tokenWord
		var ok bool
		if t.word, ok = l.word(); !ok {
			t.kind = tokenBad
		}
		return
	}
	l.at++
}

// word reads a word. It is not ok where a quote is not closed or a dollar sign
// has no name.
func (l *lexer) word() (w Word, ok bool) {
	w.Line = l.number()
	escaped := false
	add := func(s string, variable, quoted bool) { w.Parts = append(w.Parts, Part{s, variable, quoted}) }
	for {
		text := l.current()
		if l.at >= len(text) || strings.IndexByte(endWord, text[l.at]) >= 0 {
			w.bare = len(w.Parts) == 1 && !escaped && !w.Parts[0].Variable && !w.Parts[0].Quoted
			return w, true
		}
		switch c := text[l.at]; c {
		case '\'':
			s, ok := l.single()
			if !ok {
				return w, false
			}
			add(s, false, true)
		case '"':
			if !l.double(add) {
				return w, false
			}
		case '$':
			if strings.HasPrefix(text[l.at:], `$"`) { // a translated string
				l.at++
				continue
			}
			name, ok := l.variable()
			if !ok {
				return w, false
			}
			add(name, true, false)
		case '\\':
			escaped = true
			l.at++
			if l.at >= len(text) {
				if l.line++; l.line >= len(l.src.Lines) {
					return w, true
				}
				l.at = 0
				continue
			}
			add(text[l.at:l.at+1], false, true)
			l.at++
		default:
			n := strings.IndexAny(text[l.at:], endWord+`'"$\`)
			if n < 0 {
				n = len(text) - l.at
			}
			add(text[l.at:l.at+n], false, false)
			l.at += n
		}
	}
}

// single reads a string in single quotes, over lines if need be.
func (l *lexer) single() (string, bool) {
	var b strings.Builder
	l.at++
	for l.line < len(l.src.Lines) {
		rest := l.current()[l.at:]
		if s, _, ok := strings.Cut(rest, "'"); ok {
			b.WriteString(s)
			l.at += len(s) + 1
			return b.String(), true
		}
		b.WriteString(rest + "\n")
		l.line, l.at = l.line+1, 0
	}
	return "", false
}

// double reads a string in double quotes. Within, a backslash is special before
// $, ", \ and the end of the line.
func (l *lexer) double(add func(s string, variable, quoted bool)) bool {
	var b strings.Builder
	l.at++
	for l.line < len(l.src.Lines) {
		text := l.current()
		if l.at >= len(text) {
			b.WriteByte('\n')
			l.line, l.at = l.line+1, 0
			continue
		}
		switch c := text[l.at]; {
		case c == '"':
			l.at++
			add(b.String(), false, true)
			return true
		case c == '$':
			name, ok := l.variable()
			if !ok {
				return false
			}
			add(b.String(), false, true)
			b.Reset()
			add(name, true, true)
			continue
		case c == '\\' && l.at+1 == len(text):
			l.line, l.at = l.line+1, 0
			continue
		case c == '\\' && strings.IndexByte(`$"\`, text[l.at+1]) >= 0:
			l.at++
			b.WriteByte(text[l.at])
		default:
			b.WriteByte(c)
		}
		l.at++
	}
	return false
}

// variable reads $NAME or ${NAME}: a name, digits, or one of ? # * @.
func (l *lexer) variable() (name string, ok bool) {
	rest := l.current()[l.at+1:]
	braces := strings.HasPrefix(rest, "{")
	if braces {
		rest = rest[1:]
	}
	n := variableLength(rest)
	if n == 0 || braces && !strings.HasPrefix(rest[n:], "}") {
		return "", false
	}
	l.at += 1 + n
	if braces {
		l.at += 2
	}
	return rest[:n], true
}

func variableLength(s string) int {
	if s == "" {
		return 0
	}
	if strings.IndexByte("?#*@", s[0]) >= 0 {
		return 1
	}
	n := 0
	for n < len(s) && (s[n] >= '0' && s[n] <= '9' || s[0] > '9' && NameByte(s[n])) {
		n++
	}
	return n
}

// NameByte reports whether a variable's name may have the byte.
func NameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z'
}
