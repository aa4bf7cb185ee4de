// Package coldplug loads the drivers of a machine's devices by their modalias.
package coldplug

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/agent/cmdline"
	"github.com/gild-dev/gild/internal/initramfs/kmod"
)

// Loader loads modules, each once. Safe for concurrent use.
type Loader struct {
	// Sys is where sysfs is mounted, "/sys".
	Sys string
	// Insert loads one module file into the kernel, with parameters as
	// modprobe.d(5) has them; nil means [Insert].
	Insert func(path, params string) error
	// Log tells of modules that were loaded and of those that were not; nil
	// is silent.
	Log *slog.Logger

	dir    string
	index  *kmod.Index
	config *kmod.Config

	mu     sync.Mutex
	tried  map[string]*attempt // by module name
	loaded int
	undone []string // see Undone
}

// attempt is the one try to load a module.
type attempt struct {
	done chan struct{} // closed when err is what became of it
	err  error         // nil: the module is in the kernel
}

// New reads the module index in dir, lib/modules/RELEASE, and the modprobe.d(5)
// of the image, as its own initrd would obey it. A directory that does not
// exist is a kernel with everything built in: nothing to load.
func New(dir string) (*Loader, error) {
	l := &Loader{dir: dir, tried: map[string]*attempt{}, config: &kmod.Config{}}
	if text, err := os.ReadFile(filepath.Join(l.root(), kmod.ConfigFile)); err == nil {
		l.config.Parse(text)
	}
	index, err := kmod.Load(os.DirFS(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("modules in %s: %w", dir, err)
	}
	index.Use(l.config)
	l.index = index
	return l, nil
}

// Obey takes the words of the kernel's command line that modprobe takes: what
// they say counts over modprobe.d. It is for before the first module.
func (l *Loader) Obey(line cmdline.Line) {
	for _, w := range line {
		l.config.AddWord(w.Key, w.Value)
	}
}

// Undone names the loaded modules for which modprobe.d has a command that does
// more than load modules: the image's own initrd would have run it.
func (l *Loader) Undone() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.undone)
}

// Loaded returns how many modules were loaded so far.
func (l *Loader) Loaded() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.loaded
}

// Coldplug loads the drivers of all devices that the kernel knows by now and
// returns how many devices asked for one. That a driver does not load is
// logged and no error: the next one may be the one that counts.
func (l *Loader) Coldplug(ctx context.Context) (devices int, err error) {
	// Every device that asks for a driver is on a bus; the flat list of each
	// bus costs a tenth of a walk through the tree of devices.
	files, err := filepath.Glob(filepath.Join(l.Sys, "bus/*/devices/*/modalias"))
	if err != nil {
		return 0, fmt.Errorf("looking for devices: %w", err)
	}
	seen := map[string]bool{}
	for _, file := range files {
		if err := ctx.Err(); err != nil {
			return devices, fmt.Errorf("looking for devices: %w", err)
		}
		alias, err := os.ReadFile(file)
		if err != nil {
			continue // the device has left
		}
		devices++
		if a := strings.TrimSpace(string(alias)); a != "" && !seen[a] {
			seen[a] = true
			l.Alias(a)
		}
	}
	return devices, nil
}

// Alias loads what serves a modalias or another alias, if this kernel has it
// and nobody has blacklisted it.
func (l *Loader) Alias(alias string) {
	if l.index == nil {
		return
	}
	for _, name := range l.index.Resolve(alias) {
		if l.config.Blacklisted(name) {
			continue
		}
		if err := l.Load(name); err != nil {
			l.log().Warn("a driver did not load", "alias", alias, "error", err)
		}
	}
}

// Load loads a module by its name or alias and everything that it needs. That
// it is built in, or loaded already, is success; so is a kernel without an
// index, whose drivers are all built in.
func (l *Loader) Load(name string) error { return l.LoadWith(name, "") }

