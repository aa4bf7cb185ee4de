// Package diskrule says which of a machine's disks an operator means.
//
// A rule is terms joined by commas, all of which must hold:
//
//	serial=S4EWNX0R   wwn=0x5000c500a1b2c3d4   name=nvme0n1   by-path=pci-0000:00:1f.2-ata-1
//	transport=nvme    model~samsung            size>=400G     size<=2TiB     smallest
//
// "=" compares without regard to case, "~" looks for a part. "path" is another
// word for "by-path". Names may be as /dev has them: /dev/disk/by-path/... and
// /dev/sda mean what is behind the last slash. Sizes are bytes
// or have a unit: K, M, G, T are powers of 1000 as on the label of a disk,
// Ki, Mi, Gi, Ti powers of 1024; "size=" allows one percent, because a disk
// sold as 480G has 480,103,981,056 bytes. "smallest" or "largest" picks one
// of those that all other terms leave.
//
// The empty rule means the machine's only disk. Disks that are read-only or
// empty are never meant; removable and USB ones only when a term names the
// disk itself (serial, wwn, name, path, transport), so that a forgotten stick
// is not "smallest".
package diskrule

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/disk"
)

// MaxLength bounds a rule in bytes.
const MaxLength = 512

// Rule is a parsed disk rule. The zero value is the empty rule.
type Rule struct {
	text  string
	terms []term
	pick  string // "smallest", "largest" or empty
}

type term struct {
	key, op, value string
	size           int64 // of key "size", bytes
}

// text is a key whose value is compared as text.
type text struct {
	key   string
	names bool // the disk itself, or what it hangs on; not a kind of disk
	of    func(disk.Disk) string
}

var texts = []text{
	{"serial", true, func(d disk.Disk) string { return d.Serial }},
	{"wwn", true, func(d disk.Disk) string { return d.WWN }},
	{"name", true, func(d disk.Disk) string { return d.Name }},
	{"by-path", true, func(d disk.Disk) string { return d.Path }},
	{"path", true, func(d disk.Disk) string { return d.Path }},
	{"transport", true, func(d disk.Disk) string { return d.Transport }},
	{"model", false, func(d disk.Disk) string { return d.Model }},
}

// Parse reads a rule. Its errors say what would be right.
func Parse(s string) (Rule, error) {
	if len(s) > MaxLength {
		return Rule{}, fmt.Errorf("disk rule of %d bytes, at most %d are allowed", len(s), MaxLength)
	}
	r := Rule{text: strings.TrimSpace(s)}
	if r.text == "" {
		return r, nil
	}
	for part := range strings.SplitSeq(r.text, ",") {
		if err := r.add(strings.TrimSpace(part)); err != nil {
			return Rule{}, fmt.Errorf("disk rule %q: %w", s, err)
		}
	}
	return r, nil
}

func (r *Rule) add(part string) error {
	if part == "smallest" || part == "largest" {
		if r.pick != "" {
			return fmt.Errorf("%q after %q: only one can be picked", part, r.pick)
		}
		r.pick = part
		return nil
	}
	i := strings.IndexAny(part, "=~<>")
	if i < 0 {
		return fmt.Errorf("%q is not a term such as serial=S4EW, size>=400G or smallest", part)
	}
	t := term{key: strings.TrimSpace(part[:i]), op: part[i : i+1]}
	rest := part[i+1:]
	if (t.op == "<" || t.op == ">") && strings.HasPrefix(rest, "=") {
		t.op, rest = t.op+"=", rest[1:]
	}
	t.value = strings.TrimSpace(rest)
	if t.value == "" {
		return fmt.Errorf("%q has no value", part)
	}
	if t.key == "size" {
		if t.op == "~" {
			return fmt.Errorf("%q: a size is compared by =, <, >, <= or >=", part)
		}
		var err error
		t.size, err = parseSize(t.value)
		if err != nil {
			return err
		}
	} else if err := checkText(t); err != nil {
		return err
	} else if t.value = bare(t.key, t.value); t.value == "" {
		return fmt.Errorf("%q has no value", part)
	}
	r.terms = append(r.terms, t)
	return nil
}

// bare takes from a value what only says where it was copied from.
func bare(key, value string) string {
	switch key {
	case "by-path", "path":
		return strings.TrimPrefix(value, "/dev/disk/by-path/")
	case "name":
		return strings.TrimPrefix(value, "/dev/")
	}
	return value
}

func checkText(t term) error {
	if t.op != "=" && t.op != "~" {
		return fmt.Errorf("%q is compared by = or ~, not by %s", t.key, t.op)
	}
	known := make([]string, 0, len(texts)+1)
	for _, k := range texts {
		if k.key == t.key {
			return nil
		}
		known = append(known, k.key)
	}
	return fmt.Errorf("unknown key %q, known are %s, size", t.key, strings.Join(known, ", "))
}

