package script

import "strings"

// MaxDepth is how deep statements, calls and files stand in each other, as in
// GRUB.
const MaxDepth = 64

// Node is a statement: a pointer to one of the types below.
type Node interface{}

// Command is a simple command, with the block that may be its last argument.
type Command struct {
	Words []Word
	Block *Script
	Line  int
}

// Conditional is an if with its elifs.
type Conditional struct {
	Branches []Branch
	Other    []Node // else
}

// Branch is a condition and what it leads to.
type Branch struct{ When, Then []Node }

// ForLoop goes through the words.
type ForLoop struct {
	Name  string
	Words []Word
	Body  []Node
	Line  int
}

// WhileLoop is while and until.
type WhileLoop struct {
	Until      bool
	When, Body []Node
	Line       int
}

// Definition is of a function.
type Definition struct {
	Name string
	Body []Node
}

// keywords are reserved as the first word of a command. Those without a meaning
// fit no rule.
var keywords = map[string]bool{}

func init() {
	for _, k := range strings.Fields("case do done elif else esac fi for function if in select then time until while [[ ]]") {
		keywords[k] = true
	}
}

// Parser reads a script unit by unit: one line, and as many more as its
// statements need (script/parser.y).
type Parser struct {
	lex   lexer
	tok   token
	depth int
	left  *int // see NewParser
}

// syntaxError unwinds the parser; GRUB then continues with the next line.
type syntaxError struct{}

// NewParser makes a parser of s. It takes what it works from left, in bytes,
// and refuses the rest of the script where nothing is left.
func NewParser(s *Script, left *int) *Parser { return &Parser{lex: lexer{src: s}, left: left} }

// Done reports that the script is at its end.
func (p *Parser) Done() bool { return p.lex.line >= len(p.lex.src.Lines) }

// Unit parses what GRUB runs as one: nothing of it when any of it is wrong.
// line is where it was given up.
func (p *Parser) Unit() (list []Node, line int, ok bool) {
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

func (p *Parser) fail() { panic(syntaxError{}) }

func (p *Parser) next() {
	if *p.left -= 16; *p.left <= 0 {
		p.lex.line = len(p.lex.src.Lines)
		p.fail()
	}
	p.tok = p.lex.next()
}

// keyword is the reserved word that the token is, if it is one.
func (p *Parser) keyword() string {
	if p.tok.kind == tokenWord && keywords[p.tok.word.text()] {
		return p.tok.word.text()
	}
	return ""
}

func (p *Parser) expect(keyword string) {
	if p.keyword() != keyword {
		p.fail()
	}
	p.next()
}

func (p *Parser) newlines() {
	for p.tok.kind == tokenNewline {
		p.next()
	}
}

// delimiters takes a semicolon or newline and the newlines behind it.
func (p *Parser) delimiters() bool {
	if p.tok.kind != tokenNewline && p.tok.kind != tokenSemicolon {
		return false
	}
	p.next()
	p.newlines()
	return true
}

// commands reads at least one command. ended tells whether a delimiter stands
// behind the last.
func (p *Parser) commands() (list []Node, ended bool) {
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
func (p *Parser) body() []Node {
	list, ended := p.commands()
	if !ended {
		p.fail()
	}
	return list
}

func (p *Parser) command() Node {
	if p.depth++; p.depth > MaxDepth {
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
		w := &WhileLoop{Until: k == "until", Line: p.tok.word.Line}
		p.next()
		w.When = p.body()
		p.expect("do")
		w.Body = p.body()
		p.expect("done")
		return w
	case "function":
		return p.function()
	}
	p.fail()
	return nil
}

func (p *Parser) simple() Node {
	c := &Command{Line: p.tok.word.Line}
	for p.tok.kind == tokenWord {
		c.Words = append(c.Words, p.tok.word)
		p.next()
	}
	if p.tok.kind == tokenOpen {
		c.Block = p.block()
	}
	return c
}

// block reads a block that is an argument. It has to parse, but is kept as
// text: it is run later.
func (p *Parser) block() *Script {
	from := p.lex
	p.next()
	if _, _ = p.commands(); p.tok.kind != tokenClose {
		p.fail()
	}
	text := &Script{Name: p.lex.src.Name}
	for i := from.line; i <= p.tok.line; i++ {
		l := p.lex.src.Lines[i]
		if i == p.tok.line {
			l.Text = l.Text[:p.tok.at]
		}
		if i == from.line {
			l.Text = l.Text[from.at:]
		}
		text.Lines = append(text.Lines, l)
	}
	if *p.left -= 16 * len(text.Lines); *p.left <= 0 {
		p.fail()
	}
	p.next()
	return text
}

func (p *Parser) conditional() Node {
	c := &Conditional{}
	for {
		p.next() // if, elif
		when := p.body()
		p.expect("then")
		c.Branches = append(c.Branches, Branch{when, p.body()})
		switch p.keyword() {
		case "elif":
			continue
		case "else":
			p.next()
			c.Other = p.body()
		}
		p.expect("fi")
		return c
	}
}

func (p *Parser) forLoop() Node {
	f := &ForLoop{Line: p.tok.word.Line}
	p.next()
	if f.Name = p.tok.word.text(); p.tok.kind != tokenWord || f.Name == "" {
		p.fail()
	}
	p.next()
	p.expect("in")
	for p.tok.kind == tokenWord {
		f.Words = append(f.Words, p.tok.word)
		p.next()
	}
	if !p.delimiters() {
		p.fail()
	}
	p.expect("do")
	f.Body = p.body()
	p.expect("done")
	return f
}

func (p *Parser) function() Node {
	p.next()
	d := &Definition{Name: p.tok.word.text()}
	if p.tok.kind != tokenWord || d.Name == "" {
		p.fail()
	}
	p.next()
	p.delimiters()
	if p.tok.kind != tokenOpen {
		p.fail()
	}
	p.next()
	if d.Body = p.body(); p.tok.kind != tokenClose {
		p.fail()
	}
	p.next()
	return d
}
