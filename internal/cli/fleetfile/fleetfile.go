// Package fleetfile reads the files that describe a fleet.
//
// They hold machines, groups, identities and images:
//
//	machines:
//	  - name: web-1
//	    macs: 52:54:00:12:34:56
//	    labels: {rack: b7}
//	groups:
//	  - name: web
//	    selector: rack=b7
//	    flash: {image: web, identity: node}
//	identities:
//	  node:
//	    authorizedKeys: {root: !file ops.pub}
//	images:
//	  web: sha256:...
//
// Several files, and several documents in one, add up. The keys are those of
// api.Fleet in JSON. A text with the tag !file is the content of that file,
// whose path is relative to the one that names it, and which lies below the
// directory that is read: see [Loader].
package fleetfile

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/strictyaml"
)

// Source is one file.
type Source struct {
	Name string
	Text []byte
}

// Fleet is what files say, and where.
type Fleet struct {
	api.Fleet
	// Files were read because a text names them with !file, sorted.
	Files   []string
	decoder *strictyaml.Decoder
}

// At returns the place of a value by its path in JSON, such as
// machines[3].labels: "fleet.yaml:12:5"; empty: no file says it.
func (f *Fleet) At(path string) string {
	if at, ok := f.decoder.At(path); ok {
		return at.String()
	}
	return ""
}

// Loader reads fleet files.
type Loader struct {
	// FilesFrom is the directory that paths of !file are relative to, and lie
	// in; empty: they are relative to the file that names them, and lie in the
	// directory that is read, or in that of the file that is.
	FilesFrom string
}

// Load reads with the zero Loader.
func Load(paths []string, stdin io.Reader) (*Fleet, error) { return Loader{}.Load(paths, stdin) }

// Load reads a file, all *.yaml and *.yml of a directory in the order of their
// names, or stdin when the path is "-". Standard input lies in the working
// directory.
func (l Loader) Load(paths []string, stdin io.Reader) (*Fleet, error) {
	named := &beside{from: l.FilesFrom, below: map[string]string{"-": "."}}
	var sources []Source
	for _, path := range paths {
		if path == "-" {
			text, err := io.ReadAll(io.LimitReader(stdin, strictyaml.MaxSize+1))
			if err != nil {
				return nil, fmt.Errorf("reading standard input: %w", err)
			}
			sources = append(sources, Source{"-", text})
			continue
		}
		names, dir, err := filesOf(path)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			text, err := readText(name)
			if err != nil {
				return nil, err
			}
			sources = append(sources, Source{name, text})
			named.below[name] = dir
		}
	}
	f, err := Decode(sources, named.open)
	if err == nil {
		f.Files = named.files()
	}
	return f, err
}

// filesOf lists the files that a path of -f means, and the directory that what
// they name lies in.
func filesOf(path string) (names []string, dir string, err error) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() {
		return []string{path}, filepath.Dir(path), err
	}
	entries, err := os.ReadDir(path) // sorted
	if err != nil {
		return nil, "", err
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); !e.IsDir() && (ext == ".yaml" || ext == ".yml") && e.Name()[0] != '.' {
			names = append(names, filepath.Join(path, e.Name()))
		}
	}
	if len(names) == 0 {
		return nil, "", fmt.Errorf("directory %s holds no .yaml file", path)
	}
	return names, path, nil
}

// readText reads a file up to strictyaml.MaxSize; a longer one, and what has no
// end, is refused.
func readText(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.IsDir() {
		return nil, cmp.Or(err, fmt.Errorf("%s is a directory", name))
	}
	return readAll(f, name)
}

// Decode reads sources. Errors are joined *strictyaml.Error. What the words
// mean, and whether they fit together, the server says.
func Decode(sources []Source, open func(from, name string) ([]byte, error)) (*Fleet, error) {
	f := &Fleet{decoder: &strictyaml.Decoder{Open: open}}
	// By what has a name: to say what stands there twice.
	first := map[string]string{}
	for _, s := range sources {
		docs := f.decoder.Documents(s.Name, s.Text)
		if len(docs) == 0 && f.decoder.Err() == nil {
			return nil, errors.New(s.Name + " says nothing")
		}
		for _, doc := range docs {
			f.document(doc, first)
		}
	}
	if err := f.decoder.Err(); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *Fleet) document(doc strictyaml.Value, first map[string]string) {
	d := f.decoder
	known := []string{"machines", "groups", "identities", "images"}
	for _, e := range d.Entries(doc) {
		switch e.Key {
		case "machines":
			for _, v := range d.Items(e.Value, len(f.Machines)) {
				var m api.Spec
				d.Into(v, &m)
				f.Machines = append(f.Machines, m)
			}
		case "groups":
			for _, v := range d.Items(e.Value, len(f.Groups)) {
				var g api.Group
				d.Into(v, &g)
				f.Groups = append(f.Groups, g)
			}
		case "identities":
			f.Identities = named(d, e.Value, f.Identities, first)
		case "images":
			f.Images = named(d, e.Value, f.Images, first)
		default:
			d.Unknown(e, slices.Clone(known))
		}
	}
}

// named adds what has its name as its key. A name may stand in one file only.
func named[T any](d *strictyaml.Decoder, from strictyaml.Value, into map[string]T, first map[string]string) map[string]T {
	if into == nil {
		into = map[string]T{}
	}
	for _, e := range d.Entries(from) {
		if at, twice := first[e.Value.Path]; twice {
			d.Fail(e.Value, "is said in %s already", at)
			continue
		}
		var v T
		d.Into(e.Value, &v)
		into[e.Key] = v
		at, _ := d.At(e.Value.Path)
		first[e.Value.Path] = at.String()
	}
	return into
}
