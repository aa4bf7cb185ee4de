// Package netif brings the machine onto its network.
//
// Every wired link is tried at once; the first over which the server answers is
// kept.
package netif

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/vishvananda/netlink"

	"github.com/gild-dev/gild/internal/backoff"
)

// Config says how to look for the network.
type Config struct {
	// Patience bounds one search; 0 means 90 s. Switches that run the
	// spanning tree protocol open a port only after 30 to 50 seconds.
	Patience time.Duration
	// Reach reports whether the server answers over the link that was just
	// configured. nil takes the first lease.
	Reach func(ctx context.Context) error
	// Lost reports that no server has answered for a while, and Found is told
	// where one says that it is. nil: a server that is lost is not looked for.
	Lost  func() bool
	Found func(base string)
	// ResolvConf is the file that gets the name servers; empty for none.
	ResolvConf string
	// Log tells what happens on the links; nil is silent.
	Log *slog.Logger
}

// Conn is a link with a lease over which the server answers.
type Conn struct {
	Link  string
	MAC   string // lower case with colons
	Lease Lease

	cfg  Config
	link netlink.Link
	raw  *nclient4.Lease
	got  time.Time
	kept sync.Mutex // held by Keep, whose the lease is as long as it runs
}

const (
	pollLinks   = 100 * time.Millisecond
	reachLimit  = 10 * time.Second
	firstAnswer = time.Second // wait for a DHCP answer; doubles with each of dhcpTries
	dhcpTries   = 4
)

// search is one run of Up.
type search struct {
	Config

	mu     sync.Mutex
	status map[string]string // by link: what became of it, for a person

	// configure is held while a link has an address and is tried, because
	// two links on one network would take each other's routes.
	configure sync.Mutex
}

// Up brings all wired links up, also those that appear while it runs, and
// returns the first that leads to the server. Its error names each link and
// what was wrong with it.
func Up(ctx context.Context, cfg Config) (*Conn, error) {
	if cfg.Patience == 0 {
		cfg.Patience = 90 * time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Patience)
	s := &search{Config: cfg, status: map[string]string{}}
	found := make(chan *Conn)
	var tries sync.WaitGroup
	defer tries.Wait()
	defer cancel()
	if lo, err := netlink.LinkByName("lo"); err == nil {
		_ = netlink.LinkSetUp(lo) // nothing of ours needs it, a rescue shell might
	}
	trying := map[int]bool{}
	poll := time.NewTicker(pollLinks)
	defer poll.Stop()
	for {
		if err := s.start(trying, func(l netlink.Link) {
			tries.Go(func() { s.try(ctx, l, found) })
		}); err != nil {
			return nil, err
		}
		select {
		case c := <-found:
			return c, nil
		case <-ctx.Done():
			return nil, s.failure()
		case <-poll.C:
		}
	}
}

// start begins to try each link that has a carrier and is not tried yet.
func (s *search) start(trying map[int]bool, try func(netlink.Link)) error {
	links, err := wired()
	if err != nil {
		return err
	}
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&1 == 0 { // IFF_UP
			if err := netlink.LinkSetUp(l); err != nil {
				s.note(a.Name, "cannot be brought up: "+err.Error())
			}
			continue
		}
		if trying[a.Index] {
			continue
		}
		if !hasCarrier(l) {
			s.note(a.Name, "no carrier: is a cable plugged in?")
			continue
		}
		trying[a.Index] = true
		s.note(a.Name, errNoAnswer.Error())
		try(l)
	}
	return nil
}

func (s *search) note(link, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status[link] != what {
		s.status[link] = what
		s.Log.Debug("link", "link", link, "state", what)
	}
}

func (s *search) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.status) == 0 {
		return errors.New("no wired network card was found: does the image hold its driver?")
	}
	var parts []string
	for _, link := range slices.Sorted(maps.Keys(s.status)) {
		parts = append(parts, link+": "+s.status[link])
	}
	return fmt.Errorf("the server was not reached over any link (%s)", strings.Join(parts, "; "))
}

// try asks for a lease and tries it, again and again until ctx is done.
func (s *search) try(ctx context.Context, link netlink.Link, found chan<- *Conn) {
	name := link.Attrs().Name
	wait := backoff.Backoff{First: 500 * time.Millisecond, Longest: 10 * time.Second}
	for ctx.Err() == nil {
		c, err := s.attempt(ctx, link)
		if err == nil {
			select {
			case found <- c:
			case <-ctx.Done(): // another link was faster
				s.configure.Lock()
				_ = unconfigure(link)
				s.configure.Unlock()
			}
			return
		}
		if ctx.Err() == nil {
			s.note(name, err.Error())
		}
		if backoff.Sleep(ctx, wait.Next()) != nil {
			return
		}
	}
}

func (s *search) attempt(ctx context.Context, link netlink.Link) (*Conn, error) {
	c := &Conn{Link: link.Attrs().Name, MAC: link.Attrs().HardwareAddr.String(), cfg: s.Config, link: link}
	if err := c.request(ctx); err != nil {
		return nil, err
	}
	s.configure.Lock()
	defer s.configure.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	err := c.configure()
	if err == nil && s.Reach != nil {
		reach, cancel := context.WithTimeout(ctx, reachLimit)
		err = s.Reach(reach)
		cancel()
		if err != nil {
			err = fmt.Errorf("has %v, but: %w", c.Lease, err)
		}
	}
	if err != nil {
		_ = unconfigure(link)
		return nil, err
	}
	return c, nil
}

