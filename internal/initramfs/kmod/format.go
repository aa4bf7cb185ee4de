package kmod

import "strings"

// FormatDep writes deps as modules.dep, in the form that [ParseDep] reads.
func FormatDep(deps []Dep) []byte {
	var b strings.Builder
	for _, d := range deps {
		b.WriteString(d.Module.Path)
		b.WriteByte(':')
		for _, need := range d.Needs {
			b.WriteByte(' ')
			b.WriteString(need.Path)
		}
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// FormatAlias writes aliases as modules.alias, in the form that [ParseAlias]
// reads.
func FormatAlias(aliases []Alias) []byte {
	var b strings.Builder
	for _, a := range aliases {
		b.WriteString("alias " + a.Pattern + " " + a.Module + "\n")
	}
	return []byte(b.String())
}

// FormatSoftdep writes softdeps as modules.softdep, in the form that
// [ParseSoftdep] reads.
func FormatSoftdep(softdeps []Softdep) []byte {
	var b strings.Builder
	for _, s := range softdeps {
		b.WriteString("softdep " + s.Module)
		if len(s.Pre) > 0 {
			b.WriteString(" pre: " + strings.Join(s.Pre, " "))
		}
		if len(s.Post) > 0 {
			b.WriteString(" post: " + strings.Join(s.Post, " "))
		}
		b.WriteByte('\n')
	}
	return []byte(b.String())
}
