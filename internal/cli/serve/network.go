package serve

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/server/bootnet"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/ipxe"
	"github.com/gild-dev/gild/internal/server/setup"
)

// network decides how the boot network is answered; why says so to a person.
func (o options) network(ctx context.Context, log *slog.Logger) (n bootnet.Network, why string, err error) {
	n = bootnet.Network{Interface: o.Interface, Auto: o.DHCP == "auto", Stay: o.Address != "", Domain: o.Domain, Lease: o.Lease, Log: log}
	want, err := o.OwnAddress()
	if err != nil {
		return n, "", exit.Usage(err)
	}
	if n.Address, err = setup.InterfaceAddr(o.Interface, want); err != nil {
		return n, "", err
	}
	if n.Address.Addr().IsLinkLocalUnicast() {
		log.Warn("the boot interface has only a link-local address: give it a real one, or machines that have another cannot reach this server",
			"interface", o.Interface, "address", n.Address)
	}
	host := cmp.Or(o.Advertise, n.Address.Addr().String())
	if strings.ContainsAny(host, "/: ") {
		return n, "", exit.Usage(fmt.Errorf("--advertise %q: want a host name or an IPv4 address only", host))
	}
	n.BaseURL = "http://" + net.JoinHostPort(host, strconv.Itoa(o.Port))
	if n.NBPs, err = ipxe.Find(o.IPXEDirs...); err != nil {
		return n, "", err
	}
	if err := o.leased(&n); err != nil {
		return n, "", exit.Usage(err)
	}
	if n.Mode, why, err = o.mode(ctx); err != nil {
		return n, "", err
	}
	if err := n.Check(); err != nil {
		return n, "", exit.Usage(err)
	}
	return n, why, nil
}

func (o options) mode(ctx context.Context) (dhcpd.Mode, string, error) {
	switch o.DHCP {
	case "auto":
		return bootnet.ChooseMode(ctx, o.Interface)
	case "server":
		return dhcpd.Full, "DHCP: leasing addresses on " + o.Interface, nil
	case "proxy":
		return dhcpd.Proxy, "DHCP: adding boot files to another server's leases on " + o.Interface, nil
	case "off":
		return dhcpd.Off, "DHCP: off; the DHCP server on " + o.Interface + " must name the boot files", nil
	}
	return dhcpd.Off, "", exit.Usage(fmt.Errorf("--dhcp %.20q is not auto, server, proxy or off", o.DHCP))
}

// leased reads the flags that say what is leased, and what never is.
func (o options) leased(n *bootnet.Network) error {
	n.First, n.Last = bootnet.DefaultRange(n.Address)
	if o.Range != "" {
		r, err := dhcpd.ParseRange(o.Range)
		if err != nil || !strings.Contains(o.Range, "-") {
			return fmt.Errorf("--range %.60q is not a range such as 192.168.1.100-192.168.1.200", o.Range)
		}
		n.First, n.Last, n.OwnRange = r.First, r.Last, true
	}
	for _, s := range o.Exclude {
		r, err := dhcpd.ParseRange(s)
		if err != nil {
			return fmt.Errorf("--exclude: %w", err)
		}
		n.Exclude = append(n.Exclude, r)
	}
	for _, s := range o.Networks {
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is4() {
			return fmt.Errorf("--networks %.60q is not an IPv4 network such as 192.168.1.0/24", s)
		}
		n.Networks = append(n.Networks, p)
	}
	var err error
	if n.Router, err = flags.IPv4("router", o.Router); err != nil {
		return err
	}
	for _, s := range o.DNS {
		dns, err := flags.IPv4("dns", s)
		if err != nil {
			return err
		}
		n.DNS = append(n.DNS, dns)
	}
	n.Servers = o.Etcd.Addrs()
	if a, err := netip.ParseAddr(o.Advertise); err == nil {
		n.Servers = append(n.Servers, a)
	}
	return nil
}
