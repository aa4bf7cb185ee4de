package cli

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/api"
)

// lasting is how long an arm stands, as api.FlashRequest.Expires has it: in
// whole seconds; 0 is not said.
type lasting int

// forEver is the word for an arm that does not lapse.
const forEver = "never"

// Set takes the flag's text: a duration, or never.
func (l *lasting) Set(text string) error {
	if text == forEver {
		*l = api.NeverExpires
		return nil
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil || d <= 0:
		return errors.New("give a time such as 2h, or never")
	case d%time.Second != 0:
		return errors.New("give whole seconds")
	}
	*l = lasting(d / time.Second)
	return nil
}

// String is the text that Set takes.
func (l *lasting) String() string {
	switch {
	case *l < 0:
		return forEver
	case *l == 0:
		return ""
	}
	text := (time.Duration(*l) * time.Second).String() // "24h0m0s"
	for _, nothing := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, nothing) {
			text = text[:len(text)-2]
		}
	}
	return text
}

// Type is what the flag takes.
func (l *lasting) Type() string { return "duration" }

// lapseText says when an arm that is to be made lapses.
func lapseText(seconds int) string {
	if l := lasting(seconds); l > 0 {
		return l.String() + " after it is armed"
	}
	return forEver
}

// until says when an arm lapses, for the end of a sentence.
func until(t time.Time) string {
	if t.IsZero() {
		return ", until it is cancelled"
	}
	return ", until " + t.Local().Format(time.DateTime)
}

// forceFlag cuts off what is under way.
func forceFlag(cmd *cobra.Command, to *bool) {
	cmd.Flags().BoolVar(to, "force", false, "also while the disk is being written: it does not boot then until it is flashed again")
}
