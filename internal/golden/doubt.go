package golden

import (
	"fmt"
	"strings"
)

// Doubt is a question about an image that its bytes do not answer. It is told
// when the image is stored and whenever it is shown; --strict makes it an
// error.
type Doubt struct {
	// About names what is in doubt, such as "the default entry" or "partition 2".
	About string `json:"about"`
	// Why says what stands against a certain answer, with the file and line
	// where there is one, and what was taken instead.
	Why string `json:"why"`
	// Alternatives are the answers that may be the right one.
	Alternatives []string `json:"alternatives,omitempty"`
	// Settle is the flag of `gild image add` that answers the question; empty
	// where none does.
	Settle string `json:"settle,omitempty"`
}

// String is the doubt in one line.
func (d Doubt) String() string {
	var b strings.Builder
	b.WriteString(d.About + ": " + d.Why)
	if len(d.Alternatives) > 0 {
		b.WriteString("; it may be " + strings.Join(d.Alternatives, " or "))
	}
	if d.Settle != "" {
		b.WriteString(" (" + d.Settle + " settles it)")
	}
	return b.String()
}

// Decision says which part of an image answered a question about it.
type Decision struct {
	What string `json:"what"` // such as "boot loader", "default entry"
	By   string `json:"by"`   // such as "/boot/grub/grubenv: saved_entry=1"
}

// DoubtsError refuses an image for what is in doubt about it.
type DoubtsError []Doubt

func (e DoubtsError) Error() string {
	lines := make([]string, len(e))
	for i, d := range e {
		lines[i] = d.String()
	}
	return fmt.Sprintf("the image leaves %d in doubt: %s", len(e), strings.Join(lines, "; "))
}
