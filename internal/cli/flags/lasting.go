package flags

import (
	"errors"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// Lasting is how long an arm stands, as api.FlashRequest.Expires has it: in
// whole seconds; 0 is not said.
type Lasting int

// Never is the word for an arm that does not lapse.
const Never = "never"

// Set takes the flag's text: a duration, or never.
func (l *Lasting) Set(text string) error {
	if text == Never {
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
	*l = Lasting(d / time.Second)
	return nil
}

// String is the text that Set takes.
func (l *Lasting) String() string {
	switch {
	case *l < 0:
		return Never
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
func (l *Lasting) Type() string { return "duration" }
