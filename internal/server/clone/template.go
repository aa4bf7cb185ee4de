package clone

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"text/template"
	"text/template/parse"
	"unicode"
	"unicode/utf8"

	"github.com/gild-dev/gild/internal/api"
)

// functions are all that a template can call. The language's own ones are not
// among them: printf could pad to gigabytes.
var functions = template.FuncMap{
	"yaml":  checked(quote),
	"json":  checked(quote),
	"shell": checked(func(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }),
	"plain": plain,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"index": func(m map[string]string, key string) (string, error) {
		value, ok := m[key]
		if !ok {
			return "", &missingError{key}
		}
		return value, nil
	},
	"get": get,
}

// get is the value of a key, or another one where that is missing.
func get(m map[string]string, key, otherwise string) string {
	if value := m[key]; value != "" {
		return value
	}
	return otherwise
}

const functionNames = "yaml, json, shell, plain, lower, upper, index, get, eq, ne, and, or, not"

// comparisons are the built-in functions that are of use in a condition and
// harmless.
var comparisons = map[string]bool{"eq": true, "ne": true, "and": true, "or": true, "not": true}

// checked makes a quoting function refuse what it cannot make safe.
func checked(quote func(string) string) func(string) (string, error) {
	return func(s string) (string, error) {
		if err := checkValue("a value", s); err != nil {
			return "", err
		}
		return quote(s), nil
	}
}

// plain lets words pass that mean nothing to any file format.
func plain(s string) (string, error) {
	if strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._:/@+,=") != "" {
		return "", errors.New("the value is not plain: letters, digits and -._:/@+,= are")
	}
	return s, nil
}

// maxValue bounds one value in bytes.
const maxValue = 16 << 10

// checkValue refuses what could end a line or change how it reads.
func checkValue(name, s string) error {
	switch {
	case len(s) > maxValue:
		return fmt.Errorf("%s has more than %d bytes", name, maxValue)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not UTF-8", name)
	case strings.ContainsFunc(s, func(c rune) bool { return unicode.IsControl(c) || c == 0x2028 || c == 0x2029 }):
		return fmt.Errorf("%s holds control characters or line breaks, which could break out of the line that they are put into", name)
	}
	return nil
}

// renderer executes templates until the first error.
type renderer struct {
	data map[string]any
	left int // bytes that may still come out
	err  error
}

// list renders a list, of which an if may leave entries out.
func (r *renderer) list(name string, texts []string) (out []string) {
	for i, t := range texts {
		if text := r.text(fmt.Sprintf("%s[%d]", name, i), t); text != "" {
			out = append(out, text)
		}
	}
	return out
}

// text renders one template. name says whose it is, in errors.
func (r *renderer) text(name, text string) string {
	if r.err != nil {
		return ""
	}
	t, err := parseTemplate(name, text)
	if err != nil {
		r.err = err
		return ""
	}
	var b strings.Builder
	if t.Tree != nil {
		demand(t.Root)
	}
	if err := t.Funcs(demanding).Execute(&limited{&b, &r.left}, r.data); err != nil {
		r.err = fmt.Errorf("%s: %w", name, reason(err))
		return ""
	}
	return b.String()
}

var errTooBig = fmt.Errorf("the identity has more than %d bytes", api.MaxIdentity)

// reason tells in words why a template could not be executed. The text of the
// template, which may hold a secret, stays out of it.
func reason(err error) error {
	if errors.Is(err, errTooBig) {
		return errTooBig
	}
	if missing, ok := errors.AsType[*missingError](err); ok {
		return missing
	}
	text := err.Error()
	if _, key, ok := strings.Cut(text, "map has no entry for key "); ok {
		return &missingError{strings.Trim(key, `"`)}
	}
	if _, after, ok := strings.Cut(text, "error calling "); ok {
		return errors.New(after)
	}
	return errors.New("a function is called with what it does not take, or a value is used as a map")
}

