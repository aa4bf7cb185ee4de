// Package bootnet answers the network that machines boot from by its protocols.
package bootnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/insomniacslk/dhcp/iana"

	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/door/firmware"
	"github.com/gild-dev/gild/internal/server/ipxe"
	"github.com/gild-dev/gild/internal/server/link"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/segment"
	"github.com/gild-dev/gild/internal/server/service"
	"github.com/gild-dev/gild/internal/server/setup"
	"github.com/gild-dev/gild/internal/server/sightings"
	"github.com/gild-dev/gild/internal/server/tftpd"
)

// Network is how the boot network is to be answered.
type Network struct {
	Interface string
	Address   netip.Prefix // of the interface, with the length of its network
	BaseURL   string       // of the boot HTTP handler, no slash at the end
	// Mode is what DHCP begins with; Auto lets the server choose anew by who else
	// leases addresses.
	Mode dhcpd.Mode
	Auto bool
	// Stay keeps the server at Address whatever the interface has; else it follows.
	Stay bool
	// Networks are further ones of machines, behind routers: their requests for
	// files are answered, and their relays, see dhcpd.Config.
	Networks []netip.Prefix
	// Of dhcpd.Full only; zero values have defaults, see dhcpd.Config. OwnRange
	// says that First and Last are the operator's, not the subnet's default.
	First, Last netip.Addr
	OwnRange    bool
	Exclude     []dhcpd.Range
	Servers     []netip.Addr
	Router      netip.Addr
	DNS         []netip.Addr
	Domain      string
	Lease       time.Duration
	NBPs        ipxe.Files
	Log         *slog.Logger // must be set
}

// ChooseMode listens for other DHCP servers for a few seconds, and says what
// it chose and why: beside another server a proxy, else a server of our own.
// The silence of a link without a carrier says nothing: it listens on.
func ChooseMode(ctx context.Context, iface string) (dhcpd.Mode, string, error) {
	dead := fmt.Sprintf("%s has no carrier: DHCP waits for one, and then listens for other servers", iface)
	if st := link.Look(iface); st.Index != 0 && !st.Carrier {
		return dhcpd.Listening, dead, nil
	}
	others, err := dhcpd.Probe(ctx, iface)
	if errors.Is(err, syscall.ENETDOWN) || errors.Is(err, syscall.ENOBUFS) {
		return dhcpd.Listening, dead, nil // what a link says that has just gone down
	}
	if errors.Is(err, os.ErrPermission) {
		return dhcpd.Off, "", &setup.Error{
			Problem: "listening for DHCP servers needs a raw socket", Err: err,
			Help: "run as root or with CAP_NET_RAW, or choose --dhcp server, proxy or off",
		}
	}
	if err != nil {
		return dhcpd.Off, "", err
	}
	for _, o := range others {
		if !o.Proxy {
			return dhcpd.Proxy, fmt.Sprintf("DHCP server %v answers on %s: adding boot files to its leases (proxy)", o.Addr, iface), nil
		}
	}
	if !link.Look(iface).Carrier {
		return dhcpd.Listening, dead, nil
	}
	return dhcpd.Full, fmt.Sprintf("no DHCP server answers on %s: leasing addresses (server)", iface), nil
}

// DefaultRange is the upper half of a subnet, without the broadcast address:
// static addresses are usually given from below.
func DefaultRange(subnet netip.Prefix) (first, last netip.Addr) {
	b := subnet.Masked().Addr().As4()
	base := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	size := uint32(1) << (32 - subnet.Bits())
	// A range has at most 65,536 addresses, which is what a /15's half has.
	from := base + size - min(size/2, 1<<16)
	addr := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	return addr(from), addr(base + size - 2)
}

// bootNetwork is what the protocols of a network share.
type bootNetwork struct {
	Network
	who func(netip.Addr) net.HardwareAddr // has an address; nil: nobody knows
}

// Protocols are DHCP and TFTP on this network.
func (n Network) Protocols() []service.Opener[*machines.Core] {
	b := &bootNetwork{Network: n}
	return []service.Opener[*machines.Core]{{Name: "DHCP", Open: b.openDHCP}, {Name: "TFTP", Open: b.openTFTP}}
}

// Check reports what is wrong with the network's settings, before anything
// is opened.
func (n Network) Check() error { return n.dhcp().Validate() }

