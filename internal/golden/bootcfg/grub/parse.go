package grub

import "strings"

// node is a statement.
type node interface{}

// command is a simple command, with the block that may be its last argument.
type command struct {
	words []word
	block *script
	line  int
}

type conditional struct {
	branches []branch
	other    []node // else
}

type branch struct{ when, then []node }

type forLoop struct {
	name  string
	words []word
	body  []node
	line  int
}

type whileLoop struct {
	until      bool
	when, body []node
	line       int
}

type definition struct {
	name string
	body []node
}

// keywords are reserved as the first word of a command. Those without a meaning fit no rule.
var keywords = map[string]bool{}

func init() {
	for _, k := range strings.Fields("case do done elif else esac fi for function if in select then time until while [[ ]]") {
		keywords[k] = true
	}
}

// parser reads a script unit by unit: one line, and as many more as its statements need (script/parser.y).
type parser struct {
	lex   lexer
	tok   token
	depth int
	work  *budget
}

// syntaxError unwinds the parser; GRUB then goes on with the next line.
type syntaxError struct{}

func newParser(s *script, work *budget) *parser { return &parser{lex: lexer{src: s}, work: work} }

// done reports that the script is at its end.
func (p *parser) done() bool { return p.lex.line >= len(p.lex.src.lines) }

// unit parses what GRUB runs as one: nothing of it when any of it is wrong. line is where it was given up.
func (p *parser) unit() (list []node, line int, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, mine := r.(syntaxError); !mine {
				panic(r)
			}
			line = p.lex.number()
			p.lex.line, p.lex.at = p.lex.line+1, 0
			list, ok = nil, false
		}
	}()
	p.depth = 0
	p.next()
	for p.tok.kind != tokenNewline && p.tok.kind != tokenEOF {
		list = append(list, p.command())
		if p.tok.kind == tokenSemicolon {
			p.next()
			continue
		}
		if p.tok.kind != tokenNewline && p.tok.kind != tokenEOF {
			p.fail()
		}
	}
	if p.tok.kind == tokenNewline {
		p.lex.line, p.lex.at = p.lex.line+1, 0
	}
	return list, 0, true
}

func (p *parser) fail() { panic(syntaxError{}) }

func (p *parser) next() {
	if p.work.bytes -= 16; p.work.bytes <= 0 {
		p.lex.line = len(p.lex.src.lines)
		p.fail()
	}
	p.tok = p.lex.next()
}

// keyword is the reserved word that the token is, if it is one.
func (p *parser) keyword() string {
	if p.tok.kind == tokenWord && keywords[p.tok.word.text()] {
		return p.tok.word.text()
	}
	return ""
}

func (p *parser) expect(keyword string) {
	if p.keyword() != keyword {
		p.fail()
	}
	p.next()
}

func (p *parser) newlines() {
	for p.tok.kind == tokenNewline {
		p.next()
	}
}

// delimiters takes a semicolon or newline and the newlines behind it.
func (p *parser) delimiters() bool {
	if p.tok.kind != tokenNewline && p.tok.kind != tokenSemicolon {
		return false
	}
	p.next()
	p.newlines()
	return true
}

// commands reads at least one command. ended tells whether a delimiter stands behind the last.
func (p *parser) commands() (list []node, ended bool) {
	p.newlines()
	for {
		list = append(list, p.command())
		if !p.delimiters() {
			return list, false
		}
		switch p.keyword() {
		case "then", "elif", "else", "fi", "do", "done":
			return list, true
		}
		if p.tok.kind == tokenClose {
			return list, true
		}
	}
}

// body reads commands that a keyword has to follow.
func (p *parser) body() []node {
	list, ended := p.commands()
	if !ended {
		p.fail()
	}
	return list
}

func (p *parser) command() node {
	if p.depth++; p.depth > maxDepth {
		p.fail()
	}
	defer func() { p.depth-- }()
	if p.tok.kind != tokenWord {
		p.fail()
	}
	switch k := p.keyword(); k {
	case "":
		return p.simple()
	case "if":
		return p.conditional()
	case "for":
		return p.forLoop()
	case "while", "until":
		w := &whileLoop{until: k == "until", line: p.tok.word.line}
		p.next()
		w.when = p.body()
		p.expect("do")
		w.body = p.body()
		p.expect("done")
		return w
	case "function":
		return p.function()
	}
	p.fail()
	return nil
}

func (p *parser) simple() node {
	c := &command{line: p.tok.word.line}
	for p.tok.kind == tokenWord {
		c.words = append(c.words, p.tok.word)
		p.next()
	}
	if p.tok.kind == tokenOpen {
		c.block = p.block()
	}
	return c
}

// block reads a block that is an argument. It has to parse, but is kept as text: it is run later.
func (p *parser) block() *script {
	from := p.lex
	p.next()
	if _, _ = p.commands(); p.tok.kind != tokenClose {
		p.fail()
	}
	text := &script{name: p.lex.src.name}
	for i := from.line; i <= p.tok.line; i++ {
		l := p.lex.src.lines[i]
		if i == p.tok.line {
			l.text = l.text[:p.tok.at]
		}
		if i == from.line {
			l.text = l.text[from.at:]
		}
		text.lines = append(text.lines, l)
	}
	if p.work.bytes -= 16 * len(text.lines); p.work.bytes <= 0 {
		p.fail()
	}
	p.next()
	return text
}

func (p *parser) conditional() node {
	c := &conditional{}
	for {
		p.next() // if, elif
		when := p.body()
		p.expect("then")
		c.branches = append(c.branches, branch{when, p.body()})
		switch p.keyword() {
		case "elif":
			continue
		case "else":
			p.next()
			c.other = p.body()
		}
		p.expect("fi")
		return c
	}
}

func (p *parser) forLoop() node {
	f := &forLoop{line: p.tok.word.line}
	p.next()
	if f.name = p.tok.word.text(); p.tok.kind != tokenWord || f.name == "" {
		p.fail()
	}
	p.next()
	p.expect("in")
	for p.tok.kind == tokenWord {
		f.words = append(f.words, p.tok.word)
		p.next()
	}
	if !p.delimiters() {
		p.fail()
	}
	p.expect("do")
	f.body = p.body()
	p.expect("done")
	return f
}

func (p *parser) function() node {
	p.next()
	d := &definition{name: p.tok.word.text()}
	if p.tok.kind != tokenWord || d.name == "" {
		p.fail()
	}
	p.next()
	p.delimiters()
	if p.tok.kind != tokenOpen {
		p.fail()
	}
	p.next()
	if d.body = p.body(); p.tok.kind != tokenClose {
		p.fail()
	}
	p.next()
	return d
}
