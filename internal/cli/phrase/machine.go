// Package phrase says in a few words how a machine is.
package phrase

import (
	"fmt"
	"strings"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/term"
)

// Name is what people call a machine.
func Name(m *api.Machine) string {
	switch {
	case m.Spec.Name != "":
		return term.Printable(m.Spec.Name)
	case m.MAC != "":
		return term.Printable(m.MAC)
	}
	return term.Printable(m.ID)
}

// State is the state with what a person must know beside it.
func State(m *api.Machine) string {
	text := term.Printable(m.State)
	if m.Live && m.Progress != nil && m.Progress.Total > 0 {
		text += fmt.Sprintf(", %d %% on disk", onDisk(m))
	}
	switch {
	case !m.Stuck.IsZero():
		text += ", stuck"
	case m.Waiting:
		text += ", waiting"
	}
	if m.Conflict != "" {
		text += ", conflict"
	}
	if InTrouble(m) && m.Stuck.IsZero() && m.Conflict == "" {
		text += ", in trouble"
	}
	return text
}

// onDisk is how much of a live machine's disk is there, in percent. When it is
// all written, what follows only proves it.
func onDisk(m *api.Machine) int {
	if m.Progress.Phase == "write" {
		return Percent(m.Progress)
	}
	return 100
}

// Doing is the state with how far a flash is.
func Doing(m *api.Machine) string {
	done := Progress(m.Progress)
	if m.State != api.MachineFlashing || done == "-" {
		return State(m)
	}
	text, _ := strings.CutPrefix(State(m), m.State+", ") // "stuck: write 43%" says it all
	return text + ": " + done
}

// InTrouble reports whether a machine does not go on as it should although its
// state says nothing of it.
func InTrouble(m *api.Machine) bool {
	return m.Trouble != nil && m.State != api.MachineFailed && m.State != api.MachineUnconfirmed
}

// Last is the last thing that was heard of a machine: what is wrong with it,
// if anything.
func Last(m *api.Machine) string {
	text := m.Message
	switch tr := m.Trouble; {
	case m.Conflict != "":
		text = m.Conflict
	case tr != nil && tr.Tries > 0:
		text = tr.Cause + ", " + tr.Course(time.Now()) + ": " + tr.Message
	case tr != nil && tr.Cause != api.CauseSilent && tr.Cause != api.CauseNoSign:
		text = tr.Cause + ": " + tr.Message
	}
	return term.Printable(text)
}

// Progress is how far a phase is; a dash: there is none.
func Progress(p *api.Progress) string {
	if p == nil || p.Total <= 0 {
		return "-"
	}
	text := fmt.Sprintf("%s %d%%", term.Printable(p.Phase), Percent(p))
	if p.Unanswered > 0 {
		text += fmt.Sprintf(", disk silent for %d s", p.Unanswered)
	}
	return text
}

// Percent is how much of a phase is done, 0 to 100 whatever the wire says.
func Percent(p *api.Progress) int {
	if p == nil || p.Total <= 0 {
		return 0
	}
	return int(100 * float64(min(max(p.Done, 0), p.Total)) / float64(p.Total))
}

// StateStyle stresses the states that a person looks for.
func StateStyle(m *api.Machine) term.Style {
	switch {
	case m.State == api.MachineFailed, m.Conflict != "", InTrouble(m):
		return term.Red
	case m.State == api.MachineUnconfirmed, m.State == api.MachineArmed:
		return term.Yellow
	case m.State == api.MachineRunning:
		return term.Green
	case m.State == api.MachineBooting, m.State == api.MachineFlashing, m.State == api.MachineHandingOff:
		return term.Cyan
	}
	return term.Plain
}

// Event is an event in one line of words.
func Event(e *api.Event) string {
	words := []string{e.Step, e.State}
	if e.To != "" {
		words = append(words, "-> "+e.To)
	}
	if e.Cause != "" {
		words = append(words, e.Cause+":")
	}
	words = append(words, e.Message)
	if e.Retry > 0 {
		words = append(words, fmt.Sprintf("(next try in %d s)", e.Retry))
	}
	if e.Actor != "" && e.Actor != api.ActorAgent {
		words = append(words, "("+e.Actor+")")
	}
	return term.Printable(strings.Join(strings.Fields(strings.Join(words, " ")), " "))
}
