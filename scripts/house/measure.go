package main

import (
	"bytes"
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rule is one thing that is measured.
type rule string

// The rules, as a complaint names them.
const (
	ruleMethods rule = "methods" // of one type
	ruleFiles   rule = "files"   // of one package, without its tests
	ruleLines   rule = "lines"   // of one package, without its tests
	ruleFile    rule = "file"    // lines of one file
	ruleArrow   rule = "arrow"   // imports against the direction
	ruleComment rule = "comment" // ideas in the first paragraph of a package comment
	ruleProse   rule = "prose"   // comment lines of one file that are too wide
	ruleCode    rule = "code"    // lines of code of one file that are too wide
)

var rules = []rule{ruleMethods, ruleFiles, ruleLines, ruleFile, ruleArrow, ruleComment, ruleProse, ruleCode}

// limits are the largest figures.
var limits = map[rule]struct {
	most int
	unit string
}{
	ruleMethods: {25, "methods a type"},
	ruleFiles:   {16, "files a package"},
	ruleLines:   {2500, "lines a package"},
	ruleFile:    {400, "lines a file"},
	ruleArrow:   {0, "imports up or across"},
	ruleComment: {1, "ideas a package comment"},
	ruleProse:   {0, fmt.Sprintf("comment lines over %d", commentWidth)},
	ruleCode:    {0, fmt.Sprintf("lines of code over %d", codeWidth)},
}

// finding is one figure: of a type, a package, a file or an arrow.
type finding struct {
	rule   rule
	place  string
	figure int
}

// tree is what was measured.
type tree struct {
	packages map[string]*pkg // by directory
	figures  []finding       // sorted by rule and place
}

// pkg is the files of one directory, without tests.
type pkg struct {
	files, lines int
	methods      map[string]int // by type
	imports      map[string]bool
	doc          string // text of the package comment
}

// module is the path that the imports of this tree begin with.
const module = "github.com/gild-dev/gild/"

// longReason in the first comment of a file allows it to be long, with what
// follows as the reason.
const longReason = "Long because "

// read measures every Go file of the module.
func read(root fs.FS) (*tree, error) {
	t := &tree{packages: map[string]*pkg{}}
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && name != "."):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".go":
			return nil
		}
		return t.file(root, name)
	})
	if err != nil {
		return nil, err
	}
	for dir, p := range t.packages {
		t.add(ruleFiles, dir, p.files)
		t.add(ruleLines, dir, p.lines)
		t.add(ruleComment, dir, ideas(p.doc))
		for name, n := range p.methods {
			t.add(ruleMethods, dir+"."+name, n)
		}
		for to := range p.imports {
			if !allowed(dir, to) {
				t.add(ruleArrow, dir+"->"+to, 1)
			}
		}
	}
	slices.SortFunc(t.figures, func(a, b finding) int {
		return cmp.Or(cmp.Compare(slices.Index(rules, a.rule), slices.Index(rules, b.rule)), cmp.Compare(a.place, b.place))
	})
	return t, nil
}

func (t *tree) add(r rule, place string, figure int) {
	t.figures = append(t.figures, finding{r, place, figure})
}

// file measures one file into its package. A test's widths count alone.
func (t *tree) file(root fs.FS, name string) error {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return err
	}
	prose, code := wide(text)
	t.add(ruleProse, name, prose)
	t.add(ruleCode, name, code)
	if strings.HasSuffix(name, "_test.go") {
		return nil
	}
	f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parsing: %w", err)
	}
	dir := path.Dir(name)
	p := t.packages[dir]
	if p == nil {
		p = &pkg{methods: map[string]int{}, imports: map[string]bool{}}
		t.packages[dir] = p
	}
	lines := bytes.Count(text, []byte("\n"))
	p.files++
	p.lines += lines
	if len(f.Comments) == 0 || !strings.Contains(f.Comments[0].Text(), longReason) {
		t.add(ruleFile, name, lines)
	}
	if f.Doc != nil {
		p.doc = f.Doc.Text()
	}
	for _, im := range f.Imports {
		to, err := strconv.Unquote(im.Path.Value)
		if err != nil {
			return fmt.Errorf("%s: import %s: %w", name, im.Path.Value, err)
		}
		if to, ours := strings.CutPrefix(to, module); ours {
			p.imports[to] = true
		}
	}
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv != nil {
			p.methods[receiver(fn.Recv.List[0].Type)]++
		}
	}
	return nil
}

// receiver gives the name of a method's type.
func receiver(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiver(e.X)
	case *ast.IndexExpr:
		return receiver(e.X)
	case *ast.IndexListExpr:
		return receiver(e.X)
	case *ast.Ident:
		return e.Name
	}
	return "?"
}

var (
	sentenceEnd = regexp.MustCompile(`[.!?](\s+[A-Z]|\s*$)`)
	joint       = regexp.MustCompile(`\band\b`)
)

// ideas counts the sentences of a comment's first paragraph and the places
// where one says "and". No comment at all is two ideas too few.
func ideas(doc string) int {
	first, _, _ := strings.Cut(strings.TrimSpace(doc), "\n\n")
	if first == "" {
		return 2
	}
	return max(len(sentenceEnd.FindAllString(first, -1)), 1) + len(joint.FindAllString(first, -1))
}

// over are the figures above their limit.
func (t *tree) over() []finding {
	var out []finding
	for _, f := range t.figures {
		if f.figure > limits[f.rule].most {
			out = append(out, f)
		}
	}
	return out
}
