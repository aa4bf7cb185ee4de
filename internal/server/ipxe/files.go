package ipxe

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DefaultDirs are the places where distributions install iPXE: Debian and
// Ubuntu, then Fedora and its kin.
func DefaultDirs() []string {
	return []string{"/usr/lib/ipxe", "/usr/share/ipxe", "/boot"}
}

// spellings maps each canonical name to the names that distributions give the
// same program. Debian has ipxe.efi and, until 2024, no snponly.efi; Fedora
// names the architecture.
func spellings() map[string][]string {
	return map[string][]string{
		canonicalBIOS:       {"undionly.kpxe"},
		"snponly.efi":       {"snponly.efi", "ipxe-snponly-x86_64.efi", "x86_64-efi/snponly.efi"},
		"ipxe.efi":          {"ipxe.efi", "ipxe-x86_64.efi", "x86_64-efi/ipxe.efi"},
		"snponly-arm64.efi": {"snponly-arm64.efi", "arm64-efi/snponly.efi"},
		"ipxe-arm64.efi":    {"ipxe-arm64.efi", "arm64-efi/ipxe.efi"},
	}
}

// Files is a set of iPXE programs found on this machine. It maps canonical
// names, the only ones that are served, to paths; a name from the wire is
// looked up here and never joined to a path.
type Files struct {
	paths map[string]string
}

// MissingError says that iPXE, or the build of it that a machine needs, is not
// installed.
type MissingError struct {
	Names []string // any of these would do
	Dirs  []string // places that were searched, when the search was for anything at all
}

func (e *MissingError) Error() string {
	where := ""
	if len(e.Dirs) > 0 {
		where = " in " + strings.Join(e.Dirs, ", ")
	}
	return fmt.Sprintf("no iPXE boot file (%s)%s: apt-get install ipxe", strings.Join(e.Names, ", "), where)
}

// Find looks for the distribution's iPXE programs in dirs, or in [DefaultDirs]
// when none are given. The first directory that has a program wins. It fails
// with a [*MissingError] only when there is none at all: which architectures
// can be booted is asked per machine by [Files.NBP].
func Find(dirs ...string) (Files, error) {
	if len(dirs) == 0 {
		dirs = DefaultDirs()
	}
	f := Files{paths: map[string]string{}}
	names := spellings()
	for _, dir := range dirs {
		for canonical, spelled := range names {
			if _, have := f.paths[canonical]; have {
				continue
			}
			for _, s := range spelled {
				path := filepath.Join(dir, s)
				if st, err := os.Stat(path); err == nil && st.Mode().IsRegular() && st.Size() > 0 {
					f.paths[canonical] = path
					break
				}
			}
		}
	}
	if len(f.paths) == 0 {
		return f, &MissingError{Names: slices.Sorted(maps.Keys(names)), Dirs: dirs}
	}
	return f, nil
}

// NBP names the network boot program for an architecture among the files found:
// an [*UnsupportedError] when there can be none, a [*MissingError] when it is
// not installed.
func (f Files) NBP(a Arch) (string, error) {
	names, err := Candidates(a)
	if err != nil {
		return "", err
	}
	for _, n := range names {
		if _, ok := f.paths[n]; ok {
			return n, nil
		}
	}
	return "", &MissingError{Names: names}
}

// Path gives the place of a program by its canonical name.
func (f Files) Path(name string) (string, bool) {
	p, ok := f.paths[name]
	return p, ok
}

// Names lists the canonical names of the programs found, sorted.
func (f Files) Names() []string {
	return slices.Sorted(maps.Keys(f.paths))
}
