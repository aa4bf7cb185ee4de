package grub

import (
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/golden/bootcfg/grub/script"
)

// runner is one way through a configuration.
type runner struct {
	m       *Machine
	left    *budget
	answers []int // to the first questions
	asked   []answered

	vars      map[string]string
	exported  map[string]bool
	functions map[string][]script.Node
	looped    map[string]bool // devices made by loopback
	rooted    bool            // the configuration has set $root

	args       []string // $1 and on
	positional bool     // within a function or the body of an entry
	code       int      // $?
	file0      string   // the script that runs
	number     int      // and the line in it
	depth      int
	flow       flow

	menu    *menu
	loaded  *loaded
	entry   *item  // the entry whose body runs
	failed  string // why a kernel was not loaded
	fromEnv []envRecord

	shown   []Item
	chosen  string
	reads   []string
	outcome Outcome
}

// read is what was read.
type answered struct {
	question Question
	answer   int
	options  int
}

// loaded is what a loader command has put in place for boot.
type loaded struct {
	kernel  File
	args    []string
	initrds []File
	other   string // the command, when it is no Linux kernel
	at      Place
}

// flow is a jump out of what runs.
type flow struct {
	kind flowKind
	left int // loops to leave
}

type flowKind int

const (
	flowOn flowKind = iota
	flowBreak
	flowContinue
	flowReturn
	flowEnd // of all: something boots
)

func (r *runner) ended() bool { return r.flow.kind == flowEnd }

// end is the outcome of this way.
func (r *runner) end(o Outcome) {
	if r.ended() {
		return
	}
	o.Remarks = r.outcome.Remarks
	r.outcome = o
	r.flow = flow{kind: flowEnd}
}

// spend counts bytes that are made; it ends what makes too many.
func (r *runner) spend(n int) bool {
	if r.left.bytes -= n; r.left.bytes <= 0 {
		r.end(Outcome{Instead: "a script whose variables grow without end"})
	}
	return r.ended()
}

func (r *runner) step() bool {
	if r.left.steps--; r.left.steps <= 0 {
		r.end(Outcome{Instead: "a script that does not end"})
	}
	return !r.ended()
}

func (r *runner) here(number int) Place { return Place{r.file0, number} }

// ask puts a question that the image does not answer; the answer is one of
// options. The same question has the same answer within one run.
func (r *runner) ask(number int, what string, options int) int {
	q := Question{r.here(number), what}
	if i := slices.IndexFunc(r.asked, func(a answered) bool { return a.question == q }); i >= 0 {
		return r.asked[i].answer
	}
	a := answered{question: q, options: options}
	if len(r.asked) < len(r.answers) {
		a.answer = r.answers[len(r.asked)]
	}
	r.asked = append(r.asked, a)
	return a.answer
}

// remark keeps that a command is carried out in a manner that is not known.
func (r *runner) remark(number int, what string) {
	q := Question{r.here(number), what}
	if !slices.Contains(r.outcome.Remarks, q) && len(r.outcome.Remarks) < 8 {
		r.outcome.Remarks = append(r.outcome.Remarks, q)
	}
}

func (r *runner) export(name, value string) { r.vars[name], r.exported[name] = value, true }

// config reads a configuration and shows the menu that it makes, if it makes
// one.
func (r *runner) config(f File) {
	r.vars["config_file"] = f.String()
	r.vars["config_directory"] = path.Dir(f.String())
	r.menu = &menu{}
	data, exists, known := r.read(f)
	if !known {
		r.remark(r.number, f.String()+" cannot be read")
	}
	if !exists {
		return
	}
	shell{r}.script(script.New(f.String(), data))
	if !r.ended() && len(r.menu.items) > 0 {
		chooser{r}.show("")
	}
}

// shell carries out statements.
type shell struct{ *runner }

// script runs a script as it is read: unit by unit.
func (r shell) script(s *script.Script) {
	if r.depth++; r.depth > script.MaxDepth {
		r.depth--
		return
	}
	before, number := r.file0, r.number
	r.file0 = s.Name
	p := script.NewParser(s, &r.left.bytes)
	for !p.Done() && r.flow.kind == flowOn && r.step() {
		list, number, ok := p.Unit()
		if !ok {
			r.number = number // GRUB prints an error and goes on with the next line
			continue
		}
		r.list(list)
		if r.flow.kind == flowBreak || r.flow.kind == flowContinue { // at the top they do nothing
			r.flow = flow{}
		}
	}
	r.depth--
	r.file0, r.number = before, number
}

