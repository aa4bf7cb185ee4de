package bootcfg

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strconv"
	"strings"
)

// grub reads the first grub.cfg that has entries. What is on the EFI system partition is usually a stub that leads to
// the one on /boot, so that comes last.
func (f *finder) grub() {
	files := []string{"boot/grub/grub.cfg", "boot/grub2/grub.cfg", "grub/grub.cfg", "grub2/grub.cfg"}
	for _, esp := range espDirs {
		found, err := fs.Glob(f.fsys, esp+"/EFI/*/grub.cfg")
		if err == nil {
			files = append(files, found...)
		}
	}
	for _, file := range files {
		data, ok := f.read(file)
		if !ok {
			continue
		}
		env := map[string]string{}
		if data, ok := f.read(path.Join(path.Dir(file), "grubenv")); ok {
			env = parseGrubenv(data)
		}
		menu, err := parseGrub(string(data), env)
		if err != nil {
			f.problem(fmt.Errorf("%s: %w", file, err))
			continue
		}
		if menu.bls {
			f.blsMenu(menu)
		}
		before := len(f.entries)
		f.add(file, menu.entries(), "boot", "", "boot/efi", "efi")
		if len(f.entries) > before {
			return
		}
	}
}

// espDirs is where the EFI system partition is mounted.
var espDirs = [...]string{"boot/efi", "efi", "boot"}

// blsMenu puts the entries that blscfg would show into the menu.
func (f *finder) blsMenu(menu *grubMenu) {
	var items []grubItem
	for _, dir := range []string{"boot/loader/entries", "loader/entries"} {
		found := f.blsEntries(dir, menu.vars)
		for i, e := range found {
			items = append(items, grubItem{entry: e, where: []grubName{{menu.blsAt + i, e.Title, e.ID}}})
		}
		if len(found) > 0 {
			f.blsDirs = append(f.blsDirs, dir)
			break
		}
	}
	menu.items = append(items, menu.items...)
}

// grubMenu is what a grub.cfg defines.
type grubMenu struct {
	items []grubItem
	vars  map[string]string
	bls   bool // blscfg stands in it
	blsAt int  // index of the first entry that blscfg adds
}

// grubItem is an entry with its place: the submenus that lead to it, then itself.
type grubItem struct {
	entry Entry
	where []grubName
}

// grubName is all that the variable default may call an item by.
type grubName struct {
	index     int
	title, id string
}

func (n grubName) is(s string) bool {
	return s != "" && (s == n.id || s == n.title || s == strconv.Itoa(n.index))
}

// entries gives the entries with the default marked. A default that leads to a submenu means its first entry.
func (m *grubMenu) entries() []Entry {
	entries := make([]Entry, 0, len(m.items))
	chosen := m.find(func(it grubItem, steps []string) bool {
		for i, s := range steps {
			if i >= len(it.where) || !it.where[i].is(s) {
				return false
			}
		}
		return true
	})
	if chosen < 0 { // an id that is named without its submenu
		chosen = m.find(func(it grubItem, steps []string) bool {
			last := it.where[len(it.where)-1]
			return len(steps) == 1 && steps[0] == last.id
		})
	}
	for i, it := range m.items {
		it.entry.Default = i == chosen
		entries = append(entries, it.entry)
	}
	return entries
}

func (m *grubMenu) find(match func(grubItem, []string) bool) int {
	want := m.vars["default"]
	if want == "" {
		want = "0"
	}
	for i, it := range m.items {
		// A title may itself hold the separator.
		if match(it, strings.Split(want, ">")) || match(it, []string{want}) {
			return i
		}
	}
	return -1
}

// parseGrubenv reads the environment block: lines of name=value, padded with #.
func parseGrubenv(data []byte) map[string]string {
	env := make(map[string]string)
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
		if ok && !strings.HasPrefix(line, "#") && len(value) <= maxExpanded {
			env[name] = value
		}
	}
	return env
}

// grubBlock is what a brace encloses.
type grubBlock struct {
	kind  string // "menuentry", "submenu"; anything else has no effect
	name  grubName
	count int // items so far, for the index of the next
	entry Entry
}

// grubReader walks a script without running it.
type grubReader struct {
	scan   grubScanner
	menu   *grubMenu
	blocks []*grubBlock
	ifs    []branch
}

