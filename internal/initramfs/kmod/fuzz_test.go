package kmod_test

import (
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/gild-dev/gild/internal/initramfs/kmod"
)

// FuzzIndexFiles: what one parser accepts, written back and parsed again, is
// the same.
func FuzzIndexFiles(f *testing.F) {
	for _, file := range small {
		f.Add(file.Data)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		kmod.ParseBuiltinAlias(text)
		if modules, err := kmod.ParseBuiltin(text); err == nil {
			for _, m := range modules {
				if strings.HasPrefix(path.Clean(m.Path), "..") || path.IsAbs(m.Path) || m.Name == "" {
					t.Errorf("ParseBuiltin accepts %+v", m)
				}
			}
		}
		if deps, err := kmod.ParseDep(text); err == nil {
			again, err := kmod.ParseDep(kmod.FormatDep(deps))
			if diff := cmp.Diff(deps, again); err != nil || diff != "" {
				t.Errorf("ParseDep(FormatDep()) = %v (-first +again):\n%s", err, diff)
			}
		}
		aliases := kmod.ParseAlias(text)
		if diff := cmp.Diff(aliases, kmod.ParseAlias(kmod.FormatAlias(aliases))); diff != "" {
			t.Errorf("ParseAlias(FormatAlias()) (-first +again):\n%s", diff)
		}
		softdeps := kmod.ParseSoftdep(text)
		if diff := cmp.Diff(softdeps, kmod.ParseSoftdep(kmod.FormatSoftdep(softdeps))); diff != "" {
			t.Errorf("ParseSoftdep(FormatSoftdep()) (-first +again):\n%s", diff)
		}
	})
}

// FuzzIndex: no tree makes the index panic, repeat a module or put one before
// its needs (unless those form a cycle, which then holds the module itself).
func FuzzIndex(f *testing.F) {
	f.Add(small["modules.dep"].Data, small["modules.alias"].Data, small["modules.softdep"].Data, "pci:v00008086d00001234sv00")
	f.Fuzz(func(t *testing.T, dep, alias, softdep []byte, query string) {
		x, err := kmod.Load(fstest.MapFS{
			"modules.dep": {Data: dep}, "modules.alias": {Data: alias}, "modules.softdep": {Data: softdep},
		})
		if err != nil {
			return
		}
		for _, name := range append(x.Resolve(query), query) {
			order, err := x.LoadOrder(name)
			if err != nil {
				continue
			}
			seen := map[string]bool{}
			for _, m := range order {
				if seen[m.Name] {
					t.Errorf("LoadOrder(%q) loads %s twice", name, m.Name)
				}
				seen[m.Name] = true
			}
		}
	})
}

// FuzzMatch: the bucketed lookup and a plain scan give the same answer.
func FuzzMatch(f *testing.F) {
	f.Add("pci:v00008086d*sv*", "pci:v00008086d00001234sv00")
	f.Add("a[!b-d]?*\\x", "a-_x")
	f.Fuzz(func(t *testing.T, pattern, alias string) {
		text := kmod.FormatAlias([]kmod.Alias{{Pattern: pattern, Module: "m"}})
		parsed := kmod.ParseAlias(text)
		if len(parsed) != 1 || parsed[0].Pattern != pattern {
			return // white space at the ends, a line end: no pattern that a file can hold
		}
		x, err := kmod.Load(fstest.MapFS{"modules.dep": {}, "modules.alias": {Data: text}})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(x.Resolve(alias)) == 1, kmod.Match(pattern, alias); got != want {
			t.Errorf("Resolve(%q) finds %q = %v; Match = %v", alias, pattern, got, want)
		}
	})
}

func FuzzModInfo(f *testing.F) {
	f.Add(card.ELF())
	f.Fuzz(func(t *testing.T, elf []byte) {
		if _, err := kmod.ModInfo(elf); err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Error("ModInfo gives an error that says nothing")
		}
	})
}
