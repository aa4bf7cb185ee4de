package clone

import (
	"fmt"
	"text/template"
	"text/template/parse"
)

// A value that is empty is not there: a machine without a name has no .Name,
// and a label without a value says nothing. What a template puts into text must
// be there. What it only asks about may be missing, that is the answer: the
// condition of an if, what eq, ne and not look at, what and and or can do
// without, and what get falls back to when that is a text of the template's
// own.

// demanding are the functions that demand puts in place of others. Templates
// cannot name them: they are not known when one is parsed.
var demanding = template.FuncMap{
	"need": func(name, value string) (string, error) {
		if value == "" {
			return "", &missingError{name}
		}
		return value, nil
	},
	"needIndex": func(m map[string]string, key string) (string, error) { return there(m[key], key) },
	"needGet": func(m map[string]string, key, otherwise string) (string, error) {
		return there(get(m, key, otherwise), key)
	},
}

func there(value, key string) (string, error) {
	if value == "" {
		return "", &missingError{key}
	}
	return value, nil
}

// missingError says that a template needs a value that the machine has not:
// ".Name", or the key of a value or label.
type missingError struct{ name string }

func (e *missingError) Error() string {
	switch e.name {
	case ".Name":
		return "the machine has no .Name: gild machine edit MACHINE --name gives it one"
	case ".Hostname":
		return "the machine has no .Hostname: its identity says none, and it has no name to take for it"
	case ".MAC", ".UUID", ".Serial":
		return "the machine has no " + e.name + " of plain words"
	}
	return fmt.Sprintf("the machine has no value %q: set it in its values or labels, or those of its group", e.name)
}

// demand makes what is put into text an error when it is missing.
func demand(n parse.Node) {
	switch n := n.(type) {
	case *parse.ListNode:
		if n != nil {
			for _, below := range n.Nodes {
				demand(below)
			}
		}
	case *parse.IfNode:
		demandPipe(n.Pipe, false)
		demand(n.List)
		demand(n.ElseList)
	case *parse.ActionNode:
		demandPipe(n.Pipe, true)
	}
}

// demandPipe goes through a pipe from its end, because what a command needs
// depends on what is done with it.
func demandPipe(p *parse.PipeNode, needed bool) {
	for i := len(p.Cmds) - 1; i >= 0; i-- {
		c, piped := p.Cmds[i], i > 0
		name := called(c)
		for j := 1; j < len(c.Args); j++ {
			c.Args[j] = demandArg(c.Args[j], needs(name, needed, j == len(c.Args)-1 && !piped))
		}
		if needed {
			demandCommand(c, name, piped)
		}
		needed = needs(name, needed, true)
	}
}

// needs reports whether an argument of a function must be there where its
// outcome must be.
func needs(function string, needed, last bool) bool {
	switch function {
	case "eq", "ne", "not", "get":
		return false
	case "and", "or":
		return needed && last
	}
	return needed
}

// demandCommand makes a command whose outcome must be there say so when it is
// not.
func demandCommand(c *parse.CommandNode, name string, piped bool) {
	switch name {
	case "":
		if p, ok := demandArg(c.Args[0], true).(*parse.PipeNode); ok {
			c.Args[0] = p
		}
	case "index":
		c.Args[0] = parse.NewIdentifier("needIndex")
	case "get":
		if c.Args[len(c.Args)-1].Type() != parse.NodeString || piped {
			c.Args[0] = parse.NewIdentifier("needGet")
		}
	}
}

// called is the function that a command calls; empty: it is a value.
func called(c *parse.CommandNode) string {
	if f, ok := c.Args[0].(*parse.IdentifierNode); ok {
		return f.Ident
	}
	return ""
}

// demandArg makes (need ".Name" .Name) of a value.
func demandArg(n parse.Node, needed bool) parse.Node {
	switch n := n.(type) {
	case *parse.PipeNode:
		demandPipe(n, needed)
	case *parse.FieldNode:
		if all := len(n.Ident) == 1 && (n.Ident[0] == "Values" || n.Ident[0] == "Labels"); all || !needed {
			return n
		}
		name := &parse.StringNode{NodeType: parse.NodeString, Pos: n.Pos, Text: valueName(n.Ident)}
		need := &parse.CommandNode{NodeType: parse.NodeCommand, Pos: n.Pos, Args: []parse.Node{parse.NewIdentifier("need"), name, n}}
		return &parse.PipeNode{NodeType: parse.NodePipe, Pos: n.Pos, Cmds: []*parse.CommandNode{need}}
	}
	return n
}

// valueName is what missingError calls a value.
func valueName(path []string) string {
	if len(path) > 1 {
		return path[1]
	}
	return "." + path[0]
}
