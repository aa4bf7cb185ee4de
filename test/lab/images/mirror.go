package images

import (
	"bufio"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// hostMirror returns the Debian archive that the host's own apt uses, or ""
// when the host is not Debian or its sources name none: debootstrap then uses
// its default. root is the host's "/".
func hostMirror(root fs.FS) string {
	release := osRelease(root)
	if release["ID"] != "debian" {
		return "" // the host's archive holds another distribution
	}
	suites := []string{release["VERSION_CODENAME"], "stable", "oldstable", "testing", "unstable", "sid"}
	files := []string{"etc/apt/sources.list"}
	for _, pattern := range []string{"etc/apt/sources.list.d/*.list", "etc/apt/sources.list.d/*.sources"} {
		more, _ := fs.Glob(root, pattern) // the only error is a bad pattern
		files = append(files, more...)
	}
	for _, name := range files {
		data, err := fs.ReadFile(root, name)
		if err != nil {
			continue // absent or unreadable: others may serve
		}
		sources := oneLineSources(string(data))
		// apt goes by the name; so a deb822 body in sources.list is as invalid here as
		// there.
		if path.Ext(name) == ".sources" {
			sources = deb822Sources(string(data))
		}
		for _, s := range sources {
			if slices.Contains(s.components, "main") && slices.ContainsFunc(s.suites, func(x string) bool { return slices.Contains(suites, x) }) {
				for _, uri := range s.uris {
					if scheme, _, _ := strings.Cut(uri, ":"); slices.Contains([]string{"http", "https", "file"}, scheme) {
						return uri
					}
				}
			}
		}
	}
	return ""
}

// aptSource is one entry of sources.list(5).
type aptSource struct{ uris, suites, components []string }

func oneLineSources(text string) []aptSource {
	var sources []aptSource
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "deb ")
		if !ok {
			continue
		}
		if options := strings.TrimSpace(rest); strings.HasPrefix(options, "[") {
			_, rest, _ = strings.Cut(options, "]")
		}
		if f := strings.Fields(rest); len(f) >= 3 {
			sources = append(sources, aptSource{f[:1], f[1:2], f[2:]})
		}
	}
	return sources
}

func deb822Sources(text string) []aptSource {
	var sources []aptSource
	field := make(map[string]string)
	name := ""
	flush := func() {
		enabled := !slices.Contains([]string{"no", "false", "off", "0"}, strings.ToLower(field["enabled"]))
		if enabled && slices.Contains(strings.Fields(field["types"]), "deb") {
			sources = append(sources, aptSource{strings.Fields(field["uris"]), strings.Fields(field["suites"]), strings.Fields(field["components"])})
		}
		clear(field)
		name = ""
	}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.TrimSpace(line) == "":
			flush()
		case line[0] == ' ' || line[0] == '\t':
			field[name] += " " + strings.TrimSpace(line)
		default:
			key, value, _ := strings.Cut(line, ":")
			name = strings.ToLower(key)
			field[name] = strings.TrimSpace(value)
		}
	}
	flush()
	return sources
}

// osRelease reads os-release(5).
func osRelease(root fs.FS) map[string]string {
	values := make(map[string]string)
	data, err := fs.ReadFile(root, "etc/os-release")
	if err != nil {
		return values
	}
	for line := range strings.Lines(string(data)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			values[key] = strings.Trim(value, `"'`)
		}
	}
	return values
}
