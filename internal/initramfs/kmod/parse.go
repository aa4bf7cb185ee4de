package kmod

import (
	"bytes"
	"fmt"
	"iter"
	"strings"
)

// Dep is one line of modules.dep: a module and all that it needs, directly or
// not. depmod lists the needs so that the last one is loaded first.
type Dep struct {
	Module Module
	Needs  []Module
}

// Alias is one line of modules.alias: Pattern is a glob, see [Match].
type Alias struct {
	Pattern string
	Module  string
}

// Softdep is a module's wish for others around it, by name or by alias. Nothing
// breaks at load time when one is absent, but the wish is often vital later:
// ext4 asks for crypto-crc32c this way.
type Softdep struct {
	Module    string
	Pre, Post []string
}

// ParseDep reads modules.dep ("path: need need ...", paths below the release's
// folder).
func ParseDep(text []byte) ([]Dep, error) {
	var deps []Dep
	for n, line := range lines(text) {
		file, rest, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("modules.dep line %d: no colon in %.100q", n, line)
		}
		m, err := moduleOf(strings.TrimSpace(file))
		if err != nil {
			return nil, fmt.Errorf("modules.dep line %d: %w", n, err)
		}
		d := Dep{Module: m}
		for need := range strings.FieldsSeq(rest) {
			m, err := moduleOf(need)
			if err != nil {
				return nil, fmt.Errorf("modules.dep line %d: %w", n, err)
			}
			d.Needs = append(d.Needs, m)
		}
		deps = append(deps, d)
	}
	return deps, nil
}

// ParseAlias reads modules.alias ("alias PATTERN MODULE"). A line of another
// form is skipped, as modprobe does: a pattern may hold spaces (a vendor's
// string from DMI), the module is the last word.
func ParseAlias(text []byte) []Alias {
	// depmod writes some 20,000 lines for a distribution's kernel: one growth, not
	// fifteen.
	aliases := make([]Alias, 0, bytes.Count(text, []byte("\nalias "))+1)
	for _, line := range lines(text) {
		rest, ok := strings.CutPrefix(line, "alias ")
		if !ok {
			continue
		}
		rest = strings.TrimSpace(rest)
		i := strings.LastIndexAny(rest, " \t")
		if i < 0 {
			continue
		}
		pattern := strings.TrimSpace(rest[:i])
		aliases = append(aliases, Alias{Pattern: pattern, Module: CanonicalName(rest[i+1:])})
	}
	return aliases
}

// ParseSoftdep reads modules.softdep ("softdep NAME pre: a b post: c"). Words
// before the first "pre:" or "post:" say nothing about order and are dropped,
// as modprobe does. One module may have many lines.
func ParseSoftdep(text []byte) []Softdep {
	var softdeps []Softdep
	for _, line := range lines(text) {
		rest, ok := strings.CutPrefix(line, "softdep ")
		if !ok {
			continue
		}
		name, rest, ok := strings.Cut(strings.TrimSpace(rest), " ")
		if !ok {
			continue
		}
		s := Softdep{Module: CanonicalName(name)}
		s.Pre, s.Post = softdepWords(rest)
		if len(s.Pre)+len(s.Post) > 0 {
			softdeps = append(softdeps, s)
		}
	}
	return softdeps
}

// softdepWords splits "pre: a b post: c" into its two lists.
func softdepWords(text string) (pre, post []string) {
	var into *[]string
	for word := range strings.FieldsSeq(text) {
		switch {
		case word == "pre:":
			into = &pre
		case word == "post:":
			into = &post
		case into != nil:
			*into = append(*into, word)
		}
	}
	return pre, post
}

// ParseBuiltin reads modules.builtin or modules.order: one path a line, in the
// kernel's link order.
func ParseBuiltin(text []byte) ([]Module, error) {
	var modules []Module
	for n, line := range lines(text) {
		m, err := moduleOf(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		modules = append(modules, m)
	}
	return modules, nil
}

// ParseBuiltinAlias reads the aliases out of modules.builtin.modinfo: records
// "module.key=value", each ended by a NUL. Other keys are skipped.
func ParseBuiltinAlias(data []byte) []Alias {
	var aliases []Alias
	for record := range strings.SplitSeq(string(data), "\x00") {
		key, value, ok := strings.Cut(record, "=")
		if !ok {
			continue
		}
		if module, ok := strings.CutSuffix(key, ".alias"); ok && module != "" && value != "" {
			aliases = append(aliases, Alias{Pattern: value, Module: CanonicalName(module)})
		}
	}
	return aliases
}

// lines yields each line that says something, trimmed, with its number from 1.
// The text is copied once: all that the parsers return are slices of that one
// string.
func lines(text []byte) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		n := 0
		for line := range strings.SplitSeq(string(text), "\n") {
			n++
			line = strings.TrimSpace(line)
			if line == "" || line[0] == '#' {
				continue
			}
			if !yield(n, line) {
				return
			}
		}
	}
}