var units = []struct {
	suffix string
	factor float64
}{ // longer suffixes first
	{"kib", 1 << 10},
	{"mib", 1 << 20},
	{"gib", 1 << 30},
	{"tib", 1 << 40},
	{"ki", 1 << 10},
	{"mi", 1 << 20},
	{"gi", 1 << 30},
	{"ti", 1 << 40},
	{"kb", 1e3},
	{"mb", 1e6},
	{"gb", 1e9},
	{"tb", 1e12},
	{"k", 1e3},
	{"m", 1e6},
	{"g", 1e9},
	{"t", 1e12},
	{"b", 1},
	{"", 1},
}

func parseSize(s string) (int64, error) {
	number := strings.ToLower(s)
	for _, u := range units {
		digits, ok := strings.CutSuffix(number, u.suffix)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		// Only plain decimals: ParseFloat also takes "inf", "0x1p4", "1e9".
		if err != nil || strings.Trim(strings.TrimSpace(digits), "0123456789.") != "" || !(f*u.factor > 0 && f*u.factor < math.MaxInt64) {
			break
		}
		return int64(f * u.factor), nil
	}
	return 0, fmt.Errorf("%q is not a size such as 480G, 1.5T or 32GiB", s)
}

// String is the rule as it was written.
func (r Rule) String() string { return r.text }

// Error says that a rule does not mean exactly one disk. Its text has a line of
// its own for each disk that the machine has.
type Error struct {
	Rule    string
	Matches []disk.Disk // none or several
	Seen    []disk.Disk // all disks of the machine
}

func (e *Error) Error() string {
	var b strings.Builder
	rule := "the rule " + strconv.Quote(e.Rule)
	switch {
	case len(e.Seen) == 0:
		return "this machine shows no disk: is a driver missing from the image, or the controller off?"
	case len(e.Matches) > 0 && e.Rule == "":
		fmt.Fprintf(&b, "%d disks and no disk rule: name one, such as --disk serial=...", len(e.Matches))
	case len(e.Matches) > 0:
		fmt.Fprintf(&b, "%s means %d disks", rule, len(e.Matches))
	case e.Rule == "":
		b.WriteString("no disk that may be written without being named")
	default:
		fmt.Fprintf(&b, "%s means no disk", rule)
	}
	b.WriteString("; seen:")
	for i, d := range e.Seen {
		if i > 0 {
			b.WriteByte(';') // for those who show it as one line
		}
		b.WriteString("\n  " + Describe(d))
	}
	return b.String()
}

// Describe says in one line what a person tells disks apart by.
func Describe(d disk.Disk) string {
	words := []string{d.Name, fmt.Sprintf("%.1f GB", float64(d.Size)/1e9)}
	for _, w := range []struct{ label, value string }{
		{"", d.Model},
		{"serial ", d.Serial},
		{"wwn ", d.WWN},
		{"at ", d.Path},
		{"", d.Transport},
	} {
		if w.value != "" {
			words = append(words, w.label+w.value)
		}
	}
	if d.Removable {
		words = append(words, "removable")
	}
	if d.ReadOnly {
		words = append(words, "read-only")
	}
	return strings.Join(words, ", ")
}

// Select returns the one disk that the rule means, or an *Error.
func (r Rule) Select(disks []disk.Disk) (disk.Disk, error) {
	var matches []disk.Disk
	for _, d := range disks {
		if r.eligible(d) && !slices.ContainsFunc(r.terms, func(t term) bool { return !t.holds(d) }) {
			matches = append(matches, d)
		}
	}
	matches = r.extreme(matches)
	if len(matches) != 1 {
		return disk.Disk{}, &Error{Rule: r.text, Matches: matches, Seen: disks}
	}
	return matches[0], nil
}

func (r Rule) eligible(d disk.Disk) bool {
	if d.ReadOnly || d.Size <= 0 {
		return false
	}
	if !d.Removable && d.Transport != "usb" {
		return true
	}
	return slices.ContainsFunc(r.terms, func(t term) bool {
		return slices.ContainsFunc(texts, func(k text) bool { return k.key == t.key && k.names })
	})
}

// extreme keeps the smallest or largest; two of that size stay two.
func (r Rule) extreme(matches []disk.Disk) []disk.Disk {
	if r.pick == "" || len(matches) == 0 {
		return matches
	}
	best := matches[0].Size
	for _, d := range matches {
		if r.pick == "smallest" {
			best = min(best, d.Size)
		} else {
			best = max(best, d.Size)
		}
	}
	return slices.DeleteFunc(matches, func(d disk.Disk) bool { return d.Size != best })
}

func (t term) holds(d disk.Disk) bool {
	if t.key == "size" {
		switch t.op {
		case "<":
			return d.Size < t.size
		case "<=":
			return d.Size <= t.size
		case ">":
			return d.Size > t.size
		case ">=":
			return d.Size >= t.size
		}
		return math.Abs(float64(d.Size)-float64(t.size)) <= float64(t.size)/100
	}
	for _, k := range texts {
		if k.key != t.key {
			continue
		}
		has, want := strings.ToLower(strings.TrimSpace(k.of(d))), strings.ToLower(t.value)
		if t.op == "~" {
			return strings.Contains(has, want)
		}
		return has == want
	}
	return false
}
