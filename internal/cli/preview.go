package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gild-dev/gild/internal/api"
)

// previewTable shows what arming the machines would do to their disks. It is
// read before a disk is erased, so nothing of it is cut off.
func previewTable(targets []*target) table {
	t := table{header: []string{"MACHINE", "WHAT HAPPENS"}, wrap: true}
	for _, x := range targets {
		t.rows = append(t.rows, []string{
			x.name(), strings.Join(fateLines(&x.preview), "\n"),
		})
	}
	t.paint = func(row, col int) style {
		switch {
		case col == 1 && targets[row].err != nil:
			return red
		case col == 1 && len(targets[row].preview.Warnings) > 0:
			return yellow
		}
		return plain
	}
	return t
}

// diskText says which disk a rule means; by its serial a person can find it.
func diskText(d *api.Disk) string {
	if d == nil {
		return "not known yet"
	}
	parts := []string{d.Name, bytesText(d.Size)}
	for _, s := range []string{d.Transport, d.Model, d.Serial} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return printable(strings.Join(parts, ", "))
}

func imageText(im *api.Image) string {
	return printable(im.Name + " " + shortDigest(im.Digest))
}

// shortDigest is enough of a digest for a person.
func shortDigest(d string) string {
	_, hex, _ := strings.Cut(d, ":")
	return hex[:min(12, len(hex))]
}

// fateLines is what comes, what goes, what stays, what to know and why not,
// each line headed by the word for it.
func fateLines(p *api.Preview) []string {
	var lines []string
	add := func(head string, texts ...string) {
		for _, text := range texts {
			lines = append(lines, head+": "+printable(text))
		}
	}
	if p.Refusal != "" {
		add("refused", p.Refusal)
	}
	add("disk", diskText(p.Disk))
	if p.Image.Name != "" {
		add("image", imageText(&p.Image))
	}
	add("lost", p.Lost...)
	add("kept", p.Kept...)
	if len(p.Lost) == 0 && p.Disk != nil {
		lines = append(lines, "nothing that gild knows is lost")
	}
	add("warning", p.Warnings...)
	if p.Request.Identity != "" && p.Request.Identity != "none" {
		add("identity", p.Request.Identity)
	}
	if p.Request.Expires != 0 {
		add("lapses", lapseText(p.Request.Expires))
	}
	return lines
}

func (a *app) printPreviews(w io.Writer, targets []*target) {
	if len(targets) > 0 {
		previewTable(targets).write(w, terminalWidth(w), a.palette(w))
	}
}

func (a *app) printDryRun(targets []*target) error {
	var errs []error
	previews := []api.Preview{}
	for _, t := range targets {
		errs = append(errs, t.err)
		previews = append(previews, t.preview)
	}
	if a.json {
		errs = append(errs, a.printJSON(previews))
	} else {
		a.printPreviews(a.Stdout, targets)
		fmt.Fprintln(a.Stderr, "nothing was armed")
	}
	return errors.Join(errs...)
}
