package grub

import (
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/golden/bootcfg/grub/script"
)

// menu is a list of entries in the making.
type menu struct{ items []*item }

// item is an entry or a submenu.
type item struct {
	title, id string
	args      []string // behind the title
	body      *script.Script
	submenu   bool
	locked    bool // neither --unrestricted nor for certain users
	bls       bool
}

// menuentry makes an entry, or a submenu. Its body is kept as text and run when
// it is chosen. Without a block or a title there is none.
func menuentry(r *runner, c *call) int {
	it := &item{body: c.block, submenu: c.name == "submenu", locked: true}
	hasID := false
	var rest []string
	for i := 0; i < len(c.args); i++ {
		name, value, has := strings.Cut(c.args[i], "=")
		switch name {
		case "--class", "--users", "--hotkey", "--source", "--id":
			if !has {
				if i++; i >= len(c.args) {
					return errArgument
				}
				value = c.args[i]
			}
			switch name {
			case "--id":
				it.id, hasID = value, true
			case "--users":
				it.locked = false
			case "--source":
				it.body = script.New(r.file0, value)
			}
		case "--unrestricted":
			it.locked = false
		default:
			rest = append(rest, c.args[i])
		}
	}
	if len(rest) == 0 || it.body == nil {
		return errArgument
	}
	it.title, it.args = rest[0], rest[1:]
	if !hasID {
		it.id = it.title
	}
	if len(r.menu.items) < maxItems {
		r.menu.items = append(r.menu.items, it)
	}
	return 0
}

// chooser takes an entry of a menu and boots it.
type chooser struct{ *runner }

// show waits for nobody: it takes the default of a menu, and what stands in
// fallback when that boots nothing.
func (r chooser) show(at string) {
	m := r.menu
	first := r.shown == nil
	if first {
		for _, it := range m.items {
			r.shown = append(r.shown, Item{it.title, it.id})
		}
	}
	chosen := r.vars["default"]
	if first && r.m.Entry != "" {
		chosen = r.m.Entry
		r.vars["default"] = chosen
	}
	if isUnknown(chosen) {
		r.end(Outcome{Instead: "a default that is taken from " + shown(chosen)})
		return
	}
	n := r.find(m, chosen)
	if first {
		r.explain(chosen)
		if n < 0 && r.m.Entry != "" {
			r.end(Outcome{Instead: "nothing: no entry is called " + strconv.Quote(r.m.Entry)})
			return
		}
	}
	it := m.items[max(n, 0)]
	r.execute(it, at)
	for _, fallback := range r.fallbacks(m) {
		if r.ended() {
			return
		}
		it = fallback
		r.execute(it, at)
	}
	if !r.ended() {
		why := "nothing: the entry " + strconv.Quote(it.title) + " loads no kernel"
		if r.failed != "" {
			why += ", " + r.failed
		}
		r.end(Outcome{Instead: why, Title: it.title, ID: it.id})
	}
}

// explain keeps how the default was named, and by which file where that is an
// environment block.
func (r chooser) explain(chosen string) {
	r.chosen = "default is not set: the first entry"
	if chosen != "" {
		r.chosen = "default=" + chosen
		for _, e := range r.fromEnv {
			if e.value == chosen && (e.name == "saved_entry" || e.name == "next_entry" || e.name == "default") {
				r.chosen = e.file + ": " + e.name + "=" + chosen
			}
		}
	}
}

// envRecord is a variable with the environment block that it came from.
type envRecord struct {
	variable
	file string
}

// fallbacks are the entries that are tried when the default boots nothing.
func (r chooser) fallbacks(m *menu) []*item {
	var list []*item
	rest := r.vars["fallback"]
	if r.m.Flavour != Upstream {
		for _, name := range strings.Fields(rest) {
			if n := r.find(m, name); n >= 0 {
				list = append(list, m.items[n])
			}
		}
		return list
	}
	for len(list) < 16 {
		n, next, ok := unsigned(rest)
		if !ok {
			break
		}
		rest = next
		if n < uint64(len(m.items)) {
			list = append(list, m.items[n])
		}
	}
	return list
}

// find is the index of the entry that default means; -1 is none, for which GRUB
// takes the first.
func (r chooser) find(m *menu, want string) int {
	if want == "" {
		return -1
	}
	var n int
	if r.m.Flavour == Upstream && r.m.Entry == "" { // a person who names an entry means a name before a number
		n = findUpstream(m, want)
	} else {
		n = findRedHat(m, want)
	}
	if n >= len(m.items) {
		return -1
	}
	return n
}

