package main

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// house makes a tree of the files, each a package clause and more.
func house(t *testing.T, files map[string]string) []finding {
	t.Helper()
	root := fstest.MapFS{}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	tree, err := read(root)
	if err != nil {
		t.Fatal(err)
	}
	return tree.over()
}

func methods(n int, receiver string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "func (%s) m%d() {}\n", receiver, i)
	}
	return b.String()
}

func TestOver(t *testing.T) {
	const doc = "// Package a is one idea.\npackage a\n"
	imports := func(to string) string { return doc + "import _ \"" + module + to + "\"\n" }
	for name, tt := range map[string]struct {
		files map[string]string
		want  []finding
	}{
		"as it should be": {
			files: map[string]string{
				"internal/cli/a.go": imports("internal/server"), "internal/server/a.go": doc,
				"internal/server/a_test.go": methods(99, "T"),
			},
		},
		"methods, over files and by pointer": {
			files: map[string]string{
				"internal/cli/a.go": doc + methods(13, "T"), "internal/cli/b.go": doc + methods(13, "*T"),
				"internal/cli/c.go": doc + methods(13, "U[int]"),
			},
			want: []finding{{ruleMethods, "internal/cli.T", 26}},
		},
		"lines": {
			files: map[string]string{"internal/cli/a.go": doc + strings.Repeat("\n", 2600)},
			want:  []finding{{ruleLines, "internal/cli", 2602}, {ruleFile, "internal/cli/a.go", 2602}},
		},
		"long with a reason": {
			files: map[string]string{"internal/cli/a.go": "// Long because it is a table.\n\n" + doc + strings.Repeat("\n", 500)},
		},
		"up": {
			files: map[string]string{"internal/disk/nbd/a.go": imports("internal/api")},
			want:  []finding{{ruleArrow, "internal/disk/nbd->internal/api", 1}},
		},
		"across": {
			files: map[string]string{"internal/agent/a.go": imports("internal/server/fleet")},
			want:  []finding{{ruleArrow, "internal/agent->internal/server/fleet", 1}},
		},
		"to the root": {
			files: map[string]string{"internal/server/fleet/a.go": imports("internal/server")},
			want:  []finding{{ruleArrow, "internal/server/fleet->internal/server", 1}},
		},
		"to a root's value": {files: map[string]string{"internal/golden/pack/a.go": imports("internal/golden")}},
		"within a wing":     {files: map[string]string{"internal/server/door/a.go": imports("internal/server/fleet")}},
		"noun to noun": {
			files: map[string]string{"internal/cli/watch/a.go": imports("internal/cli/flash")},
			want:  []finding{{ruleArrow, "internal/cli/watch->internal/cli/flash", 1}},
		},
		"noun to helper": {files: map[string]string{"internal/cli/watch/a.go": imports("internal/cli/term")}},
		"a new wing": {
			files: map[string]string{"internal/cli/a.go": imports("internal/cellar")},
			want:  []finding{{ruleArrow, "internal/cli->internal/cellar", 1}},
		},
		"two ideas": {
			files: map[string]string{"internal/cli/a.go": "// Package a is one idea and\n// another.\npackage a\n"},
			want:  []finding{{ruleComment, "internal/cli", 2}},
		},
		"two sentences": {
			files: map[string]string{"internal/cli/a.go": "// Package a is v1.2 of it. It is more.\npackage a\n"},
			want:  []finding{{ruleComment, "internal/cli", 2}},
		},
		"two paragraphs": {files: map[string]string{"internal/cli/a.go": "// Package a is handy.\n//\n// This and that. More.\npackage a\n"}},
		"wide": {
			files: map[string]string{"internal/cli/a_test.go": "package a\n\n\t// " + strings.Repeat("x", 77) + "\n//go:embed " +
				strings.Repeat("x", 90) +
				"\nvar x = " + strings.Repeat("1+", 70) + "1\nvar y = `" + strings.Repeat("z", 200) + "`\n// " + strings.Repeat("é", 78) + "\n"},
			want: []finding{{ruleProse, "internal/cli/a_test.go", 1}, {ruleCode, "internal/cli/a_test.go", 1}},
		},
		"no comment": {files: map[string]string{"internal/cli/a.go": "package a\n"}, want: []finding{{ruleComment, "internal/cli", 2}}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, house(t, tt.files), cmp.AllowUnexported(finding{})); diff != "" {
				t.Errorf("over its limit (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSeventeenFiles(t *testing.T) {
	files := map[string]string{}
	for i := range 17 {
		files[fmt.Sprintf("internal/cli/f%d.go", i)] = "// Package a is one idea.\npackage a\n"
	}
	if got := house(t, files); len(got) != 1 || got[0] != (finding{ruleFiles, "internal/cli", 17}) {
		t.Errorf("over its limit: %v; want the files of internal/cli", got)
	}
}
