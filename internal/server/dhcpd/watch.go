package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// watchEvery is how often a [Watch] asks. With the three seconds that dnsmasq
// pings before it offers, another server is heard within ten.
const watchEvery = 4 * time.Second

// Questions is when a [Watch] asks.
type Questions struct {
	Now <-chan struct{} // at once, whenever something comes
	Due func() bool     // asked every few seconds whether to; nil: always
}

// Watch listens on an interface for DHCP servers that lease addresses and calls
// heard with each message of one, until ctx ends. It asks as a system that does
// not boot from the network, and also hears what others are answered by
// broadcast. A server in this very process is not seen, because the question
// does not loop back. It needs CAP_NET_RAW. Any return but nil is a failure of
// the socket.
func Watch(ctx context.Context, iface string, q Questions, heard func(OtherServer)) error {
	nic, err := net.InterfaceByName(iface)
	if err != nil {
		return fmt.Errorf("listening for DHCP servers on %s: %w", iface, err)
	}
	conn, err := nclient4.NewRawUDPConn(iface, portClient)
	if err != nil {
		return fmt.Errorf("listening for DHCP servers on %s: %w", iface, err)
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	go func() {
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for due := q.Due == nil || q.Due(); ; {
			if due {
				ask(conn, nic.HardwareAddr)
			}
			select {
			case <-ctx.Done():
				return
			case <-q.Now:
				due = true
			case <-tick.C:
				due = q.Due == nil || q.Due()
			}
		}
	}()
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil // woken because it was to end
		}
		if errors.Is(err, errNetDown) {
			continue // told once each time that the link goes down
		}
		if err != nil {
			return fmt.Errorf("listening for DHCP servers on %s: %w", iface, err)
		}
		p, err := dhcpv4.FromBytes(buf[:n])
		if err != nil || p.OpCode != dhcpv4.OpcodeBootReply {
			continue
		}
		switch p.MessageType() {
		case dhcpv4.MessageTypeOffer, dhcpv4.MessageTypeAck:
			if o := otherServer(p, from); !o.Proxy && o.Addr.IsValid() {
				heard(o)
			}
		}
	}
}

// ask asks who leases addresses. A link that is down takes no question: the
// next one is near.
func ask(conn net.PacketConn, mac net.HardwareAddr) {
	if q, err := dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true)); err == nil {
		_, _ = conn.WriteTo(q.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: portDHCP})
	}
}
