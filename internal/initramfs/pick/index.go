package pick

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/initramfs/kmod"
)

// writeIndex adds depmod's files to the selection, cut down to the chosen
// modules. The built-in modules are listed in full: they say for which devices
// nothing needs loading.
func (p *picker) writeIndex() error {
	chosen := func(name string) bool { _, ok := p.files[name]; return ok }
	for _, f := range p.files {
		p.sel.Modules = append(p.sel.Modules, f)
	}

	var deps []kmod.Dep
	var softdeps []kmod.Softdep
	for _, d := range p.index.Deps() {
		if !chosen(d.Module.Name) {
			continue
		}
		plain := kmod.Dep{Module: plainModule(d.Module)}
		for _, need := range d.Needs {
			plain.Needs = append(plain.Needs, plainModule(need))
		}
		deps = append(deps, plain)
		if s, ok := p.index.Softdep(d.Module.Name); ok {
			softdeps = append(softdeps, s)
		}
	}
	p.addText("modules.dep", kmod.FormatDep(deps))
	p.addText("modules.softdep", kmod.FormatSoftdep(softdeps))

	text, err := optional(p.dir, "modules.alias")
	if err != nil {
		return err
	}
	aliases := slices.DeleteFunc(kmod.ParseAlias(text), func(a kmod.Alias) bool { return !chosen(a.Module) })
	p.addText("modules.alias", kmod.FormatAlias(aliases))

	var order strings.Builder
	for _, m := range p.order {
		if chosen(m.Name) {
			order.WriteString(plainPath(m.Path) + "\n")
		}
	}
	p.addText("modules.order", []byte(order.String()))
	for _, name := range []string{"modules.builtin", "modules.builtin.modinfo"} {
		text, err := optional(p.dir, name)
		if err != nil {
			return err
		}
		p.addText(name, text)
	}
	slices.SortFunc(p.sel.Modules, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

func (p *picker) addText(name string, text []byte) {
	p.sel.Modules = append(p.sel.Modules, File{Name: p.archived(name), Data: text})
}

func plainModule(m kmod.Module) kmod.Module {
	return kmod.Module{Name: m.Name, Path: plainPath(m.Path)}
}

// optional reads a file that may be absent.
func optional(dir fs.FS, name string) ([]byte, error) {
	text, err := fs.ReadFile(dir, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}
