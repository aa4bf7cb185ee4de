package kmod

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// ConfigFile is the file of an initramfs, without a leading slash, that has the
// modprobe.d(5) of the image.
const ConfigFile = "lib/modprobe.d/image.conf"

// configDirs are where modprobe.d(5) lies; a name in an earlier one hides the
// same name in a later.
var configDirs = []string{"etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"}

// maxConfigFiles bounds how many files of modprobe.d are read; a distribution
// has some 20.
const maxConfigFiles = 1000

// Config is what modprobe.d(5) and the kernel's command line say about loading
// modules.
type Config struct {
	options   map[string][]string
	blacklist map[string]bool
	aliases   []Alias
	softdeps  []Softdep
	install   map[string]Install
}

// Install is the command that modprobe runs in the place of loading a module.
type Install struct {
	Line string // as it was written
	// Loads are the modules that it loads, in order, where that is all it does;
	// Module itself among them unless it is never loaded. Not Understood, it does
	// more, which nobody does who only loads modules.
	Loads      []string
	Understood bool
}

// LoadConfig reads modprobe.d out of root, the file system of an installed
// Linux. What cannot be read, or is of no known form, is passed over and told:
// modprobe warns and continues as well.
func LoadConfig(root fs.FS) (c *Config, odd []error) {
	c = &Config{}
	files := map[string]string{} // by name
	for _, dir := range configDirs {
		list, err := fs.ReadDir(root, dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				odd = append(odd, fmt.Errorf("read /%s: %w", dir, err))
			}
			continue
		}
		for _, e := range list {
			if _, hidden := files[e.Name()]; !hidden && path.Ext(e.Name()) == ".conf" && len(files) < maxConfigFiles {
				files[e.Name()] = path.Join(dir, e.Name())
			}
		}
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text, err := readBounded(root, files[name])
		if target, _ := fs.ReadLink(root, files[name]); target == "/dev/null" { // so is a file of the distribution hidden
			continue
		}
		if err != nil {
			odd = append(odd, fmt.Errorf("read modprobe.d: %w", err))
			continue
		}
		c.Parse(text)
	}
	if text, err := readBounded(root, debianModules); err == nil {
		c.parseDebian(text)
	} else if !errors.Is(err, fs.ErrNotExist) {
		odd = append(odd, fmt.Errorf("read /%s: %w", debianModules, err))
	}
	return c, odd
}

// debianModules are what Debian's initrd loads first, a module a line with its
// parameters (initramfs-tools(7)): they come behind those of modprobe.d, as on
// a command line of modprobe.
const debianModules = "etc/initramfs-tools/modules"

func (c *Config) parseDebian(text []byte) {
	for _, line := range lines(text) {
		name, params, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
		params, _, _ = strings.Cut(params, "#")
		if params = strings.TrimSpace(params); params != "" && len(line) <= maxConfigLine {
			c.AddOption(name, params)
		}
	}
}

// Parse adds the lines of one file of modprobe.d. Lines of no known form are
// passed over.
func (c *Config) Parse(text []byte) {
	joined := strings.NewReplacer("\\\r\n", "", "\\\n", "").Replace(string(text))
	for _, line := range lines([]byte(joined)) {
		c.line(line)
	}
}

func (c *Config) line(line string) {
	line = strings.TrimRight(line, "\\ \t") // joined to nothing
	command, rest, _ := strings.Cut(strings.ReplaceAll(line, "\t", " "), " ")
	rest = strings.TrimSpace(rest)
	name, rest, more := strings.Cut(rest, " ")
	module := CanonicalName(name)
	rest = strings.TrimSpace(rest)
	if module == "" || len(line) > maxConfigLine {
		return
	}
	switch {
	case command == "blacklist":
		c.Blacklist(module)
	case !more:
	case command == "options":
		c.AddOption(module, rest)
	case command == "alias":
		target, _, _ := strings.Cut(rest, " ")
		c.aliases = append(c.aliases, Alias{Pattern: name, Module: CanonicalName(target)})
	case command == "softdep":
		c.softdeps = append(c.softdeps, ParseSoftdep([]byte("softdep "+name+" "+rest))...)
	case command == "install":
		if c.install == nil {
			c.install = map[string]Install{}
		}
		// The first of several counts, as in modprobe.
		if _, ok := c.install[module]; !ok {
			c.install[module] = parseInstall(module, rest)
		}
	}
}

// maxConfigLine bounds one line, in bytes: parameters of a module go to the
// kernel in one page.
const maxConfigLine = 4096

// Blacklist keeps a module from being loaded for a device; by its name it still
// is.
func (c *Config) Blacklist(module string) {
	if c.blacklist == nil {
		c.blacklist = map[string]bool{}
	}
	c.blacklist[CanonicalName(module)] = true
}

