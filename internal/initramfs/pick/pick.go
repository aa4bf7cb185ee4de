// Package pick chooses, out of a golden image's own file tree, the drivers that
// a machine of which little is known needs to reach its network or its disk.
//
// The choice is data ([Generic]); what the chosen modules need, and softly wish
// for, comes along. All files are given back decompressed: loading a compressed
// module costs the booting machine far more time than it saves, and the archive
// is compressed as a whole anyway.
package pick

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/gild-dev/gild/internal/initramfs/kmod"
	"github.com/gild-dev/gild/internal/units"
)

// maxTotal bounds all files together, in bytes: they end in the memory of the
// machine.
const maxTotal = 512 << 20

// File is one file of the archive. Name is its path there, without a leading
// slash.
type File struct {
	Name string
	Data []byte
}

// Selection is what was chosen.
type Selection struct {
	Release  string
	Modules  []File // with depmod's files, filtered; sorted by name
	Firmware []File // sorted by name
	Report   Report
}

// Report says what an operator may want to know of a selection.
type Report struct {
	Modules       int      `json:"modules"`
	ModuleBytes   int64    `json:"moduleBytes"` // decompressed
	Builtin       int      `json:"builtin"`     // of the modules named by a rule: in the kernel already
	Firmware      int      `json:"firmware"`
	FirmwareBytes int64    `json:"firmwareBytes"`
	Absent        []string `json:"absent,omitempty"`          // named by a rule, not in this kernel
	Broken        []string `json:"broken,omitempty"`          // taken by a rule but unusable, each with the reason
	FirmwareLacks []string `json:"firmwareLacks,omitempty"`   // named by a module, not in the image
	FirmwareLeft  []string `json:"firmwareDropped,omitempty"` // in the image, left out to keep the archive small
	Foreign       []string `json:"foreign,omitempty"`         // taken from outside of the kernel's own modules, by their aliases
	Undone        []string `json:"undone,omitempty"`          // chosen modules whose install line in modprobe.d does more than load
}

// String says how much was chosen, in a line.
func (r *Report) String() string {
	return fmt.Sprintf("%d modules (%s), %d firmware files; %d more are built in",
		r.Modules, units.Bytes(r.ModuleBytes), r.Firmware, r.Builtin)
}

// Select chooses modules of one kernel release from root, the file system of an
// installed Linux, and carries the modprobe.d that is to count for them; config
// may be nil. Its modules are in lib/modules/RELEASE or, with a merged /usr
// that root does not follow, below usr/. The error wraps [fs.ErrNotExist] when
// there are none for that release. Modules that cannot be read or lack a need
// are left out and reported; not one network or disk driver at all is an error.
func Select(root fs.FS, release string, rules Rules, config *kmod.Config) (*Selection, error) {
	if !fs.ValidPath(release) || strings.Contains(release, "/") || release == "." {
		return nil, fmt.Errorf("choose modules: %q is not a kernel release", release)
	}
	dir, err := modulesDir(root, release)
	if err != nil {
		return nil, fmt.Errorf("choose modules of kernel %s: %w", release, err)
	}
	p := &picker{root: root, dir: dir, files: map[string]File{}}
	p.sel.Release = release
	if p.index, err = kmod.Load(dir); err != nil {
		return nil, fmt.Errorf("choose modules of kernel %s: %w", release, err)
	}
	if config != nil {
		p.index.Use(config)
	}
	if p.order, err = readOrder(dir); err != nil {
		return nil, fmt.Errorf("choose modules of kernel %s: %w", release, err)
	}
	names := append(p.byRule(rules), p.foreign()...)
	firmware, err := p.readModules(names)
	if err != nil {
		return nil, fmt.Errorf("choose modules of kernel %s: %w", release, err)
	}
	if len(p.files) == 0 && p.sel.Report.Builtin == 0 {
		return nil, fmt.Errorf("choose modules of kernel %s: none of its modules drives a network card or a disk", release)
	}
	if err := p.writeIndex(); err != nil {
		return nil, fmt.Errorf("choose modules of kernel %s: %w", release, err)
	}
	p.carry(config)
	if err := p.readFirmware(firmware); err != nil {
		return nil, fmt.Errorf("choose firmware for kernel %s: %w", release, err)
	}
	return &p.sel, nil
}

// picker carries one selection from step to step.
type picker struct {
	root  fs.FS // the installed system
	dir   fs.FS // its lib/modules/RELEASE
	index *kmod.Index
	order []kmod.Module   // the kernel's own modules at their own paths, see readOrder
	files map[string]File // by module name
	total int64
	sel   Selection
}

