package main

import (
	"go/scanner"
	"go/token"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Widths, in characters. A comment's begins at its slashes.
const (
	commentWidth = 80
	codeWidth    = 140
)

// directive is a comment that a program reads, on one line whatever its length.
var directive = regexp.MustCompile(`^//(nolint|[a-z]+:)`)

// wide counts the comment lines and the lines of code that are too wide. A raw
// string is as wide as it is, a struct tag among them; so is an example in a
// comment.
func wide(text []byte) (comments, code int) {
	raw := map[int]bool{}
	fset := token.NewFileSet()
	file := fset.AddFile("", -1, len(text))
	var s scanner.Scanner
	s.Init(file, text, func(token.Position, string) {}, scanner.ScanComments)
	for {
		pos, tok, lit := s.Scan()
		switch {
		case tok == token.EOF:
			return comments, code + wideLines(string(text), raw)
		case tok == token.STRING && lit[0] == '`':
			for i := range strings.Count(lit, "\n") + 1 {
				raw[fset.Position(pos).Line+i] = true
			}
		case tok == token.COMMENT && tooWide(lit):
			comments++
		}
	}
}

func tooWide(comment string) bool {
	verbatim := strings.HasPrefix(comment, "//\t") || strings.HasPrefix(comment, "/*") || directive.MatchString(comment)
	return utf8.RuneCountInString(comment) > commentWidth && !verbatim
}

func wideLines(text string, raw map[int]bool) (n int) {
	for i, line := range strings.Split(text, "\n") {
		if utf8.RuneCountInString(line) > codeWidth && !raw[i+1] && !strings.HasPrefix(strings.TrimSpace(line), "//") {
			n++
		}
	}
	return n
}
