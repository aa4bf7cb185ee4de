package term

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/gild-dev/gild/internal/cli/exit"
)

type fruit struct {
	Name   string            `json:"name"`
	Weight int64             `json:"weight"`
	Tags   map[string]string `json:"tags,omitempty"`
}

func fruits() List[fruit] {
	return List[fruit]{
		Items: []fruit{{"pear", 9, nil}, {"yes", 1 << 60, map[string]string{"a": "0x1f", "b": "a: b\n- c"}}, {"fig", 10, nil}},
		Columns: []Column[fruit]{
			{Header: "NAME", Text: func(f *fruit) string { return f.Name }},
			{Header: "TAGS", Wide: true, Text: func(f *fruit) string { return OrDash(Pairs(f.Tags)) }},
			{Header: "WEIGHT", Text: func(f *fruit) string { return "w" }, Compare: func(a, b *fruit) int { return int(a.Weight>>1 - b.Weight>>1) }},
		},
	}
}

func TestPrintList(t *testing.T) {
	for what, tt := range map[string]struct {
		output Output
		o      ListOptions
		want   string
	}{
		"as it comes":           {want: "NAME  WEIGHT\npear  w\nyes   w\nfig   w\n"},
		"quiet":                 {o: ListOptions{Quiet: true}, want: "pear\nyes\nfig\n"},
		"name, sorted":          {output: OutputName, o: ListOptions{Sort: "name"}, want: "fig\npear\nyes\n"},
		"turned round":          {output: OutputName, o: ListOptions{Sort: "-name"}, want: "yes\npear\nfig\n"},
		"by number, not text":   {output: OutputName, o: ListOptions{Sort: "weight"}, want: "pear\nfig\nyes\n"},
		"sorted JSON":           {output: OutputJSON, o: ListOptions{Sort: "name"}, want: "[\n  {\n    \"name\": \"fig\""},
		"by one that is hidden": {output: OutputName, o: ListOptions{Sort: "-tags"}, want: "yes\npear\nfig\n"},
		"wide":                  {output: OutputWide, want: "NAME  TAGS"},
	} {
		var b strings.Builder
		c := &Console{Stdout: &b}
		if tt.output != "" {
			if err := c.OutputFlag().Set(string(tt.output)); err != nil {
				t.Fatal(err)
			}
		}
		if err := PrintList(c, fruits(), tt.o); err != nil || !strings.HasPrefix(b.String(), tt.want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", what, err, b.String(), tt.want)
		}
	}
	err := PrintList(&Console{Stdout: &strings.Builder{}}, fruits(), ListOptions{Sort: "colour"})
	if !exit.Has(err, exit.CodeUsage) || !strings.Contains(err.Error(), "name, tags, weight") {
		t.Errorf("an unknown column: %v; want wrong use, and the columns", err)
	}
	if err := (&Console{}).OutputFlag().Set("xml"); err == nil {
		t.Error("-o xml: no error")
	}
}

// What is printed as YAML says the same as JSON, in the same order.
func TestYAMLSaysWhatJSONSays(t *testing.T) {
	var b strings.Builder
	c := &Console{Stdout: &b}
	if err := c.OutputFlag().Set("yaml"); err != nil {
		t.Fatal(err)
	}
	want := fruits().Items
	if err := c.PrintJSON(want); err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := yaml.Unmarshal([]byte(b.String()), &doc); err != nil {
		t.Fatalf("%v:\n%s", err, b.String())
	}
	p, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	var got []fruit
	if err := json.Unmarshal(p, &got); err != nil {
		t.Fatalf("%v: %s", err, p)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s\n%s", diff, b.String())
	}
	if strings.ContainsAny(b.String(), "{[") || strings.Index(b.String(), "name:") > strings.Index(b.String(), "weight:") {
		t.Errorf("not as YAML is written, or out of order:\n%s", b.String())
	}
}