// limited counts down how much comes out.
type limited struct {
	w    io.Writer
	left *int
}

// Write implements io.Writer.
func (l *limited) Write(b []byte) (int, error) {
	if *l.left -= len(b); *l.left < 0 {
		return 0, errTooBig
	}
	return l.w.Write(b)
}

// parseTemplate parses text and makes sure that it does no more than put
// values in and choose by them.
func parseTemplate(name, text string) (*template.Template, error) {
	if len(text) > api.MaxIdentity {
		return nil, fmt.Errorf("%s: %w", name, errTooBig)
	}
	if !utf8.ValidString(text) {
		return nil, fmt.Errorf("%s is not UTF-8", name)
	}
	t, err := template.New("").Option("missingkey=error").Funcs(functions).Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: not a template: %w", name, syntax(err))
	}
	if len(t.Templates()) > 1 {
		return nil, fmt.Errorf("%s: templates within templates are not supported", name)
	}
	if t.Tree == nil {
		return t, nil
	}
	if err := allowed(t.Root); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return t, nil
}

// syntax cuts the parser's own "template: :3: " down to the line, and quoted
// text, which may be a secret, off.
func syntax(err error) error {
	rest := strings.TrimPrefix(err.Error(), "template: :")
	line, what, ok := strings.Cut(rest, ": ")
	if !ok {
		return errors.New("it cannot be parsed")
	}
	if strings.HasPrefix(what, "function") {
		what = "a function that is not there: " + functionNames + " are"
	} else if i := strings.IndexAny(what, "\"<`"); i >= 0 {
		what = strings.TrimSpace(what[:i])
	}
	return fmt.Errorf("line %s: %s", line, what)
}

// maxDepth bounds the nesting of a template.
const maxDepth = 32

func allowed(n parse.Node) error { return allow(n, 0) }

// allow walks what was parsed: text, values, calls of the functions, if.
func allow(n parse.Node, depth int) error {
	if depth > maxDepth {
		return errors.New("nested too deeply")
	}
	var below []parse.Node
	switch n := n.(type) {
	case *parse.TextNode, *parse.StringNode, *parse.BoolNode, *parse.NumberNode, *parse.CommentNode:
	case *parse.ListNode:
		if n != nil {
			below = n.Nodes
		}
	case *parse.ActionNode:
		below = []parse.Node{n.Pipe}
	case *parse.IfNode:
		below = []parse.Node{n.Pipe, n.List, n.ElseList}
	case *parse.PipeNode:
		if len(n.Decl) > 0 {
			return fmt.Errorf("line %d: variables are not supported", n.Line)
		}
		for _, c := range n.Cmds {
			below = append(below, c)
		}
	case *parse.CommandNode:
		below = n.Args
	case *parse.FieldNode:
		return allowField(n.Ident)
	case *parse.IdentifierNode:
		if functions[n.Ident] == nil && !comparisons[n.Ident] {
			return fmt.Errorf("there is no function %s here: %s are", n.Ident, functionNames)
		}
	default:
		return errors.New("only values, functions of them and if are supported: no loops, no variables, no templates within templates")
	}
	for _, b := range below {
		if err := allow(b, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func allowField(path []string) error {
	switch path[0] {
	case "Values", "Labels":
		if len(path) <= 2 {
			return nil
		}
		return fmt.Errorf(`.%s is not a value: a key with dots is written {{ index .%s "%s" }}`, strings.Join(path, "."), path[0],
			strings.Join(path[1:], "."))
	case "Name", "ID", "MAC", "UUID", "Serial", "Hostname", "Image", "Server":
		if len(path) == 1 {
			return nil
		}
	}
	return fmt.Errorf("there is no value .%s here: .Name, .ID, .MAC, .UUID, .Serial, .Hostname, .Image, .Server, .Labels.KEY, .Values.KEY",
		strings.Join(path, "."))
}
