package dashboard

import (
	"cmp"
	"fmt"
	"html/template"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/units"
)

// look is how a state is shown: always by shape and word, never by colour
// alone.
type look struct {
	Class string // of the style, and name of the shape
	Word  string
	Says  string // what it means, for a machine's page
}

// looks are in the order of what needs an operator first.
var looks = []look{
	{"failed", "failed", "It needs your help."},
	{"trouble", "in trouble", "Its agent keeps retrying."},
	{"stuck", "stuck", "The agent should report and is silent."},
	{"flashing", "flashing", "The agent is writing the image."},
	{"handing-off", "handing off", "The disk is sealed; the new system has not reported in yet."},
	{"booting", "booting", "It fetched kernel and initramfs; the agent has not reported in yet."},
	{"armed", "armed", "It will be flashed at its next network boot."},
	{"unconfirmed", "unconfirmed", "The disk was flashed, but the new system did not report in in time."},
	{"running", "running", "The new system reported in."},
	{"local-disk", "local disk", "It asked to boot and was sent to its own disk."},
	{"registered", "registered", "Registered, idle."},
	{"discovered", "discovered", "It was seen on the network and is not registered."},
}

// lookOf tells how a machine is shown. What keeps it from going on outranks its
// state.
func lookOf(m *api.Machine) look {
	class := classOf(m)
	for _, l := range looks {
		if l.Class == class {
			if m.Live && class != "stuck" && class != "trouble" {
				l.Says = "The new system runs while its disk is still being completed. If the machine loses power until then, it is flashed again."
				if m.Estimate != nil {
					l.Word += fmt.Sprintf(", %d %% done", m.Estimate.Percent)
				}
			}
			return l
		}
	}
	return look{"discovered", cut(20, m.State), ""}
}

func classOf(m *api.Machine) string {
	switch {
	case m.State == api.MachineFailed, m.State == api.MachineUnconfirmed, m.Trouble == nil:
	case m.Trouble.Cause == api.CauseSilent:
		return "stuck"
	default:
		return "trouble"
	}
	if m.State == api.MachineLocalDisk {
		return "local-disk"
	}
	return strings.ReplaceAll(m.State, " ", "-")
}

// name is what people call a machine.
func name(m *api.Machine) string { return cut(63, cmp.Or(m.Spec.Name, m.MAC, m.ID)) }

// cut bounds text of foreign origin, in characters.
func cut(n int, s string) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// words are the functions of the templates.
func words() template.FuncMap {
	return template.FuncMap{
		"size": units.Bytes, "disk": units.Disk, "rate": units.Rate, "cut": cut, "path": machinePath, "clock": clock, "stamp": stamp,
		"seconds": seconds,
		"lasts":   func(n int) string { return seconds(time.Duration(n) * time.Second) },
		"join":    func(list []string) string { return strings.Join(list, ", ") },
		"short":   func(digest string) string { return cut(13, strings.TrimPrefix(digest, "sha256:")) },
	}
}

// seconds writes a duration as short as it is still useful.
func seconds(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f d", d.Hours()/24)
}

func clock(t time.Time) string { return t.Local().Format("15:04:05 MST") }

func stamp(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}
