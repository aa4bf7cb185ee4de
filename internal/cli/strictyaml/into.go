package strictyaml

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Into reads a value into what v points to: texts, whole numbers, true and
// false, lists, maps by text, and structs whose keys are their json names. One
// text where a list of texts is wanted is a list of one.
func (d *Decoder) Into(from Value, v any) { d.into(from, reflect.ValueOf(v).Elem()) }

func (d *Decoder) into(from Value, to reflect.Value) {
	switch to.Kind() {
	case reflect.Pointer:
		to.Set(reflect.New(to.Type().Elem()))
		d.into(from, to.Elem())
	case reflect.Struct:
		d.object(from, to)
	case reflect.Map:
		d.table(from, to)
	case reflect.Slice:
		d.list(from, to)
	case reflect.String:
		if text, ok := d.Text(from); ok {
			to.SetString(text)
		}
	case reflect.Int, reflect.Int64:
		d.number(from, to)
	case reflect.Bool:
		d.truth(from, to)
	default:
		d.Fail(from, "cannot be set here")
	}
}

func (d *Decoder) object(from Value, to reflect.Value) {
	fields := map[string]reflect.Value{}
	collect(to, fields)
	for _, e := range d.Entries(from) {
		if field, ok := fields[e.Key]; ok && e.Key != "" {
			d.into(e.Value, field)
		} else {
			d.Unknown(e, slices.Collect(maps.Keys(fields)))
		}
	}
}

// collect gathers a struct's fields by name, with those of the structs embedded
// in it, as encoding/json has them.
func collect(to reflect.Value, fields map[string]reflect.Value) {
	for i := range to.NumField() {
		field := to.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && name == "" {
			collect(to.Field(i), fields)
			continue
		}
		fields[name] = to.Field(i)
	}
}

func (d *Decoder) table(from Value, to reflect.Value) {
	to.Set(reflect.MakeMap(to.Type()))
	for _, e := range d.Entries(from) {
		v := reflect.New(to.Type().Elem()).Elem()
		d.into(e.Value, v)
		to.SetMapIndex(reflect.ValueOf(e.Key), v)
	}
}

func (d *Decoder) list(from Value, to reflect.Value) {
	if from.node.Kind == yaml.ScalarNode && to.Type().Elem().Kind() == reflect.String {
		text, ok := d.Text(from)
		lines := []string{text}
		if from.node.Tag == tagFile {
			lines = entriesOf(text)
		}
		if ok {
			to.Set(reflect.ValueOf(lines))
		}
		return
	}
	items := d.Items(from, 0)
	to.Set(reflect.MakeSlice(to.Type(), len(items), len(items)))
	for i, item := range items {
		d.into(item, to.Index(i))
	}
}

// entriesOf is what a file says of a list: its lines, without empty ones and
// comments.
func entriesOf(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			out = append(out, line)
		}
	}
	return out
}

// tagFile marks the name of a file whose content is meant.
const tagFile = "!file"

// Text reads a text as it stands in the file, or the file that it names.
func (d *Decoder) Text(from Value) (string, bool) {
	if !d.kind(from, yaml.ScalarNode) {
		return "", false
	}
	n := from.node
	switch {
	case n.Tag == tagFile && d.Open != nil:
		content, err := d.Open(d.file, n.Value)
		if err == nil && bytes.ContainsRune(content, 0) {
			d.Fail(from, "%s is no text", n.Value)
			return "", false
		}
		if err != nil {
			d.Fail(from, "%v", err)
			return "", false
		}
		return string(content), true
	case strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!"), n.Tag == "!!binary":
		d.Fail(from, "the tag %s is not known", n.Tag)
		return "", false
	}
	return n.Value, true
}

func (d *Decoder) number(from Value, to reflect.Value) {
	text, ok := d.Text(from)
	if !ok {
		return
	}
	n, err := strconv.ParseInt(text, 10, 64)
	// 0123 is 83 to some readers of YAML and 123 to others.
	if err != nil || text != strconv.FormatInt(n, 10) || to.OverflowInt(n) {
		d.Fail(from, "%.40q is not a whole number", text)
		return
	}
	to.SetInt(n)
}

func (d *Decoder) truth(from Value, to reflect.Value) {
	switch text, ok := d.Text(from); {
	case !ok:
	case text == "true" || text == "false":
		to.SetBool(text == "true")
	default:
		d.Fail(from, "%.40q is neither true nor false", text)
	}
}
