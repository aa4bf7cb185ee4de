package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

//go:embed theme
var theme embed.FS

// view is what the template shows.
type view struct {
	Title, Here string
	Up          string // from the page to the front, "../"
	Body        template.HTML
	Pages       []entry // the documents, without the decisions
	Decisions   []entry
}

// entry is one line of the list of pages.
type entry struct{ Title, File string }

// found is one section in the search.
type found struct {
	Page  string `json:"page"`
	Title string `json:"title"`
	At    string `json:"at"`
	Text  string `json:"text"`
}

// run checks the links of a tree and renders it into a directory.
func run(tree fs.FS, out string) error {
	pages, err := read(tree)
	if err != nil {
		return err
	}
	if err := check(tree, pages); err != nil || out == "" {
		return err
	}
	layout, err := template.ParseFS(theme, "theme/page.html")
	if err != nil {
		return err
	}
	var list, decisions []entry
	var index []found
	for _, p := range pages {
		e := entry{p.title, htmlName(p.file)}
		if strings.HasPrefix(p.file, "docs/decisions/") {
			decisions = append(decisions, e)
		} else {
			list = append(list, e)
		}
		for _, s := range p.sections {
			index = append(index, found{p.title, s.Title, e.File + "#" + s.ID, s.Text})
		}
	}
	for _, p := range pages {
		body, err := p.body()
		if err != nil {
			return fmt.Errorf("%s: %w", p.file, err)
		}
		here := htmlName(p.file)
		var b bytes.Buffer
		if err := layout.Execute(&b, view{
			Title: p.title, Here: here, Up: strings.Repeat("../", strings.Count(here, "/")),
			Body: template.HTML(body), Pages: list, Decisions: decisions, //nolint:gosec // of our own documents
		}); err != nil {
			return err
		}
		if err := write(filepath.Join(out, here), b.Bytes()); err != nil {
			return err
		}
		if err := p.copyFiles(tree, out); err != nil {
			return err
		}
	}
	return finish(out, index)
}

// copyFiles copies what a page links to that is no page.
func (p *page) copyFiles(tree fs.FS, out string) error {
	for _, l := range p.links {
		file, _, ok := p.local(l.to)
		if !ok || strings.HasSuffix(file, ".md") {
			continue
		}
		if info, err := fs.Stat(tree, file); err != nil || info.IsDir() {
			continue // a folder is only named
		}
		b, err := fs.ReadFile(tree, file)
		if err != nil {
			return err
		}
		if err := write(filepath.Join(out, file), b); err != nil {
			return err
		}
	}
	return nil
}

// finish writes what all pages share. The index is a script and no JSON file: a
// page that is opened from a disk may read no other file.
func finish(out string, index []found) error {
	p, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := write(filepath.Join(out, "index.js"), append([]byte("const sections = "), append(p, ";\n"...)...)); err != nil {
		return err
	}
	for _, name := range []string{"style.css", "search.js"} {
		b, err := theme.ReadFile(path.Join("theme", name))
		if err != nil {
			return err
		}
		if err := write(filepath.Join(out, name), b); err != nil {
			return err
		}
	}
	return nil
}

func write(file string, p []byte) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, p, 0o644)
}
