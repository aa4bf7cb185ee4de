package dhcpd

import (
	"net"
	"testing"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

// FuzzReply feeds any bytes to both ports in each mode: no panic, replies that
// parse, and none that breaks what the protocol promises.
func FuzzReply(f *testing.F) {
	seed := func(kind dhcpv4.MessageType, mods ...dhcpv4.Modifier) {
		p, err := dhcpv4.New(append([]dhcpv4.Modifier{dhcpv4.WithMessageType(kind)}, mods...)...)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p.ToBytes())
	}
	seed(dhcpv4.MessageTypeDiscover, asBIOS...)
	seed(dhcpv4.MessageTypeRequest, asIPXE...)
	seed(dhcpv4.MessageTypeInform, asHTTP...)
	seed(dhcpv4.MessageTypeDecline, opt(50, 10, 77, 0, 100), opt(82, 1, 255))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		req, err := dhcpv4.FromBytes(b)
		if err != nil {
			return
		}
		for _, mode := range []Mode{Off, Proxy, Full} {
			for _, port := range []int{67, 4011} {
				r, _ := newResponder(mode)
				reply, ev := r.Reply(req, port)
				if (reply == nil) != (ev.Answer == dhcpv4.MessageTypeNone) {
					t.Fatalf("reply %v, event %+v", reply, ev)
				}
				if reply == nil {
					continue
				}
				got, err := dhcpv4.FromBytes(reply.ToBytes())
				if err != nil {
					t.Fatalf("reply does not parse: %v", err)
				}
				a := address(got.YourIPAddr)
				if got.TransactionID != req.TransactionID || got.OpCode != dhcpv4.OpcodeBootReply || mode == Off {
					t.Fatalf("mode %v: reply %v to %v", mode, got, req)
				}
				if !a.IsUnspecified() && (mode != Full || a.Less(r.Config.First) || r.Config.Last.Less(a)) {
					t.Fatalf("mode %v gave address %v", mode, a)
				}
			}
		}
	})
}

func FuzzARP(f *testing.F) {
	f.Add(appendARP(nil, net.HardwareAddr{1, 2, 3, 4, 5, 6}, at("10.0.0.1")))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, by, ok := parseARP(b); ok && (!a.Is4() || len(by) != 6) {
			t.Fatalf("parseARP = %v, %v", a, by)
		}
	})
}