// modulesDir finds the folder of a release. modules.dep is what makes it one.
func modulesDir(root fs.FS, release string) (fs.FS, error) {
	for _, base := range []string{"lib/modules", "usr/lib/modules"} {
		dir := path.Join(base, release)
		if _, err := fs.Stat(root, path.Join(dir, "modules.dep")); err == nil {
			return fs.Sub(root, dir)
		}
	}
	return nil, fmt.Errorf("no lib/modules/%s/modules.dep (is the release right, has depmod run?): %w", release, fs.ErrNotExist)
}

// readOrder reads modules.order, or nothing where it is absent. A vendor's
// newer driver in updates/ or extra/ takes the place of the kernel's own of the
// same name; this file still says where that one was, so that folder rules hold
// for the newer one too.
func readOrder(dir fs.FS) ([]kmod.Module, error) {
	text, err := fs.ReadFile(dir, "modules.order")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	order, err := kmod.ParseBuiltin(text)
	if err != nil {
		return nil, fmt.Errorf("modules.order: %w", err)
	}
	return order, nil
}

// byRule returns the names of all modules that the rules take, in the order of
// modules.dep.
func (p *picker) byRule(rules Rules) []string {
	home := map[string]string{}
	for _, m := range p.order {
		home[m.Name] = m.Path
	}
	var names []string
	for _, d := range p.index.Deps() {
		m := d.Module
		if own, ok := home[m.Name]; ok {
			m.Path = own
		}
		if applies(rules.Take, m) && !applies(rules.Skip, m) {
			names = append(names, m.Name)
		}
	}
	for _, r := range rules.Take {
		if r.Name == "" {
			continue
		}
		if _, ok := p.index.Module(r.Name); p.index.Builtin(r.Name) {
			p.sel.Report.Builtin++
		} else if !ok {
			p.sel.Report.Absent = append(p.sel.Report.Absent, r.Name)
		}
	}
	return names
}

func applies(rules []Rule, m kmod.Module) bool {
	return slices.ContainsFunc(rules, func(r Rule) bool {
		if r.Name != "" {
			return kmod.CanonicalName(r.Name) == m.Name
		}
		return strings.HasPrefix(m.Path, "kernel/"+r.Dir+"/")
	})
}

// readModules reads the named modules and all that they need, and returns the
// firmware they may ask for. Each name is ordered alone, so that one broken
// module costs only itself.
func (p *picker) readModules(names []string) (firmware []string, err error) {
	for _, name := range names {
		order, err := p.index.LoadOrder(name)
		if err != nil {
			p.sel.Report.Broken = append(p.sel.Report.Broken, err.Error())
			continue
		}
		for _, m := range order {
			if _, ok := p.files[m.Name]; ok {
				continue
			}
			data, info, err := p.readModule(m)
			if err != nil {
				p.sel.Report.Broken = append(p.sel.Report.Broken, fmt.Sprintf("%s: %v", m.Path, err))
				continue
			}
			if p.total += int64(len(data)); p.total > maxTotal {
				return nil, fmt.Errorf("more than %d MiB of modules", maxTotal>>20)
			}
			p.files[m.Name] = File{Name: p.archived(plainPath(m.Path)), Data: data}
			firmware = append(firmware, info.Firmware...)
		}
	}
	slices.Sort(p.sel.Report.Broken)
	p.sel.Report.Broken = slices.Compact(p.sel.Report.Broken)
	p.sel.Report.Modules = len(p.files)
	p.sel.Report.ModuleBytes = p.total
	return firmware, nil
}

// readModule reads one module. Its signature, appended behind the ELF file,
// stays where it is: under lockdown the kernel loads no module without.
func (p *picker) readModule(m kmod.Module) ([]byte, kmod.Info, error) {
	f, err := p.dir.Open(m.Path)
	if err != nil {
		return nil, kmod.Info{}, err
	}
	defer f.Close()
	data, err := decompress(f)
	if err != nil {
		return nil, kmod.Info{}, err
	}
	info, err := kmod.ModInfo(data)
	return data, info, err
}

// archived returns the path in the archive of a path below lib/modules/RELEASE.
func (p *picker) archived(name string) string {
	return path.Join("lib/modules", p.sel.Release, name)
}

// plainPath is a module's path once it is decompressed.
func plainPath(name string) string {
	if i := strings.LastIndex(name, ".ko."); i >= 0 {
		return name[:i+len(".ko")]
	}
	return name
}