// request takes a new lease.
func (c *Conn) request(ctx context.Context) error {
	client, err := nclient4.New(c.Link, nclient4.WithTimeout(firstAnswer), nclient4.WithRetry(dhcpTries))
	if err != nil {
		return fmt.Errorf("asking for a lease: %w", err)
	}
	defer client.Close()
	discover, err := dhcpv4.NewDiscovery(c.link.Attrs().HardwareAddr, wants()...)
	if err != nil {
		return fmt.Errorf("asking for a lease: %w", err)
	}
	// A proxyDHCP offers a boot file and no address.
	offer, err := client.SendAndRead(ctx, nclient4.DefaultServers, discover, func(p *dhcpv4.DHCPv4) bool {
		return p.MessageType() == dhcpv4.MessageTypeOffer && !p.YourIPAddr.IsUnspecified()
	})
	if errors.Is(err, nclient4.ErrNoResponse) {
		return errNoAnswer
	}
	if err != nil {
		return fmt.Errorf("asking for a lease: %w", err)
	}
	raw, err := client.RequestFromOffer(ctx, offer, wants()...)
	if err != nil {
		return fmt.Errorf("asking for the lease of %v: %w", offer.YourIPAddr, err)
	}
	return c.take(raw)
}

// wants names the options that are used.
func wants() []dhcpv4.Modifier {
	return []dhcpv4.Modifier{dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter, dhcpv4.OptionDomainNameServer,
		dhcpv4.OptionDomainName, dhcpv4.OptionDNSDomainSearchList, dhcpv4.OptionInterfaceMTU,
		dhcpv4.OptionRenewTimeValue, dhcpv4.OptionRebindingTimeValue,
	)}
}

func (c *Conn) take(raw *nclient4.Lease) error {
	lease, err := ParseLease(raw.ACK)
	if err != nil {
		return err
	}
	c.Lease, c.raw, c.got = lease, raw, time.Now()
	return nil
}

func (c *Conn) configure() error {
	if err := apply(c.link, c.Lease); err != nil {
		return err
	}
	if c.cfg.ResolvConf == "" {
		return nil
	}
	if err := os.WriteFile(c.cfg.ResolvConf, c.Lease.ResolvConf(), 0o644); err != nil {
		return fmt.Errorf("writing the name servers: %w", err)
	}
	return nil
}

// Keep renews the lease until ctx is done: a flash may take longer than a
// lease. Where the server gives another address, or forgot the lease, the
// link is configured anew.
func (c *Conn) Keep(ctx context.Context) {
	c.kept.Lock()
	defer c.kept.Unlock()
	for {
		due := c.got.Add(c.Lease.Renew)
		if c.Lease.Length == 0 {
			due = time.Now().Add(24 * time.Hour)
		}
		if c.await(ctx, due) != nil {
			return
		}
		if c.Lease.Length == 0 || time.Now().Before(due) {
			continue
		}
		if err := c.renew(ctx); err != nil {
			c.cfg.Log.Warn("the lease was not renewed", "link", c.Link, "error", err)
		}
	}
}

// await waits for a moment, or for less: it looks for a server that is lost.
func (c *Conn) await(ctx context.Context, due time.Time) error {
	if c.cfg.Lost == nil {
		return backoff.Sleep(ctx, time.Until(due))
	}
	if err := backoff.Sleep(ctx, min(seekEvery, time.Until(due))); err != nil || !c.cfg.Lost() {
		return err
	}
	if err := c.seek(ctx); err != nil {
		c.cfg.Log.Debug("looking for the server", "link", c.Link, "error", err)
	}
	return ctx.Err()
}

// renew asks for the same lease until it ends, then for any.
func (c *Conn) renew(ctx context.Context) error {
	old := c.Lease
	expires := c.got.Add(old.Length)
	for wait := (backoff.Backoff{First: 5 * time.Second}); ; {
		err := c.extend(ctx)
		if err != nil && (errors.As(err, new(*nclient4.ErrNak)) || time.Now().After(expires)) {
			err = c.request(ctx)
		}
		if err == nil {
			if c.Lease.Addr != old.Addr {
				c.cfg.Log.Warn("the address has changed", "link", c.Link, "was", old.Addr, "is", c.Lease.Addr)
				_ = unconfigure(c.link)
			}
			return c.configure()
		}
		got := c.got
		if c.await(ctx, time.Now().Add(wait.Next())) != nil {
			return err
		}
		if c.got != got {
			return nil // by a server that was found
		}
	}
}

func (c *Conn) extend(ctx context.Context) error {
	client, err := nclient4.New(c.Link, nclient4.WithTimeout(firstAnswer), nclient4.WithRetry(dhcpTries))
	if err != nil {
		return err
	}
	defer client.Close()
	raw, err := client.Renew(ctx, c.raw, wants()...)
	if err != nil {
		return err
	}
	return c.take(raw)
}
