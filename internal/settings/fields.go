package settings

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/disk/diskrule"
)

// Fields are the settings, in the order in which people see them.
var Fields = fieldsOf(reflect.TypeFor[Settings]())

// checks are what is to be checked of a text besides its tags.
var checks = map[string]func(text string) error{
	"disk": func(text string) error {
		if _, err := diskrule.Parse(text); err != nil {
			return &InvalidError{err.Error(), "a disk rule looks like serial=S4EW, transport=nvme,smallest or size>=100G"}
		}
		return nil
	},
}

// Kinds of a Field, by what its value is.
const (
	Text   = "text"   // a string
	Choice = "choice" // a string, one of Field.Allowed
	List   = "list"   // of strings
	Switch = "switch" // a bool
	Other  = "other"  // a struct that has flags of its own
)

// Field is one setting: all that anybody needs to know of it.
type Field struct {
	Name      string // on the wire and in files: "readBack"
	Flag      string // "read-back"
	Title     string // "Read back"
	Doc       string
	Arg       string // word of Doc that stands for the value
	Unset     string // what holds where nobody says it; empty: nothing to tell
	Kind      string
	Allowed   []string // of a Choice
	MaxLength int      // bytes of a Text; 0: not bounded here
	index     []int
}

// Named is the field of a name on the wire; nil: there is none.
func Named(name string) *Field {
	i := slices.IndexFunc(Fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return nil
	}
	return &Fields[i]
}

func fieldsOf(t reflect.Type) []Field {
	var all []Field
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue // embedded: its own fields follow
		}
		flag := flagOf(name)
		title := strings.ReplaceAll(flag, "-", " ")
		x := Field{
			Name: name, Flag: flag, Title: strings.ToUpper(title[:1]) + title[1:], index: f.Index,
			Doc: f.Tag.Get("doc"), Arg: f.Tag.Get("arg"), Unset: f.Tag.Get("unset"),
		}
		x.MaxLength, _ = strconv.Atoi(f.Tag.Get("maxLength"))
		switch enum := f.Tag.Get("enum"); {
		case enum != "":
			x.Kind, x.Allowed = Choice, strings.Split(strings.TrimPrefix(enum, ","), ",")
		case f.Type.Kind() == reflect.String:
			x.Kind = Text
		case f.Type.Kind() == reflect.Slice:
			x.Kind = List
		case f.Type.Kind() == reflect.Bool:
			x.Kind = Switch
		default:
			x.Kind = Other
		}
		all = append(all, x)
	}
	return all
}

// flagOf spells a name of the wire as flags are spelled.
func flagOf(name string) string {
	var b strings.Builder
	for _, c := range name {
		if c >= 'A' && c <= 'Z' {
			b.WriteByte('-')
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// Usage is the help of the flag, with the value's word in backquotes.
func (f *Field) Usage() string {
	text := f.Doc
	if f.Arg != "" {
		text = strings.Replace(text, f.Arg, "`"+f.Arg+"`", 1)
	}
	if n := len(f.Allowed); n > 0 {
		text += ": " + strings.Join(f.Allowed[:n-1], ", ") + " or " + f.Allowed[n-1]
	}
	return text
}

// In points to the setting in s: *string, *[]string, *bool, or a pointer to
// what an Other is.
func (f *Field) In(s *Settings) any { return f.value(s).Addr().Interface() }

func (f *Field) value(s any) reflect.Value { return reflect.ValueOf(s).Elem().FieldByIndex(f.index) }

// Said reports whether s says it. An empty list, which JSON may carry, says
// nothing.
func (f *Field) Said(s *Settings) bool { return said(f.value(s)) }

func said(v reflect.Value) bool {
	return !v.IsZero() && (v.Kind() != reflect.Slice || v.Len() > 0)
}

// Equal reports whether a and b say the same.
func (f *Field) Equal(a, b *Settings) bool {
	return reflect.DeepEqual(f.value(a).Interface(), f.value(b).Interface())
}

// Copy takes what from says over into to.
func (f *Field) Copy(to, from *Settings) { f.value(to).Set(f.value(from)) }

// Strings is what s says, for people; none: nothing.
func (f *Field) Strings(s *Settings) []string {
	v := f.value(s)
	if !said(v) {
		return nil
	}
	switch x := v.Interface().(type) {
	case []string:
		return x
	case fmt.Stringer:
		return []string{x.String()}
	}
	return []string{fmt.Sprint(v.Interface())}
}

// String is what s says in a form in which what differs looks different; empty:
// nothing. An entry of a list, such as a partition's label, may hold a comma or
// blank.
func (f *Field) String(s *Settings) string {
	all := f.Strings(s)
	if f.Kind == List && len(all) > 0 {
		return fmt.Sprintf("%q", all)
	}
	return strings.Join(all, "")
}

// Parse sets it from the text of a form: a list has commas, a switch is on
// when there is any text. Of an Other there is no text.
func (f *Field) Parse(s *Settings, text string) {
	switch to := f.In(s).(type) {
	case *string:
		if *to = text; f.Kind == Text {
			*to = strings.TrimSpace(text)
		}
	case *bool:
		*to = text != ""
	case *[]string:
		for part := range strings.SplitSeq(text, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*to = append(*to, part)
			}
		}
	}
}

// Check checks what s says. Errors are *InvalidError.
func Check(s *Settings) error {
	for i := range Fields {
		f := &Fields[i]
		if !f.Said(s) {
			continue
		}
		switch to := f.In(s).(type) {
		case *string:
			if len(f.Allowed) > 0 && !slices.Contains(f.Allowed, *to) {
				return &InvalidError{
					fmt.Sprintf("%s: unknown value %.40q: want one of %s", f.Name, *to, strings.Join(f.Allowed, ", ")), "leave it out for the default",
				}
			}
			if check := checks[f.Name]; check != nil {
				if err := check(*to); err != nil {
					return err
				}
			}
		default:
			if c, ok := f.value(s).Interface().(interface{ Check() error }); ok {
				if err := c.Check(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
