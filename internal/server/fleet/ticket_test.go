package fleet_test

import (
	"fmt"
	"testing"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// Whoever asks for a machine's script again and again crowds out tickets that
// nobody has used, and never that of the agent at work: it may have to say
// hello once more.
func TestTicketOfTheAgentAtWorkStays(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	fleet.Issue(&s.m, "own", api.Inventory{MAC: mac}, at(1))
	says := func(session, ticket string, sec int) api.Answer {
		h := hello(session)
		h.Ticket = ticket
		a, _ := fleet.Hello(&s.m, h, "", false, at(sec))
		return a
	}
	if a := says("s1", "own", 2); a.Plan == nil {
		t.Fatalf("Hello with the ticket of its script = %+v; want the plan", a)
	}
	for i := range 3 * fleet.MaxTickets {
		fleet.Issue(&s.m, fmt.Sprintf("other-%d", i), api.Inventory{MAC: mac}, at(3))
	}
	if len(s.m.Tickets) > fleet.MaxTickets {
		t.Errorf("%d tickets are kept; want at most %d", len(s.m.Tickets), fleet.MaxTickets)
	}
	if a := says("s1", "own", 4); a.Plan == nil {
		t.Errorf("Hello of the agent at work after many scripts = %+v; want its plan", a)
	}
	if a := says("s2", "own", 5); a.Plan != nil {
		t.Error("another agent had the plan by a ticket that is used")
	}
	// Once it is silent for good, another has the plan, and its ticket stays.
	newest := fmt.Sprintf("other-%d", 3*fleet.MaxTickets-1)
	if a := says("s2", newest, 100); a.Plan == nil {
		t.Errorf("Hello with the newest ticket = %+v; want the plan", a)
	}
	for i := range fleet.MaxTickets {
		fleet.Issue(&s.m, fmt.Sprintf("late-%d", i), api.Inventory{MAC: mac}, at(101))
	}
	if a := says("s2", newest, 102); a.Plan == nil {
		t.Errorf("Hello of the second agent after many scripts = %+v; want its plan", a)
	}
}