// findUpstream (normal/menu.c, get_entry_number): a text that begins with a
// number is one.
func findUpstream(m *menu, want string) int {
	if n, _, ok := unsigned(want); ok {
		return int(min(n, maxItems)) //nolint:gosec // bounded
	}
	return slices.IndexFunc(m.items, func(it *item) bool { return named(it.title, want) || named(it.id, want) })
}

// findRedHat: ids of all entries, then titles, then a number that stands alone.
func findRedHat(m *menu, want string) int {
	if n := slices.IndexFunc(m.items, func(it *item) bool { return named(it.id, want) }); n >= 0 {
		return n
	}
	if n := slices.IndexFunc(m.items, func(it *item) bool { return named(it.title, want) }); n >= 0 {
		return n
	}
	n, rest, ok := unsigned(want)
	if !ok || strings.TrimRight(rest, " ") != "" {
		return -1
	}
	return int(min(n, maxItems)) //nolint:gosec // bounded
}

// named compares a title or id with default up to a single >, which leads into
// a submenu; >> there is one > of the name.
func named(name, want string) bool {
	for {
		switch {
		case strings.HasPrefix(want, ">>"):
			if !strings.HasPrefix(name, ">") {
				return false
			}
			name, want = name[1:], want[2:]
		case want == "" || want[0] == '>':
			return name == ""
		case name == "" || name[0] != want[0]:
			return false
		default:
			name, want = name[1:], want[1:]
		}
	}
}

// within is what stands behind the first single >.
func within(want string) string {
	for i := 0; i < len(want); i++ {
		if want[i] != '>' {
			continue
		}
		if i+1 < len(want) && want[i+1] == '>' {
			i++
			continue
		}
		return want[i+1:]
	}
	return ""
}

// execute runs the body of an entry and boots what it loaded (normal/menu.c,
// grub_menu_execute_entry).
func (r chooser) execute(it *item, at string) {
	if r.depth++; r.depth > script.MaxDepth {
		r.depth--
		return
	}
	defer func() { r.depth-- }()
	if it.locked && !it.submenu && r.vars["superusers"] != "" {
		r.remark(r.number, "the entry "+strconv.Quote(it.title)+" asks for a password")
	}
	want, all := r.vars["default"], r.m.Flavour >= RedHat9
	var leave func()
	if it.submenu {
		leave = r.newContext(all)
		r.menu = &menu{}
	}
	r.vars["chosen"] = it.title
	if at != "" {
		r.vars["chosen"] = at + ">" + it.title
	}
	if rest := within(want); rest != "" {
		r.vars["default"] = rest
	} else if !it.submenu || !all {
		delete(r.vars, "default")
	}
	before := r.menu
	r.args, r.positional = append([]string{it.title}, it.args...), true
	r.entry = it
	shell(r).script(it.body)
	r.args, r.positional = nil, false
	if r.flow.kind == flowReturn {
		r.flow = flow{}
	}
	if r.ended() {
		return
	}
	if r.loaded != nil {
		r.boot()
		return
	}
	if it.submenu {
		if r.menu = before; len(r.menu.items) > 0 {
			r.show(r.vars["chosen"])
			return
		}
		leave()
	}
}

func boot(r *runner, _ *call) int {
	if r.loaded == nil {
		return errCode
	}
	chooser{r}.boot()
	return 0
}

// boot is the end: what is loaded is started.
func (r chooser) boot() {
	l := r.loaded
	o := Outcome{At: l.at, Kernel: l.kernel, Cmdline: quote(l.args), Initrds: l.initrds, Instead: l.other}
	if r.entry != nil {
		o.Title, o.ID, o.BLS = r.entry.title, r.entry.id, r.entry.bls
	}
	for _, a := range l.args {
		if isUnknown(a) && o.Instead == "" {
			o.Instead = "a kernel with a command line that holds " + shown(a)
		}
	}
	if o.Instead != "" {
		o.Kernel, o.Initrds, o.Cmdline = File{}, nil, ""
	}
	r.end(o)
}

// quote joins the arguments of a kernel (lib/cmdline.c): a word with a blank is
// wrapped whole, and backslashes and quotes are always escaped.
func quote(args []string) string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`)
	list := make([]string, len(args))
	for i, a := range args {
		list[i] = escape.Replace(a)
		if strings.Contains(a, " ") {
			list[i] = `"` + list[i] + `"`
		}
	}
	return strings.Join(list, " ")
}
