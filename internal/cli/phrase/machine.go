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
	if e := m.Estimate; m.Live && e != nil {
		text += fmt.Sprintf(", %d %% done", e.Percent)
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

// Doing is the state with how far a flash is.
func Doing(m *api.Machine) string {
	done := Progress(m)
	switch {
	case m.State == api.MachineHandingOff && m.Estimate != nil && m.Estimate.Left > 0:
		return State(m) + ": " + m.Estimate.Outlook()
	case m.State != api.MachineFlashing || done == "-":
		return State(m)
	}
	text, _ := strings.CutPrefix(State(m), m.State+", ") // "stuck: write 43%" says it all
	return text + ": " + done
}

// InTrouble reports whether a machine does not continue as it should although
// its state says nothing of it.
func InTrouble(m *api.Machine) bool {
	return m.Trouble != nil && m.State != api.MachineFailed && m.State != api.MachineUnconfirmed
}

// Last is the last thing reported of a machine: what is wrong with it,
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

// Progress is how far a flash is; a dash: none is under way.
func Progress(m *api.Machine) string {
	e := m.Estimate
	if e == nil || e.Phase == "" {
		return "-"
	}
	text := fmt.Sprintf("%s, %d %% done", term.Printable(e.Phase), e.Percent)
	switch p := m.Progress; {
	case p != nil && p.Unanswered > 0:
		text += fmt.Sprintf(", disk silent for %d s", p.Unanswered)
	case e.Left > 0:
		text += ", " + e.Outlook()
	}
	return text
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
