package netif

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"

	"github.com/gild-dev/gild/internal/api"
)

// seekEvery is how often a server that is lost is asked for.
const seekEvery = 5 * time.Second

var errNowhere = errors.New("no server says where it is")

// seek asks everybody on the link where the server is. One that is in another
// network now, for which it offers an address, needs that address.
func (c *Conn) seek(ctx context.Context) error {
	base, offered, err := c.whereabouts(ctx)
	if err != nil {
		return err
	}
	if offered.IsValid() && !c.Lease.Addr.Contains(offered) {
		if err := c.request(ctx); err != nil {
			return err
		}
		c.cfg.Log.Warn("the server is in another network now", "link", c.Link, "is", c.Lease.Addr)
		_ = unconfigure(c.link)
		if err := c.configure(); err != nil {
			return err
		}
	}
	c.cfg.Found(base)
	return nil
}

// whereabouts is the server's address as it says itself, and the one that it
// offers to this link; none from a proxy.
func (c *Conn) whereabouts(ctx context.Context) (base string, offered netip.Addr, err error) {
	client, err := nclient4.New(c.Link, nclient4.WithTimeout(firstAnswer), nclient4.WithRetry(dhcpTries))
	if err != nil {
		return "", offered, fmt.Errorf("asking where the server is: %w", err)
	}
	defer client.Close()
	asks := append(wants(),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier(api.DHCPClass)),
		dhcpv4.WithRequestedOptions(dhcpv4.OptionBootfileName))
	discover, err := dhcpv4.NewDiscovery(c.link.Attrs().HardwareAddr, asks...)
	if err != nil {
		return "", offered, fmt.Errorf("asking where the server is: %w", err)
	}
	answer, err := client.SendAndRead(ctx, nclient4.DefaultServers, discover, func(p *dhcpv4.DHCPv4) bool {
		_, err := baseOf(p)
		return err == nil
	})
	if errors.Is(err, nclient4.ErrNoResponse) {
		return "", offered, errNowhere
	}
	if err != nil {
		return "", offered, fmt.Errorf("asking where the server is: %w", err)
	}
	base, err = baseOf(answer)
	if a, ok := netip.AddrFromSlice(answer.YourIPAddr.To4()); ok && isHost(a) {
		offered = a
	}
	return base, offered, err
}

// baseOf is where a server says that it is.
func baseOf(p *dhcpv4.DHCPv4) (string, error) {
	if p.ClassIdentifier() != api.DHCPClass {
		return "", errNowhere
	}
	u, err := url.Parse(strings.TrimRight(p.BootFileNameOption(), "\x00"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil {
		return "", errNowhere
	}
	return u.Scheme + "://" + u.Host, nil
}
