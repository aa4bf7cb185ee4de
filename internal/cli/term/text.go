package term

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/gild-dev/gild/internal/printable"
)

// Printable makes a string from outside safe for a terminal: no control
// characters, no escape sequences, no direction marks.
func Printable(s string) string {
	return printable.Mark(s)
}

// OrDash gives a dash for nothing.
func OrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Yes gives yes, or a dash.
func Yes(b bool) string {
	if b {
		return "yes"
	}
	return "-"
}

// Clock writes a duration as minutes and seconds, or hours before them.
func Clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// Moment is how a moment is written: in the operator's zone, which is named.
const Moment = "2006-01-02 15:04:05 MST"

// Time writes a moment to the millisecond, in the operator's zone.
func Time(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05.000 MST") }

// Ago writes how long ago t was, in its largest unit.
func Ago(now, t time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "-"
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}

// Pairs writes labels or values, sorted.
func Pairs(m map[string]string) string {
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		pairs = append(pairs, k+"="+m[k])
	}
	return Printable(strings.Join(pairs, ","))
}

// Fit fills or cuts a text to a width in terminal cells.
func Fit(s string, width int) string {
	return runewidth.FillRight(runewidth.Truncate(s, width, "…"), width)
}

// NonNil makes no list an empty one, which JSON writes as [].
func NonNil[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
