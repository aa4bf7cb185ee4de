package dhcpd

import (
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"

	"github.com/gild-dev/gild/internal/api"
)

// An agent that has lost its server is told where it is, as a proxy too, and is
// not taken for firmware. Nobody else learns it so.
func TestAgentAsksWhereItsServerIs(t *testing.T) {
	for mode, offers := range map[Mode]bool{Full: true, Proxy: false} {
		r, _ := newResponder(mode)
		reply, ev := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, class(api.DHCPClass)), portDHCP)
		if reply == nil || reply.ClassIdentifier() != api.DHCPClass || reply.BootFileNameOption() != r.Config.Script {
			t.Fatalf("%v: the agent is answered %v (%s)", mode, reply, ev.Why)
		}
		if ev.Client != Agent || ev.Client.boots() || ev.Arch != 0 {
			t.Errorf("%v: the event is of %v, architecture %v", mode, ev.Client, ev.Arch)
		}
		if got := address(reply.YourIPAddr).IsValid(); got != offers {
			t.Errorf("%v: an address is offered: %v", mode, got)
		}
	}
	r, _ := newResponder(Full)
	if reply, _ := r.Reply(packet(t, dhcpv4.MessageTypeDiscover, class("gild-agents")), portDHCP); reply == nil ||
		reply.BootFileNameOption() != "" {
		t.Errorf("another system is answered %v", reply)
	}
}
