package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// causes reads the codes from the source: one without advice is a person
// left alone.
func causes(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "causes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, d := range file.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			continue
		}
		for _, s := range decl.Specs {
			code, err := strconv.Unquote(s.(*ast.ValueSpec).Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, code)
		}
	}
	return all
}

func TestEveryCauseHasAdvice(t *testing.T) {
	all := causes(t)
	if len(all) < 30 {
		t.Fatalf("only %d causes are read", len(all))
	}
	if !slices.Equal(all, Causes) {
		t.Errorf("Causes lists %q, the constants are %q", Causes, all)
	}
	for _, c := range all {
		text := Advice(c, "web-17")
		switch {
		case text == "":
			t.Errorf("Advice(%q) says nothing", c)
		case len(text) > 300 || strings.ContainsAny(text, "<>&\n{}") || !strings.HasSuffix(text, "."):
			t.Errorf("Advice(%q) = %q: not a sentence for every screen", c, text)
		}
		for _, r := range c {
			if r != '-' && (r < 'a' || r > 'z') {
				t.Errorf("cause %q is not of letters and hyphens", c)
			}
		}
	}
}

func TestAdvice(t *testing.T) {
	for _, tt := range []struct{ cause, machine, want string }{
		{CauseDiskTooSmall, "web-17", "Run `gild cancel web-17`, and"},
		{CauseDiskTooSmall, "", "Run `gild cancel MACHINE`, and"},
		{"made-up", "web-17", ""},
		{"", "", ""},
	} {
		if got := Advice(tt.cause, tt.machine); !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
			t.Errorf("Advice(%q, %q) = %q; want it to begin with %q", tt.cause, tt.machine, got, tt.want)
		}
	}
}
