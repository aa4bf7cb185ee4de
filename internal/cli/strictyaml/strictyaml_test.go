package strictyaml

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type disk struct {
	Rule string `json:"rule,omitempty"`
	Size int    `json:"size"`
}

type Spotted struct {
	Rack string `json:"rack"`
}

type sample struct {
	Spotted
	Name   string            `json:"name"`
	MACs   []string          `json:"macs"`
	Labels map[string]string `json:"labels"`
	Disks  []disk            `json:"disks"`
	Wipe   bool              `json:"wipe"`
	Own    *disk             `json:"own"`
}

func read(t *testing.T, text string) (sample, *Decoder) {
	t.Helper()
	d := &Decoder{Open: func(from, name string) ([]byte, error) {
		if name != "keys" {
			return nil, fmt.Errorf("%s: %w", name, os.ErrNotExist)
		}
		return []byte("# both\none\n\ntwo\n"), nil
	}}
	var out sample
	for _, doc := range d.Documents("a.yaml", []byte(text)) {
		d.Into(doc, &out)
	}
	return out, d
}

// Text is what stands there, not what YAML 1.1 makes of it.
func TestText(t *testing.T) {
	got, d := read(t, `
name: 0123
macs: [52:54:00:12:34:56, 1e3, 0x10, 2001-01-01]
labels: {on: no, ver: 1.10, "yes": "", 1: ~x, block: "a\tb"}
disks:
  - {rule: "size>=1T", size: 12}
  - size: -3
wipe: true
own: {rule: !file keys, size: 0}
rack: b7
`)
	want := sample{
		Spotted: Spotted{"b7"},
		Name:    "0123", MACs: []string{"52:54:00:12:34:56", "1e3", "0x10", "2001-01-01"},
		Labels: map[string]string{"on": "no", "ver": "1.10", "yes": "", "1": "~x", "block": "a\tb"},
		Disks:  []disk{{"size>=1T", 12}, {"", -3}}, Wipe: true, Own: &disk{"# both\none\n\ntwo\n", 0},
	}
	if err := d.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if at, ok := d.At("disks[1].size.more"); !ok || at.String() != "a.yaml:7:11" {
		t.Errorf("At(disks[1].size.more) = %s, %t; want that of the size", at, ok)
	}
	one, d := read(t, "macs: !file keys")
	if diff := cmp.Diff([]string{"one", "two"}, one.MACs); diff != "" || d.Err() != nil {
		t.Errorf("list from a file: %s%v", diff, d.Err())
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"nme: x", "a.yaml:1:1: nme: unknown key; is name meant?"},
		{"name: x\ncolour: red", "a.yaml:2:1: colour: unknown key; there are disks, labels, macs, name, own, rack, wipe"},
		{"name: x\nname: y", "a.yaml:2:1: name: stands there twice, first in line 1"},
		{"labels: {a: 1, b: 2, a: 3}", "a.yaml:1:22: labels.a: stands there twice, first in line 1"},
		{"name: [x]", "a.yaml:1:7: name: want one value, not a list"},
		{"name:", `a.yaml:1:6: name: is empty; leave the key out, or write "" for an empty text`},
		{"name: ~", `a.yaml:1:7: name: is empty; leave the key out, or write "" for an empty text`},
		{"macs: {a: b}", "a.yaml:1:7: macs: want a list, not keys and values"},
		{"disks:\n- size: 012", `a.yaml:2:9: disks[0].size: "012" is not a whole number`},
		{"disks:\n- size: 1_000", `a.yaml:2:9: disks[0].size: "1_000" is not a whole number`},
		{"disks:\n- size: 9999999999999999999999", `a.yaml:2:9: disks[0].size: "9999999999999999999999" is not a whole number`},
		{"wipe: yes", `a.yaml:1:7: wipe: "yes" is neither true nor false`},
		{"wipe: True", `a.yaml:1:7: wipe: "True" is neither true nor false`},
		{
			"own: &a {size: 1}\ndisks: [*a]",
			"a.yaml:1:6: own: anchors and aliases are not read: write it out\na.yaml:2:9: disks[0]: anchors and aliases are not read: write it out",
		},
		{"own: {<<: {size: 1}}", "a.yaml:1:7: own.<<: unknown key; there are rule, size"},
		{"? [a]\n: b", "a.yaml:1:3: a key must be a plain text"},
		{"name: !secret x", "a.yaml:1:7: name: the tag !secret is not known"},
		{"name: !!binary eA==", "a.yaml:1:7: name: the tag !!binary is not known"},
		{"name: !file gone", "a.yaml:1:7: name: gone: file does not exist"},
		{"just text", "a.yaml:1:1: want keys and values, not one value"},
		{"name: [", "a.yaml:1: did not find expected node content"},
		{"\xff", "a.yaml: not UTF-8"},
		{"name: \"a\\0b\"\n\tx", "a.yaml:2: found character that cannot start any token"},
	} {
		_, d := read(t, tt.text)
		if err := d.Err(); err == nil || err.Error() != tt.want {
			t.Errorf("%q:\n got %v\nwant %s", tt.text, err, tt.want)
		}
	}
	_, d := read(t, "macs:\n"+strings.Repeat("- [x]\n", 60))
	if err := d.Err(); err == nil || strings.Count(err.Error(), "\n") != maxErrors || !strings.HasSuffix(err.Error(), "and 10 more") {
		t.Errorf("60 errors are told as %v; want %d and how many more", err, maxErrors)
	}
}

// Whatever comes in, an error names its file and nothing is read twice as long
// as it is.
func FuzzInto(f *testing.F) {
	f.Add("name: x\nmacs: [a, b]\nlabels: {a: b}\n---\ndisks: [{size: 1}]")
	f.Add("a: &a [*a]\n<<: *a")
	f.Add("name: !file keys\n? {}\n: {}")
	f.Fuzz(func(t *testing.T, text string) {
		_, d := read(t, text)
		err := d.Err()
		if err == nil {
			return
		}
		for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
			if at, ok := errors.AsType[*Error](e); ok && at.Place.File != "a.yaml" {
				t.Errorf("%q: error without a place: %v", text, e)
			}
		}
	})
}
