package flash

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/cli/term"
	"github.com/gild-dev/gild/internal/units"
)

// previewTable shows what arming the machines would do to their disks. It is
// read before a disk is erased, so nothing of it is cut off.
func previewTable(targets []*target) term.Table {
	t := term.Table{Header: []string{"MACHINE", "WHAT HAPPENS"}, Wrap: true}
	for _, x := range targets {
		t.Rows = append(t.Rows, []string{
			x.name(), strings.Join(append(fateLines(&x.preview), x.nowLines()...), "\n"),
		})
	}
	t.Paint = func(row, col int) term.Style {
		switch {
		case col == 1 && targets[row].err != nil:
			return term.Red
		case col == 1 && len(targets[row].preview.Warnings) > 0:
			return term.Yellow
		}
		return term.Plain
	}
	return t
}

// diskText says which disk a rule means; by its serial a person can find it.
func diskText(d *api.Disk) string {
	if d == nil {
		return "not known yet"
	}
	parts := []string{d.Name, units.Disk(d.Size)}
	for _, s := range []string{d.Transport, d.Model, d.Serial} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	return term.Printable(strings.Join(parts, ", "))
}

func imageText(im *api.Image) string {
	return term.Printable(im.Name + " " + shortDigest(im.Digest))
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
			lines = append(lines, head+": "+term.Printable(text))
		}
	}
	if p.Refusal != "" {
		add("refused", p.Refusal)
	}
	add("disk", diskText(p.Disk))
	if p.Image.Name != "" {
		add("image", imageText(&p.Image))
	}
	if b := p.Boots; b != nil {
		add("agent", b.Agent())
		add("handoff", b.Then())
	}
	add("lost", p.Lost...)
	add("kept", p.Kept...)
	if len(p.Lost) == 0 && p.Disk != nil {
		lines = append(lines, "disk looks empty: no known data will be lost")
	}
	add("warning", p.Warnings...)
	if p.Request.Identity != "" && p.Request.Identity != "none" {
		add("identity", p.Request.Identity)
	}
	if p.Request.Expires != 0 {
		add("expires", expiryText(p.Request.Expires))
	}
	return lines
}

func (a commands) printPreviews(w io.Writer, targets []*target) {
	if len(targets) > 0 {
		a.Table(w, previewTable(targets))
	}
}

func (a commands) printDryRun(targets []*target) error {
	var errs []error
	previews := []api.Preview{}
	for _, t := range targets {
		errs = append(errs, t.err)
		previews = append(previews, t.preview)
	}
	if a.JSON {
		errs = append(errs, a.PrintJSON(previews))
	} else {
		a.printPreviews(a.Stdout, targets)
		fmt.Fprintln(a.Stderr, "nothing was armed")
	}
	return errors.Join(errs...)
}

// expiryText says when an arm that is to be made expires.
func expiryText(seconds int) string {
	if l := flags.Lasting(seconds); l > 0 {
		return l.String() + " after arming"
	}
	return flags.Never
}
