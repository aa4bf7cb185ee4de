package dhcpd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/iana"
)

// probeTime is how long a probe listens when its context allows. Servers ping
// an address before they offer it: ISC dhcpd for one second, dnsmasq for three.
const probeTime = 6 * time.Second

// OtherServer is a DHCP server that answered a probe.
type OtherServer struct {
	Addr     netip.Addr // server identifier, else where the answer came from
	Proxy    bool       // gives boot files only
	BootFile string     // what it would boot a UEFI x64 machine with; the server's bytes
}

// Probe asks on an interface like a machine that boots, and lists who answers,
// in the order of the answers, each once. It listens for six seconds or until
// ctx ends. Nothing is leased. A server in this very process is not seen,
// because the question does not loop back. It needs CAP_NET_RAW.
func Probe(ctx context.Context, iface string) ([]OtherServer, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	nic, err := net.InterfaceByName(iface)
	if err != nil {
		return nil, fmt.Errorf("probing for DHCP servers on %s: %w", iface, err)
	}
	// A raw socket shares port 68 with this host's own DHCP client, and can ask
	// without an address.
	conn, err := nclient4.NewRawUDPConn(iface, portClient)
	if err != nil {
		return nil, fmt.Errorf("probing for DHCP servers on %s: %w", iface, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	ask, err := question(nic.HardwareAddr)
	if err != nil {
		return nil, fmt.Errorf("probing for DHCP servers on %s: %w", iface, err)
	}
	return collect(ctx, conn, ask)
}

// question is a DISCOVER that plain servers and proxies answer alike, by
// broadcast.
func question(mac net.HardwareAddr) (*dhcpv4.DHCPv4, error) {
	return dhcpv4.NewDiscovery(mac, dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016")),
		dhcpv4.WithOption(dhcpv4.OptClientArch(iana.EFI_X86_64)),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientNetworkInterfaceIdentifier, []byte{1, 3, 16})),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientMachineIdentifier, make([]byte, 17))))
}

func collect(ctx context.Context, conn net.PacketConn, ask *dhcpv4.DHCPv4) ([]OtherServer, error) {
	to := &net.UDPAddr{IP: net.IPv4bcast, Port: portDHCP}
	if _, err := conn.WriteTo(ask.ToBytes(), to); err != nil {
		return nil, fmt.Errorf("asking for DHCP servers: %w", err)
	}
	// Asked twice: one lost packet must not make this host the second server of a
	// network.
	again := time.AfterFunc(time.Second, func() { _, _ = conn.WriteTo(ask.ToBytes(), to) })
	defer again.Stop()

	var found []OtherServer
	seen := map[netip.Addr]bool{}
	buf := make([]byte, 4096)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return found, nil
		}
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			return found, nil
		}
		if err != nil {
			return found, fmt.Errorf("listening for DHCP servers: %w", err)
		}
		offer, err := dhcpv4.FromBytes(buf[:n])
		if err != nil || offer.MessageType() != dhcpv4.MessageTypeOffer || offer.TransactionID != ask.TransactionID {
			continue
		}
		o := otherServer(offer, from)
		if len(found) < 16 && !seen[o.Addr] {
			seen[o.Addr] = true
			found = append(found, o)
		}
	}
}

// otherServer reads who sent an offer or an acknowledgement.
func otherServer(p *dhcpv4.DHCPv4, from net.Addr) OtherServer {
	o := OtherServer{Addr: address(p.ServerIdentifier()), BootFile: p.BootFileNameOption()}
	if u, ok := from.(*net.UDPAddr); ok && !o.Addr.IsValid() {
		o.Addr = address(u.IP)
	}
	if o.BootFile == "" {
		o.BootFile = p.BootFileName
	}
	o.BootFile = strings.TrimRight(o.BootFile, "\x00") // which some servers send for old ROMs, gild among them
	mine := address(p.YourIPAddr)
	o.Proxy = !mine.IsValid() || mine.IsUnspecified()
	return o
}
