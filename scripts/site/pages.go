package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/parser"
	"github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
)

// page is one document.
type page struct {
	file     string // in the repository, "docs/guide.md"
	title    string
	source   []byte
	doc      ast.Node
	sections []section
	links    []link
}

// section is a heading with what stands below it, for the search.
type section struct{ Title, ID, Text string }

// link is one that a document has.
type link struct {
	to   string // as it is written
	node ast.Node
}

// markdown is what the documents are written in: GitHub's, as far as they use
// it.
func markdown() goldmark.Markdown {
	return goldmark.New(
		goldmark.WithExtensions(extension.Table, extension.Strikethrough, extension.Linkify),
		goldmark.WithParserOptions(parser.WithAutoHeadingID()),
		goldmark.WithRendererOptions(html.WithUnsafe()),
	)
}

// read parses every document of a tree, the front page first.
func read(tree fs.FS) ([]*page, error) {
	files := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
	for _, pattern := range []string{"docs/*.md", "docs/decisions/*.md"} {
		found, err := fs.Glob(tree, pattern)
		if err != nil {
			return nil, err
		}
		files = append(files, found...)
	}
	pages := make([]*page, 0, len(files))
	for _, file := range files {
		source, err := fs.ReadFile(tree, file)
		if err != nil {
			return nil, err
		}
		pages = append(pages, parse(file, source))
	}
	return pages, nil
}

func parse(file string, source []byte) *page {
	p := &page{file: file, source: source}
	ids := parser.NewContext(parser.WithIDs(&slugs{}))
	p.doc = markdown().Parser().Parse(text.NewReader(source), parser.WithContext(ids))
	_ = ast.Walk(p.doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			s := section{Title: plain(n, source)}
			if id, ok := n.AttributeString("id"); ok {
				s.ID = string(id.([]byte))
			}
			if p.title == "" {
				p.title = s.Title
			}
			p.sections = append(p.sections, s)
		case *ast.Link:
			p.links = append(p.links, link{string(n.Destination), n})
		case *ast.Image:
			p.links = append(p.links, link{string(n.Destination), n})
		case *ast.Paragraph, *ast.TextBlock, *ast.FencedCodeBlock:
			if len(p.sections) > 0 {
				last := &p.sections[len(p.sections)-1]
				last.Text += plain(n, source) + " "
			}
		}
		return ast.WalkContinue, nil
	})
	return p
}

// plain is the text of a node, without its form.
func plain(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if entering {
			switch n := n.(type) {
			case *ast.Text:
				b.Write(n.Value(source))
				if n.SoftLineBreak() {
					b.WriteByte(' ')
				}
			case *ast.FencedCodeBlock:
				b.Write(n.Lines().Value(source))
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// slugs gives headings the anchors that GitHub gives them: lower case, spaces
// as hyphens, no punctuation.
type slugs struct{ given []string }

func (s *slugs) Generate(value []byte, _ ast.NodeKind) []byte {
	var b strings.Builder
	for _, r := range strings.ToLower(string(value)) {
		switch {
		case r == ' ', r == '-':
			b.WriteByte('-')
		case r == '_', r >= '0' && r <= '9', r >= 'a' && r <= 'z', r > 127:
			b.WriteRune(r)
		}
	}
	id := b.String()
	for n, base := 1, id; slices.Contains(s.given, id); n++ {
		id = fmt.Sprintf("%s-%d", base, n)
	}
	s.given = append(s.given, id)
	return []byte(id)
}

func (s *slugs) Put(value []byte) { s.given = append(s.given, string(value)) }

// check finds the links within a tree that lead nowhere.
func check(tree fs.FS, pages []*page) error {
	anchors := map[string][]string{}
	for _, p := range pages {
		for _, s := range p.sections {
			anchors[p.file] = append(anchors[p.file], s.ID)
		}
	}
	var wrong []error
	for _, p := range pages {
		for _, l := range p.links {
			file, anchor, ok := p.local(l.to)
			if !ok {
				continue
			}
			if _, err := fs.Stat(tree, file); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %s: there is no %s", p.file, l.to, file))
			} else if anchor != "" && !slices.Contains(anchors[file], anchor) {
				wrong = append(wrong, fmt.Errorf("%s: %s: %s has no such heading", p.file, l.to, file))
			}
		}
	}
	return errors.Join(wrong...)
}

// local is the file and the heading of this tree that a link means; ok is false
// for one that leads elsewhere.
func (p *page) local(to string) (file, anchor string, ok bool) {
	if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
		return "", "", false
	}
	file, anchor, _ = strings.Cut(to, "#")
	if file == "" {
		return p.file, anchor, true
	}
	return path.Join(path.Dir(p.file), file), anchor, true
}

// body renders a page, its links made those between pages.
func (p *page) body() ([]byte, error) {
	for _, l := range p.links {
		n, ok := l.node.(*ast.Link)
		if file, anchor, isLocal := p.local(l.to); ok && isLocal && strings.HasSuffix(file, ".md") && !strings.HasPrefix(l.to, "#") {
			to := strings.TrimSuffix(l.to, "#"+anchor)
			to = htmlName(to)
			if anchor != "" {
				to += "#" + anchor
			}
			n.Destination = []byte(to)
		}
	}
	var b bytes.Buffer
	err := markdown().Renderer().Render(&b, p.source, p.doc)
	return b.Bytes(), err
}

// htmlName is the page of a document.
func htmlName(file string) string {
	if path.Base(file) == "README.md" {
		return path.Join(path.Dir(file), "index.html")
	}
	return strings.TrimSuffix(file, ".md") + ".html"
}
