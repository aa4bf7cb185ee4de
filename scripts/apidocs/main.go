// Package main takes the comments of the wire's types over into the OpenAPI
// document.
package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/wholefile"
)

// wire are the packages whose types are in the document.
var wire = []string{"internal/api", "internal/settings", "internal/progress", "internal/disk"}

// output is what internal/server/door/operators embeds.
const output = "internal/server/door/operators/fields.json"

func main() {
	root := "."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	p, err := fields(root)
	if err == nil {
		err = wholefile.Bytes(filepath.Join(root, output), 0o644, p)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apidocs:", err)
		os.Exit(1)
	}
}

// fields are the comments of types ("Machine") and of their fields by the names
// of JSON ("Machine.since"), as JSON.
func fields(root string) ([]byte, error) {
	structs, out := map[string]*ast.StructType{}, map[string]string{}
	for _, dir := range wire {
		files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			collect(parsed, structs, out)
		}
	}
	for name, s := range structs {
		describe(name, s, structs, out)
	}
	return json.MarshalIndent(out, "", " ")
}

// collect finds the types of a file.
func collect(file *ast.File, structs map[string]*ast.StructType, out map[string]string) {
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		for _, s := range g.Specs {
			spec := s.(*ast.TypeSpec)
			if st, ok := spec.Type.(*ast.StructType); ok && spec.Name.IsExported() {
				structs[spec.Name.Name] = st
				if text := said(spec.Doc, g.Doc); text != "" {
					out[spec.Name.Name] = text
				}
			}
		}
	}
}

// describe takes the comments of a struct's fields, those of an embedded one as
// if they were its own, as JSON has them.
func describe(name string, s *ast.StructType, structs map[string]*ast.StructType, out map[string]string) {
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 {
			if inner := structs[lastName(f.Type)]; inner != nil {
				describe(name, inner, structs, out)
			}
			continue
		}
		if key := jsonName(f); key != "" {
			text := said(f.Doc, f.Comment)
			if rest, named := strings.CutPrefix(text, f.Names[0].Name+" "); named {
				text = key + " " + rest
			}
			if text != "" {
				out[name+"."+key] = text
			}
		}
	}
}

func lastName(e ast.Expr) string {
	switch t := e.(type) {
	case *ast.Ident:
		return t.Name
	case *ast.SelectorExpr:
		return t.Sel.Name
	case *ast.StarExpr:
		return lastName(t.X)
	}
	return ""
}

func jsonName(f *ast.Field) string {
	if f.Tag == nil {
		return ""
	}
	tag, err := strconv.Unquote(f.Tag.Value)
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(reflect.StructTag(tag).Get("json"), ",")
	return strings.TrimSuffix(name, "-")
}

// said joins comments to one text, without its line breaks.
func said(groups ...*ast.CommentGroup) string {
	var all []string
	for _, g := range groups {
		if g != nil {
			all = append(all, strings.Fields(g.Text())...)
		}
	}
	return strings.Join(all, " ")
}