// list runs statements; its code is that of the last.
func (r shell) list(nodes []script.Node) {
	for _, n := range nodes {
		if r.flow.kind != flowOn || !r.step() {
			return
		}
		r.run(n)
	}
}

func (r shell) run(n script.Node) {
	switch n := n.(type) {
	case *script.Command:
		r.command(n)
	case *script.Conditional:
		r.conditional(n)
	case *script.Definition:
		r.functions[n.Name] = n.Body
		r.code = 0
	case *script.ForLoop:
		r.number = n.Line
		values := expander(r).expand(n.Words)
		r.code = 0
		for _, v := range values {
			r.vars[n.Name] = v
			if r.list(n.Body); !r.loop() {
				return
			}
		}
	case *script.WhileLoop:
		for r.step() {
			r.list(n.When)
			if r.flow.kind != flowOn || (r.code == 0) == n.Until {
				return
			}
			if r.list(n.Body); !r.loop() {
				return
			}
		}
	}
}

// loop ends a round; it reports whether there may be another.
func (r shell) loop() bool {
	switch r.flow.kind {
	case flowOn:
		return true
	case flowBreak, flowContinue:
		if r.flow.left > 1 {
			r.flow.left--
			return false
		}
		on := r.flow.kind == flowContinue
		r.flow = flow{}
		return on
	}
	return false
}

func (r shell) conditional(c *script.Conditional) {
	for _, b := range c.Branches {
		r.list(b.When)
		if r.flow.kind != flowOn {
			return
		}
		if r.code == 0 {
			r.list(b.Then)
			return
		}
	}
	r.code = 0
	r.list(c.Other)
}

// command runs a simple command: one of GRUB's, else a function, else an
// assignment (script/execute.c).
func (r shell) command(c *script.Command) {
	r.number = c.Line
	args := expander(r).expand(c.Words)
	if r.ended() || len(args) == 0 && c.Block == nil {
		return
	}
	invert := false
	for len(args) > 1 && args[0] == "!" {
		invert, args = !invert, args[1:]
	}
	if len(args) == 0 {
		return
	}
	code, found := r.call(&call{name: args[0], args: args[1:], block: c.Block, line: c.Line})
	if invert && found {
		if code == 0 {
			code = errCode
		} else {
			code = 0
		}
	}
	r.code = code
}

// call is a command with its arguments.
type call struct {
	name  string
	args  []string
	block *script.Script
	line  int
}

// call runs what a name stands for. Where it is nothing, GRUB prints that and
// succeeds, whatever stands around it.
func (r shell) call(c *call) (code int, found bool) {
	if f, ok := builtins[c.name]; ok {
		return f(r.runner, c), true
	}
	if silent[c.name] {
		return 0, true
	}
	if strange[c.name] {
		r.remark(c.line, "what "+c.name+" does is not known")
		return r.ask(c.line, "whether "+c.name+" succeeds", 2), true
	}
	if body, ok := r.functions[c.name]; ok {
		return r.function(body, c.args), true
	}
	if name, value, ok := strings.Cut(c.name, "="); ok {
		return r.assign(name, value), true
	}
	if isUnknown(c.name) {
		return r.ask(c.line, "a command whose name is not known", 2), true
	}
	return 0, false
}

func (r *runner) assign(name, value string) int {
	if r.spend(len(value)) {
		return 0
	}
	if name == "root" { // a hook takes the parentheses off (kern/main.c)
		value = strings.TrimSuffix(strings.TrimPrefix(value, "("), ")")
		r.rooted = true
	}
	r.vars[name] = value
	return 0
}

// function runs a body with arguments of its own.
func (r shell) function(body []script.Node, args []string) int {
	if r.depth++; r.depth > script.MaxDepth {
		r.depth--
		return errCode
	}
	before, positional := r.args, r.positional
	r.args, r.positional = args, true
	r.code = 0
	r.list(body)
	r.args, r.positional = before, positional
	r.depth--
	if r.flow.kind == flowReturn {
		r.flow = flow{}
	}
	return r.code
}

// newContext is what a configfile or a submenu sees (normal/context.c); leave
// takes it away again.
func (r *runner) newContext(all bool) (leave func()) {
	vars, exported, m := r.vars, r.exported, r.menu
	r.vars, r.exported = map[string]string{}, maps.Clone(exported)
	for name, value := range vars {
		if all || exported[name] {
			r.vars[name] = value
		}
	}
	return func() { r.vars, r.exported, r.menu = vars, exported, m }
}