// LoadWith is Load with parameters for the module itself, behind those that
// modprobe.d and the command line have for it. One that is in the kernel
// already keeps those that it has.
func (l *Loader) LoadWith(name, params string) error {
	if l.index == nil {
		return nil
	}
	names := l.index.Resolve(name)
	if len(names) == 0 {
		return fmt.Errorf("module %q is not among this kernel's modules", name)
	}
	order, err := l.index.LoadOrder(names[0])
	if err != nil {
		return err
	}
	wanted := kmod.CanonicalName(names[0])
	if install, ok := l.config.InstallOf(wanted); ok && install.Understood && !slices.Contains(install.Loads, wanted) {
		l.log().Info("a module is kept out, or replaced, by modprobe.d", "module", wanted, "install", install.Line)
	}
	for _, m := range order {
		own := l.config.Options(m.Name)
		if m.Name == wanted {
			own = strings.TrimSpace(own + " " + params)
		}
		if err := l.insert(m, own); err != nil {
			// What is only wished for (a soft dependency) must not stop what
			// was asked for; what is needed will be missed by the kernel.
			if m.Name == wanted {
				return err
			}
			l.log().Debug("a module did not load", "module", m.Name, "for", name, "error", err)
		}
	}
	return nil
}

// LoadEarly loads what the initramfs lists to be loaded beside the drivers:
// what will be needed later and takes its time.
func (l *Loader) LoadEarly() {
	list, err := os.ReadFile(filepath.Join(l.root(), kmod.EarlyList))
	if err != nil {
		return // there is none
	}
	for name := range strings.FieldsSeq(string(list)) {
		if err := l.Load(name); err != nil {
			l.log().Debug("an early module did not load", "module", name, "error", err)
		}
	}
}

// root is that of the file system that the modules are in.
func (l *Loader) root() string { return filepath.Join(l.dir, "../../..") }

// insert loads m unless that was tried before; who comes while another is at
// it waits. Different modules load side by side: some take a second.
func (l *Loader) insert(m kmod.Module, params string) error {
	l.mu.Lock()
	t, ok := l.tried[m.Name]
	if !ok {
		t = &attempt{done: make(chan struct{})}
		l.tried[m.Name] = t
	}
	l.mu.Unlock()
	if ok {
		<-t.done
		return t.err
	}
	defer close(t.done)
	insert := l.Insert
	if insert == nil {
		insert = Insert
	}
	err := insert(filepath.Join(l.dir, m.Path), params)
	switch {
	case err == nil:
		l.mu.Lock()
		l.loaded++
		if install, ok := l.config.InstallOf(m.Name); ok && !install.Understood {
			l.undone = append(l.undone, m.Name)
		}
		l.mu.Unlock()
		l.log().Debug("module loaded", "module", m.Name)
	case !errors.Is(err, unix.EEXIST):
		t.err = fmt.Errorf("loading module %s: %w", m.Name, err)
	}
	return t.err
}

func (l *Loader) log() *slog.Logger {
	if l.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l.Log
}

// Insert loads one module file with finit_module(2). A compressed file is
// left to the kernel to decompress, which not every kernel can.
func Insert(path, params string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	flags := 0
	if filepath.Ext(path) != ".ko" {
		flags = unix.MODULE_INIT_COMPRESSED_FILE
	}
	return unix.FinitModule(int(f.Fd()), params, flags)
}

// Follower loads drivers of devices that turn up.
type Follower struct {
	loader *Loader
	socket *socket
}

// Listen subscribes to the kernel's uevents. Called before Coldplug it leaves
// no gap: drivers that coldplug loads bring up devices of their own.
func (l *Loader) Listen() (*Follower, error) {
	s, err := openSocket()
	if err != nil {
		return nil, err
	}
	return &Follower{loader: l, socket: s}, nil
}

// Run loads drivers until ctx is done.
func (f *Follower) Run(ctx context.Context) error {
	defer f.socket.close()
	for {
		u, err := f.socket.next(ctx)
		switch {
		case errors.Is(err, errOverrun):
			// What was lost is still in sysfs.
			if _, err := f.loader.Coldplug(ctx); err != nil {
				return err
			}
		case err != nil:
			return err
		case u.Action == "add" && u.Modalias != "":
			f.loader.Alias(u.Modalias)
		}
	}
}