// parseGrub reads a grub.cfg with the variables of its environment block.
func parseGrub(src string, env map[string]string) (*grubMenu, error) {
	vars := maps.Clone(env)
	if vars == nil {
		vars = make(map[string]string)
	}
	for _, feature := range []string{"menuentry_id", "menuentry_options", "platform_search_hint", "timeout_style"} {
		vars["feature_"+feature] = "y" // every GRUB 2 has them, and scripts ask
	}
	r := &grubReader{
		scan:   grubScanner{src: src, vars: vars},
		menu:   &grubMenu{vars: vars},
		blocks: []*grubBlock{{kind: "submenu"}},
	}
	for {
		words, err := r.scan.next()
		if err != nil || words == nil {
			return r.menu, err
		}
		r.command(words)
	}
}

func (r *grubReader) command(words []word) {
	if words[0].plain && r.control(&words) {
		return
	}
	if r.skipping() {
		return
	}
	args := make([]string, 0, len(words))
	for _, w := range words[1:] {
		args = append(args, w.text)
	}
	block := r.blocks[len(r.blocks)-1]
	switch name := words[0].text; name {
	case "set", "export":
		for _, a := range args {
			r.set(a)
		}
	case "linux", "linux16", "linuxefi":
		if block.kind == "menuentry" && block.entry.Kernel == "" && len(args) > 0 {
			block.entry.Kernel, block.entry.Cmdline = args[0], quoteWords(args[1:])
		}
	case "initrd", "initrd16", "initrdefi":
		if block.kind == "menuentry" && block.entry.Initrds == nil {
			for _, a := range args {
				if !strings.HasPrefix(a, "-") && !strings.HasPrefix(a, "newc:") {
					block.entry.Initrds = append(block.entry.Initrds, a)
				}
			}
		}
	case "blscfg":
		if !r.menu.bls && len(r.blocks) == 1 {
			r.menu.bls, r.menu.blsAt = true, block.count
		}
	default:
		if strings.Contains(name, "=") && len(words) == 1 {
			r.set(name)
		}
	}
}

// set assigns a variable. An empty value does not take a known one away: scripts clear what they have acted on, and the
// action is not seen here.
func (r *grubReader) set(assignment string) {
	name, value, ok := strings.Cut(assignment, "=")
	if ok && value != "" && len(value) <= maxExpanded/2 {
		r.scan.vars[name] = value
	}
}

// open begins a block. Its name counts among the items of the menu around it even if it turns out to boot nothing.
func (r *grubReader) open(words []word) {
	b := &grubBlock{}
	if !r.skipping() && len(words) > 1 {
		if kind := words[0].text; kind == "menuentry" || kind == "submenu" {
			b.kind = kind
			b.name = r.itemName(words[1:])
		}
	}
	r.blocks = append(r.blocks, b)
}

func (r *grubReader) itemName(words []word) grubName {
	parent := r.blocks[len(r.blocks)-1]
	name := grubName{index: parent.count}
	parent.count++
	takesValue := map[string]bool{"--class": true, "--users": true, "--hotkey": true, "--source": true}
	for i := 0; i < len(words); i++ {
		w := words[i]
		switch {
		case w.text == "--id" && i+1 < len(words):
			i++
			name.id = words[i].text
		case strings.HasPrefix(w.text, "--id="):
			name.id = strings.TrimPrefix(w.text, "--id=")
		case takesValue[w.text]:
			i++
		case strings.HasPrefix(w.text, "--"):
		case name.title == "":
			name.title = w.text
		case name.id == "" && i == len(words)-1:
			name.id = w.text // behind $menuentry_id_option, when nothing has set it
		}
	}
	return name
}

// close ends a block and keeps the entry in it.
func (r *grubReader) close() {
	if len(r.blocks) == 1 {
		return
	}
	b := r.blocks[len(r.blocks)-1]
	r.blocks = r.blocks[:len(r.blocks)-1]
	if b.kind != "menuentry" || b.entry.Kernel == "" || len(r.menu.items) >= maxEntries {
		return
	}
	b.entry.Title, b.entry.ID, b.entry.Source = b.name.title, b.name.id, SourceGRUB
	var where []grubName
	for _, outer := range r.blocks[1:] {
		where = append(where, outer.name)
	}
	r.menu.items = append(r.menu.items, grubItem{b.entry, append(where, b.name)})
}

// quoteWords joins arguments as GRUB does for the kernel: a word with spaces is quoted.
func quoteWords(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		if strings.ContainsAny(w, " \t") {
			w = `"` + strings.ReplaceAll(w, `"`, `\"`) + `"`
		}
		quoted[i] = w
	}
	return strings.Join(quoted, " ")
}
