package pick

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"

	"github.com/gild-dev/gild/internal/initramfs/kmod"
)

// Depmod makes modules.dep, modules.alias and modules.softdep of a folder of
// modules that comes without, as it is in a package: what depmod(8) writes when
// the package is installed, by name. A module that cannot be read is left out.
func Depmod(dir fs.FS) (map[string][]byte, error) {
	x := modinfos{info: map[string]kmod.Info{}, module: map[string]kmod.Module{}}
	err := fs.WalkDir(dir, ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, ok := kmod.NameOf(file)
		if !ok {
			return nil
		}
		p := picker{dir: dir}
		m := kmod.Module{Name: name, Path: file}
		if _, info, err := p.readModule(m); err == nil {
			x.info[name], x.module[name] = info, m
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for modules: %w", err)
	}
	return x.files(), nil
}

// modinfos are modules by their names.
type modinfos struct {
	info   map[string]kmod.Info
	module map[string]kmod.Module
}

func (x modinfos) files() map[string][]byte {
	modules := make([]kmod.Module, 0, len(x.module))
	for _, m := range x.module {
		modules = append(modules, m)
	}
	slices.SortFunc(modules, func(a, b kmod.Module) int { return cmp.Compare(a.Path, b.Path) })
	var deps []kmod.Dep
	var aliases []kmod.Alias
	var softdeps []kmod.Softdep
	for _, m := range modules {
		needs, whole := x.needs(m.Name)
		if !whole {
			continue // modprobe could not load it either
		}
		deps = append(deps, kmod.Dep{Module: m, Needs: needs})
		info := x.info[m.Name]
		for _, pattern := range info.Aliases {
			aliases = append(aliases, kmod.Alias{Pattern: pattern, Module: m.Name})
		}
		if s := info.Softdeps; len(s.Pre)+len(s.Post) > 0 {
			s.Module = m.Name
			softdeps = append(softdeps, s)
		}
	}
	return map[string][]byte{
		"modules.dep":     kmod.FormatDep(deps),
		"modules.alias":   kmod.FormatAlias(aliases),
		"modules.softdep": kmod.FormatSoftdep(softdeps),
	}
}

// needs lists what a module needs, directly or not, so that the last one is
// loaded first. whole tells whether all of it is there.
func (x modinfos) needs(name string) (needs []kmod.Module, whole bool) {
	whole = true
	seen := map[string]bool{name: true}
	var visit func(string)
	visit = func(of string) {
		for _, need := range x.info[of].Depends {
			if seen[need] {
				continue
			}
			seen[need] = true
			m, ok := x.module[need]
			whole = whole && ok
			visit(need)
			needs = append(needs, m)
		}
	}
	visit(name)
	slices.Reverse(needs)
	return needs, whole
}
