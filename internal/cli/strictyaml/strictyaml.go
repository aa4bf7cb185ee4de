// Package strictyaml reads YAML into Go values without guessing.
//
// Unknown and repeated keys, wrong types, aliases and empty values are errors,
// all of them reported at once, each with file, line and column.
//
// Text is what stands in the file. YAML 1.1 would read the serial 0123 as a
// number, the MAC 52:54:00:12:34:56 as seconds and the label no as false;
// where a text is wanted, it is taken as it was written.
package strictyaml

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxSize bounds a file in bytes.
const MaxSize = 16 << 20

// maxErrors is as many errors as a person reads.
const maxErrors = 50

// Place is where a value stands; lines and columns count from 1.
type Place struct {
	File         string
	Line, Column int // 0: not known
}

func (p Place) String() string {
	s := p.File
	for _, n := range []int{p.Line, p.Column} {
		if n > 0 {
			s += ":" + strconv.Itoa(n)
		}
	}
	return s
}

// Error is one thing that is wrong with a file.
type Error struct {
	Place Place
	Path  string // of the value: "machines[3].labels"; empty: the file as a whole
	What  string
	file  int // which of the files, for the order
}

func (e *Error) Error() string {
	if e.Path == "" {
		return e.Place.String() + ": " + e.What
	}
	return e.Place.String() + ": " + e.Path + ": " + e.What
}

// Decoder reads one or more files and gathers what is wrong with them.
type Decoder struct {
	// Open reads the file that a text with the tag !file stands for; from is
	// the file that names it. nil: there is no such tag.
	Open func(from, name string) ([]byte, error)

	file   string
	files  int
	errs   []*Error
	places map[string]Place
}

// Value is one value of a file, with the path to it.
type Value struct {
	Path string
	node *yaml.Node
}

// Entry is one key of a mapping.
type Entry struct {
	Key   string
	Value Value
	key   *yaml.Node
}

// yamlLine finds the line in an error of the parser, which has no type.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// Documents parses a file. Its documents that hold nothing are left out.
func (d *Decoder) Documents(file string, text []byte) []Value {
	d.file = file
	d.files++
	if len(text) > MaxSize {
		d.add(&Error{Place: Place{File: file}, What: fmt.Sprintf("more than %d bytes", MaxSize)})
		return nil
	}
	if !utf8.Valid(text) {
		d.add(&Error{Place: Place{File: file}, What: "not UTF-8"})
		return nil
	}
	var out []Value
	for dec := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			m := yamlLine.FindStringSubmatch(err.Error())
			at := Place{File: file}
			what := err.Error()
			if m != nil {
				at.Line, _ = strconv.Atoi(m[1])
				what = strings.TrimPrefix(what, m[0])
			}
			d.add(&Error{Place: at, What: what})
			return nil // what came before the fault may be the half of something
		}
		if len(doc.Content) == 1 && !isNull(doc.Content[0]) {
			out = append(out, Value{node: doc.Content[0]})
		}
	}
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// Check notes what err says of a value, if anything.
func (d *Decoder) Check(v Value, err error) {
	if err != nil {
		d.Fail(v, "%v", err)
	}
}

// Fail notes that something is wrong with a value.
func (d *Decoder) Fail(v Value, format string, args ...any) {
	d.fail(v.node, v.Path, format, args...)
}

func (d *Decoder) fail(n *yaml.Node, path, format string, args ...any) {
	d.add(&Error{Place: Place{d.file, n.Line, n.Column}, Path: path, What: fmt.Sprintf(format, args...)})
}

func (d *Decoder) add(e *Error) {
	e.file = d.files
	d.errs = append(d.errs, e)
}

// Err returns everything that is wrong, joined, in the order of the files; nil
// when all is well.
func (d *Decoder) Err() error {
	slices.SortStableFunc(d.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.file, b.file), cmp.Compare(a.Place.Line, b.Place.Line), cmp.Compare(a.Place.Column, b.Place.Column))
	})
	var errs []error
	for _, e := range d.errs[:min(len(d.errs), maxErrors)] {
		errs = append(errs, e)
	}
	if more := len(d.errs) - maxErrors; more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", more))
	}
	return errors.Join(errs...)
}

// At returns the place of a path, or of the innermost value around it that
// was read; false: of none.
func (d *Decoder) At(path string) (Place, bool) {
	for {
		if at, ok := d.places[path]; ok {
			return at, true
		}
		i := strings.LastIndexAny(path, ".[")
		if i < 0 {
			return Place{}, false
		}
		path = path[:i]
	}
}

// Entries reads a mapping, whose keys are texts that stand there once.
func (d *Decoder) Entries(v Value) []Entry {
	n := v.node
	if !d.kind(v, yaml.MappingNode) {
		return nil
	}
	var out []Entry
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode || key.Anchor != "" {
			d.fail(key, v.Path, "a key must be a plain text")
			continue
		}
		if line, twice := first[key.Value]; twice {
			d.fail(key, join(v.Path, key.Value), "stands there twice, first in line %d", line)
			continue
		}
		first[key.Value] = key.Line
		out = append(out, Entry{key.Value, Value{join(v.Path, key.Value), value}, key})
	}
	return out
}

// Unknown notes that nothing is known under a key, and what may be meant.
func (d *Decoder) Unknown(e Entry, known []string) {
	if near := nearest(e.Key, known); near != "" {
		d.fail(e.key, e.Value.Path, "unknown key; is %s meant?", near)
		return
	}
	slices.Sort(known)
	d.fail(e.key, e.Value.Path, "unknown key; there are %s", strings.Join(known, ", "))
}

// Items reads a sequence. Its paths count from base.
func (d *Decoder) Items(v Value, base int) []Value {
	if !d.kind(v, yaml.SequenceNode) {
		return nil
	}
	var out []Value
	for i, n := range v.node.Content {
		out = append(out, Value{fmt.Sprintf("%s[%d]", v.Path, base+i), n})
	}
	return out
}

// kind checks what a value is, and notes where it stands.
func (d *Decoder) kind(v Value, want yaml.Kind) bool {
	n := v.node
	if d.places == nil {
		d.places = map[string]Place{}
	}
	d.places[v.Path] = Place{d.file, n.Line, n.Column}
	names := map[yaml.Kind]string{yaml.MappingNode: "keys and values", yaml.SequenceNode: "a list", yaml.ScalarNode: "one value"}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		// One line can stand for a billion with them.
		d.Fail(v, "anchors and aliases are not read: write it out")
	case isNull(n):
		d.Fail(v, `is empty; leave the key out, or write "" for an empty text`)
	case n.Kind != want:
		d.Fail(v, "want %s, not %s", names[want], names[n.Kind])
	default:
		return true
	}
	return false
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// nearest returns the known key that differs by two letters at most.
func nearest(key string, known []string) string {
	best, at := 3, ""
	for _, k := range known {
		if strings.EqualFold(k, key) {
			return k
		}
		if n := distance(key, k); n < best && n < len(k) {
			best, at = n, k
		}
	}
	return at
}

// distance is the number of letters to insert, remove or replace (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		left := row[0]
		row[0] = i + 1
		for j := range len(b) {
			above := row[j+1]
			same := left
			if a[i] != b[j] {
				same++
			}
			row[j+1] = min(above+1, row[j]+1, same)
			left = above
		}
	}
	return row[len(b)]
}