// AddOption adds parameters for a module, "name=value ...", behind those that
// it has: for most the last one counts.
func (c *Config) AddOption(module, params string) {
	if c.options == nil {
		c.options = map[string][]string{}
	}
	module = CanonicalName(module)
	c.options[module] = append(c.options[module], params)
}

// AddWord adds what a word of the kernel's command line, key=value, says: a
// parameter of a module, or modules that no device loads, to modprobe or to the
// initrds of dracut and Debian.
func (c *Config) AddWord(key, value string) {
	switch key {
	case "modprobe.blacklist", "rd.driver.blacklist", "blacklist":
		for module := range strings.SplitSeq(value, ",") {
			if module != "" {
				c.Blacklist(module)
			}
		}
		return
	}
	module, param, ok := strings.Cut(key, ".")
	if !ok || module == "" || param == "" || module == "modprobe" || module == "rd" {
		return
	}
	switch {
	case strings.ContainsAny(value, " \t"):
		param += `="` + value + `"`
	case value != "":
		param += "=" + value
	}
	c.AddOption(module, param)
}

// Options are the parameters for a module, as finit_module(2) takes them.
func (c *Config) Options(module string) string {
	return strings.Join(c.options[CanonicalName(module)], " ")
}

// Blacklisted reports whether a module is not to be loaded for a device.
func (c *Config) Blacklisted(module string) bool { return c.blacklist[CanonicalName(module)] }

// InstallOf returns the command in the place of loading a module.
func (c *Config) InstallOf(module string) (Install, bool) {
	i, ok := c.install[CanonicalName(module)]
	return i, ok
}

// resolve finds the modules that the configuration itself has for an alias;
// they hide those of depmod. Nil says that it has nothing to say.
func (c *Config) resolve(alias string) []string {
	var names []string
	for _, a := range c.aliases {
		if !Match(a.Pattern, alias) || slices.Contains(names, a.Module) {
			continue
		}
		if names == nil {
			names = []string{}
		}
		if a.Module != "off" { // the word for: nothing
			names = append(names, a.Module)
		}
	}
	return names
}

// Format writes the configuration in the form that [Config.Parse] reads,
// sorted; nothing when there is nothing to say.
func (c *Config) Format() []byte {
	var list []string
	for module := range c.blacklist {
		list = append(list, "blacklist "+module)
	}
	for module, params := range c.options {
		for _, p := range params {
			list = append(list, "options "+module+" "+p)
		}
	}
	for module, i := range c.install {
		list = append(list, "install "+module+" "+i.Line)
	}
	// Equal modules keep the order of their lines.
	slices.SortStableFunc(list, func(a, b string) int {
		return cmp.Compare(strings.Join(strings.Fields(a)[:2], " "), strings.Join(strings.Fields(b)[:2], " "))
	})
	for _, a := range c.aliases {
		list = append(list, "alias "+a.Pattern+" "+a.Module)
	}
	if len(c.softdeps) > 0 {
		list = append(list, strings.TrimSuffix(string(FormatSoftdep(c.softdeps)), "\n"))
	}
	if len(list) == 0 {
		return nil
	}
	return []byte(strings.Join(list, "\n") + "\n")
}

// parseInstall reads a command that does nothing but load modules: calls of
// modprobe, joined by ";" or "&&", with a true or a ":" after "||"; or nothing
// at all, which keeps the module out.
func parseInstall(module, line string) Install {
	i := Install{Line: line}
	text := strings.NewReplacer(";", " ; ", "&&", " ; ", "||", " || ").Replace(line)
	for call := range strings.SplitSeq(text, " ; ") {
		call, otherwise, caught := strings.Cut(call, "||")
		if caught && !isNothing(strings.Fields(otherwise)) {
			return i
		}
		words := strings.Fields(call)
		if len(words) == 0 || isNothing(words) || path.Base(words[0]) == "false" && len(words) == 1 {
			continue
		}
		if path.Base(words[0]) != "modprobe" || strings.ContainsAny(call, "`|<>(){}\\\"'*?&") {
			return i
		}
		name, ignored := "", false
		for _, w := range words[1:] {
			switch {
			case w == "-i" || w == "--ignore-install":
				ignored = true
			case w == "-q", w == "--quiet", w == "-b", w == "--use-blacklist", w == "-s", w == "-v", w == "--verbose", w == "--syslog":
			case w == "$CMDLINE_OPTS", w == "${CMDLINE_OPTS}":
			case strings.HasPrefix(w, "-"), strings.Contains(w, "$"), name != "": // a parameter of its own, for one
				return i
			default:
				name = CanonicalName(w)
			}
		}
		// Without the flag modprobe would run this same command again.
		if name == "" || name == module && !ignored {
			return i
		}
		i.Loads = append(i.Loads, name)
	}
	i.Understood = true
	return i
}

func isNothing(words []string) bool {
	return len(words) == 1 && (path.Base(words[0]) == "true" || words[0] == ":")
}