func (n Network) dhcp() dhcpd.Config {
	scopes := dhcpd.Scopes(n.Networks)
	for _, s := range scopes {
		s.First, s.Last = DefaultRange(s.Subnet)
	}
	return dhcpd.Config{
		Mode: n.Mode, Interface: n.Interface, ServerIP: n.Address.Addr(), Subnet: n.Address.Masked(),
		First: n.First, Last: n.Last, Exclude: n.Exclude, Servers: n.Servers, Networks: n.Networks, Scopes: scopes,
		LeaseTime: n.Lease, Router: n.Router, DNS: n.DNS, Domain: n.Domain,
		Script:   n.BaseURL + firmware.PathFirstScript,
		HTTPBase: strings.TrimSuffix(n.BaseURL+firmware.PathNBP, "/"),
		NBP:      func(a iana.Arch) (string, error) { return n.NBPs.NBP(ipxe.Arch(a)) },
	}
}

func (n *bootNetwork) openDHCP(ctx context.Context, m *machines.Core) (service.Service, func() error, error) {
	sights := sightings.New(m, n.Log)
	s := &segment.Segment{
		Config: n.dhcp(), Auto: n.Auto, Alarms: m.Alarms, Log: n.Log,
		Peers: m.PeerAddrs,
		Events: func(e dhcpd.Event) {
			m.Metrics.DHCP(e)
			sights.DHCP(e)
		},
	}
	if !n.Stay {
		s.Move = n.at
	}
	var follow func(context.Context)
	if n.First.IsValid() && (n.Mode == dhcpd.Full || n.Auto) {
		l := &leases{store: m.Store, cards: &m.Cards, log: n.Log}
		s.Pool, follow = l.pool(n.First, n.Last, m.Registry(n.Address)), l.follow
		for _, scope := range s.Config.Scopes {
			scope.Leases = l.pool(scope.First, scope.Last, m.Registry(scope.Subnet))
			scope.Leases.Blind = true
		}
		if err := errors.Join(m.LoadAddresses(ctx), l.load(ctx)); err != nil {
			return nil, nil, err
		}
	}
	n.who = s.Who
	sockets, err := s.Open(ctx)
	if err != nil {
		return nil, nil, err
	}
	run := func(ctx context.Context) error {
		ctx, stop := context.WithCancel(ctx)
		var beside sync.WaitGroup
		defer beside.Wait()
		defer stop()
		if follow != nil {
			beside.Go(func() { follow(ctx) })
		}
		return sights.Beside(ctx, func(ctx context.Context) error { return s.Run(ctx, sockets) })
	}
	return service.Func(run), sockets.Close, nil
}

// at says why the server cannot continue with its settings at another address.
func (n Network) at(address netip.Prefix) error {
	n.Address = address
	if !n.OwnRange {
		n.First, n.Last = DefaultRange(address)
	}
	return n.Check()
}

func (n *bootNetwork) openTFTP(ctx context.Context, m *machines.Core) (service.Service, func() error, error) {
	paths := map[string]string{}
	for _, name := range n.NBPs.Names() {
		paths[name], _ = n.NBPs.Path(name)
	}
	sights := sightings.New(m, n.Log)
	// A transfer has a socket and a file.
	places := min(tftpd.DefaultMaxTransfers, max(tftpd.DefaultMaxPerClient, budget.OpenFiles()/8))
	s := &tftpd.Server{Open: tftpd.Table(paths), Serves: n.serves, MaxTransfers: places, Log: n.Log, Events: func(e tftpd.Event) {
		m.Metrics.TFTP(e)
		if e.Outcome == tftpd.Refused {
			sights.Refused(e, n.who)
		}
	}}
	conn, err := tftpd.Listen(ctx, net.JoinHostPort(n.Address.Addr().String(), "69"))
	if err != nil {
		return nil, nil, err
	}
	run := func(ctx context.Context) error {
		return sights.Beside(ctx, func(ctx context.Context) error { return s.Serve(ctx, conn) })
	}
	return service.Func(run), conn.Close, nil
}

// serves says whether a client of an address may be one of the network's. An
// address without a network says nothing of who is there.
func (n Network) serves(a netip.Addr) bool {
	return n.Address.Bits() > 30 || n.Address.Contains(a) || slices.ContainsFunc(n.Networks,
		func(p netip.Prefix) bool { return p.Contains(a) })
}

// OpenNBP opens a network boot program by its canonical name, for UEFI HTTP
// boot.
func (n Network) OpenNBP(name string) (io.ReadSeekCloser, error) {
	path, ok := n.NBPs.Path(name)
	if !ok {
		return nil, fmt.Errorf("boot program %.40q: %w", name, os.ErrNotExist)
	}
	return os.Open(path)
}
