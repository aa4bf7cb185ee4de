package kmod

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
)

// maxIndexFile bounds each file of depmod, in bytes. A distribution's largest,
// modules.alias, has 1.3 MB.
const maxIndexFile = 32 << 20

// maxDepth bounds how far dependencies chain. depmod flattens them, so real
// ones reach about three.
const maxDepth = 200

// Index is what depmod knows of one kernel release. It is read-only after
// [Load] and so safe for concurrent use.
type Index struct {
	deps     []Dep
	byName   map[string]int // name -> place in deps
	builtin  map[string]bool
	softdeps map[string]Softdep
	aliases  buckets // of loadable modules
	inKernel buckets // of built-in ones
	config   *Config // nil: none
}

// Load reads the index from release, a file system whose root is
// lib/modules/RELEASE. modules.dep must be there ([fs.ErrNotExist] otherwise:
// depmod never ran for this release); of the other files an absent one counts
// as empty, as an older depmod does not write all.
func Load(release fs.FS) (*Index, error) {
	text, err := readBounded(release, "modules.dep")
	if err != nil {
		return nil, fmt.Errorf("read module index: %w", err)
	}
	x := &Index{byName: map[string]int{}, builtin: map[string]bool{}, softdeps: map[string]Softdep{}}
	if x.deps, err = ParseDep(text); err != nil {
		return nil, fmt.Errorf("read module index: %w", err)
	}
	for i, d := range x.deps {
		x.byName[d.Module.Name] = i
	}
	optional := map[string]func([]byte) error{
		"modules.alias":           func(b []byte) error { x.aliases = newBuckets(ParseAlias(b)); return nil },
		"modules.builtin.modinfo": func(b []byte) error { x.inKernel = newBuckets(ParseBuiltinAlias(b)); return nil },
		"modules.softdep":         x.addSoftdeps,
		"modules.builtin":         x.addBuiltin,
	}
	for name, use := range optional {
		text, err := readBounded(release, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = use(text)
		}
		if err != nil {
			return nil, fmt.Errorf("read module index: %s: %w", name, err)
		}
	}
	return x, nil
}

func (x *Index) addSoftdeps(text []byte) error {
	for _, s := range ParseSoftdep(text) {
		sum := x.softdeps[s.Module]
		sum.Module = s.Module
		sum.Pre = append(sum.Pre, s.Pre...)
		sum.Post = append(sum.Post, s.Post...)
		x.softdeps[s.Module] = sum
	}
	return nil
}

func (x *Index) addBuiltin(text []byte) error {
	modules, err := ParseBuiltin(text)
	for _, m := range modules {
		x.builtin[m.Name] = true
	}
	return err
}

// Use makes what modprobe.d(5) says count for all that is resolved and ordered
// from now on: its aliases, soft dependencies and install lines. Options and
// blacklists are for whoever loads.
func (x *Index) Use(c *Config) {
	x.config = c
	for _, s := range c.softdeps {
		sum := x.softdeps[s.Module]
		sum.Module, sum.Pre, sum.Post = s.Module, slices.Concat(sum.Pre, s.Pre), slices.Concat(sum.Post, s.Post)
		x.softdeps[s.Module] = sum
	}
}

// Deps returns every loadable module with its needs, in the order of
// modules.dep. The caller must not change it.
func (x *Index) Deps() []Dep { return x.deps }

// Module returns the loadable module of that name.
func (x *Index) Module(name string) (Module, bool) {
	i, ok := x.byName[CanonicalName(name)]
	if !ok {
		return Module{}, false
	}
	return x.deps[i].Module, true
}

// Builtin reports whether the kernel itself holds the module of that name:
// there is nothing to load.
func (x *Index) Builtin(name string) bool { return x.builtin[CanonicalName(name)] }

// Softdep returns the soft dependencies of a module, all its lines together.
func (x *Index) Softdep(name string) (Softdep, bool) {
	s, ok := x.softdeps[CanonicalName(name)]
	return s, ok
}

// Resolve returns the names of the modules for a modalias
// ("pci:v00008086d..."), another alias ("fs-xfs", "crypto-crc32c") or a
// module's own name, each once. As with modprobe a module's name wins over
// aliases of the same text. Many modules may serve one alias: the pattern with
// the longer literal beginning goes first, equal ones in the order of
// modules.alias, built-in modules last. Nil means that this kernel has nothing
// for it.
func (x *Index) Resolve(modalias string) []string {
	if x.config != nil {
		if names := x.config.resolve(modalias); names != nil {
			return names
		}
	}
	name := CanonicalName(modalias)
	if _, ok := x.byName[name]; ok || x.builtin[name] {
		return []string{name}
	}
	return x.inKernel.match(modalias, x.aliases.match(modalias, nil))
}

