package progress

import (
	"fmt"
	"strings"

	"github.com/gild-dev/gild/internal/units"
)

// Unknown stands for a time that cannot be told yet.
const Unknown = "~"

// LeftText is the time left as people read it: "~3 min", and no finer than it
// is known.
func (e *Estimate) LeftText() string {
	switch s := e.Left; {
	case s <= 0:
		return Unknown
	case s < 10:
		return "< 10 s"
	case s < 100:
		return fmt.Sprintf("~%d s", (s+2)/5*5)
	case s < 100*60:
		return fmt.Sprintf("~%d min", (s+30)/60)
	}
	return fmt.Sprintf("~%d h %02d min", e.Left/3600, e.Left/60%60)
}

// Amount is "210 of 694 MiB", the data of the phase; empty: it has none.
func (e *Estimate) Amount() string {
	if e.DataTotal <= 0 {
		return ""
	}
	return units.Part(e.DataDone, e.DataTotal)
}

// Speed is "9.5 MiB/s  wire 3.1 MiB/s"; empty while nothing is heard.
func (e *Estimate) Speed() string {
	var parts []string
	if e.Rate >= 1 {
		parts = append(parts, units.Rate(e.Rate))
	}
	if e.WireRate >= 1 {
		parts = append(parts, "wire "+units.Rate(e.WireRate))
	}
	return strings.Join(parts, "  ")
}

// Outlook is "~3 min to running", or the sign that this is not known.
func (e *Estimate) Outlook() string {
	if e.Left <= 0 {
		return Unknown
	}
	return e.LeftText() + " to " + e.Until
}

// String is "write 30%  210 of 694 MiB  9.5 MiB/s  wire 3.1 MiB/s  ~3 min to
// running".
func (e *Estimate) String() string {
	if e.Phase == "" {
		return e.Outlook()
	}
	parts := []string{fmt.Sprintf("%s %d%%", e.Phase, e.Percent), e.Amount(), e.Speed(), e.Outlook()}
	text := parts[0]
	for _, p := range parts[1:] {
		if p != "" {
			text += "  " + p
		}
	}
	return strings.TrimSpace(text)
}