// LoadOrder returns the modules to load for these module names: what a module
// needs first, soft dependencies around it, each once, those already in the
// kernel left out. Cycles are cut where they close. A soft dependency that this
// kernel lacks is skipped; a name or a need that it lacks is an error that
// names it, and then no order is given.
func (x *Index) LoadOrder(names ...string) ([]Module, error) {
	o := order{index: x, seen: map[string]error{}}
	var missing []error
	for _, name := range names {
		if err := o.visit(CanonicalName(name), 0); err != nil {
			missing = append(missing, err)
		}
	}
	if err := errors.Join(missing...); err != nil {
		return nil, err
	}
	return o.modules, nil
}

// order is one walk of [Index.LoadOrder].
type order struct {
	index   *Index
	seen    map[string]error // visited modules; why one cannot be loaded, or nil
	modules []Module
}

func (o *order) visit(name string, depth int) (err error) {
	if o.index.builtin[name] {
		return nil
	}
	if err, ok := o.seen[name]; ok {
		return err
	}
	at, ok := o.index.byName[name]
	if !ok {
		return fmt.Errorf("module %.100q is not among this kernel's modules", name)
	}
	if depth > maxDepth {
		return fmt.Errorf("module %.100q: dependencies chain deeper than %d", name, maxDepth)
	}
	o.seen[name] = nil // before the descent, so that a cycle ends here
	defer func() { o.seen[name] = err }()
	d := o.index.deps[at]
	for _, need := range slices.Backward(d.Needs) {
		if err := o.visit(need.Name, depth+1); err != nil {
			return fmt.Errorf("%w, needed by %.100q", err, name)
		}
	}
	soft := o.index.softdeps[name]
	before, after, itself := o.installed(name)
	o.visitSoft(soft.Pre, depth)
	o.visitSoft(before, depth)
	if itself {
		o.modules = append(o.modules, d.Module)
	}
	o.visitSoft(after, depth)
	o.visitSoft(soft.Post, depth)
	return nil
}

// installed is what an install line makes of loading a module: others in front
// and behind, or in its place.
func (o *order) installed(name string) (before, after []string, itself bool) {
	if o.index.config == nil {
		return nil, nil, true
	}
	install, ok := o.index.config.InstallOf(name)
	if !ok || !install.Understood {
		return nil, nil, true
	}
	at := slices.Index(install.Loads, name)
	if at < 0 {
		return install.Loads, nil, false
	}
	return install.Loads[:at], install.Loads[at+1:], true
}

// visitSoft follows wishes: each word is a name or an alias. What one needs may
// stay in the order even if the wish itself cannot be met; a needless module
// does no harm.
func (o *order) visitSoft(words []string, depth int) {
	for _, word := range words {
		for _, name := range o.index.Resolve(word) {
			_ = o.visit(name, depth+1) // a wish, not a need
		}
	}
}

// buckets finds the patterns that may match an alias without trying them all:
// patterns are filed under the text before their first wildcard, and an alias
// is looked up by each of its own beginnings that has one of the lengths in
// use. A coldplug asks some 200 aliases against 20,000 patterns.
type buckets struct {
	byPrefix map[string][]Alias
	lengths  []int // of the prefixes in use, ascending
}

func newBuckets(aliases []Alias) buckets {
	b := buckets{byPrefix: make(map[string][]Alias, len(aliases))}
	var used [256]bool
	for _, a := range aliases {
		prefix := literalPrefix(a.Pattern)
		// A longer prefix is cut: the filing then is coarser, the answer the same.
		prefix = prefix[:min(len(prefix), len(used)-1)]
		b.byPrefix[prefix] = append(b.byPrefix[prefix], a)
		used[len(prefix)] = true
	}
	for n, is := range used {
		if is {
			b.lengths = append(b.lengths, n)
		}
	}
	return b
}

// match appends the modules whose patterns match alias to found, each once.
func (b buckets) match(alias string, found []string) []string {
	folded := CanonicalName(alias)
	for _, n := range slices.Backward(b.lengths) {
		if n > len(folded) {
			continue
		}
		for _, a := range b.byPrefix[folded[:n]] {
			if !slices.Contains(found, a.Module) && Match(a.Pattern, alias) {
				found = append(found, a.Module)
			}
		}
	}
	return found
}

// readBounded reads a whole file of at most maxIndexFile bytes.
func readBounded(fsys fs.FS, name string) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxIndexFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxIndexFile {
		return nil, fmt.Errorf("%s: larger than %d MiB", name, maxIndexFile>>20)
	}
	return data, nil
}
