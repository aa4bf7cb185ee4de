package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/insomniacslk/dhcp/iana"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/httpd"
	"github.com/gild-dev/gild/internal/server/ipxe"
	"github.com/gild-dev/gild/internal/server/ndp"
	"github.com/gild-dev/gild/internal/server/tftpd"
)

// Network is how the boot network is to be answered.
type Network struct {
	Interface string
	Address   netip.Prefix // of the interface, with the length of its network
	BaseURL   string       // of the boot HTTP handler, no slash at the end
	Mode      dhcpd.Mode
	// Of dhcpd.Full only; zero values have defaults, see dhcpd.Config.
	First, Last netip.Addr
	Router      netip.Addr
	DNS         []netip.Addr
	Domain      string
	Lease       time.Duration
	NBPs        ipxe.Files
	Log         *slog.Logger // must be set
}

// ChooseMode listens for other DHCP servers for a few seconds, and says what
// it chose and why: beside another server a proxy, else a server of our own.
func ChooseMode(ctx context.Context, iface string) (dhcpd.Mode, string, error) {
	others, err := dhcpd.Probe(ctx, iface)
	if err != nil {
		return dhcpd.Off, "", err
	}
	for _, o := range others {
		if !o.Proxy {
			return dhcpd.Proxy, fmt.Sprintf("DHCP server %v answers on %s: adding boot files to its leases (proxy)", o.Addr, iface), nil
		}
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

// Protocols are DHCP and TFTP on this network.
func (n Network) Protocols() []Opener {
	tftp := Opener{Name: "TFTP", Open: n.openTFTP}
	if n.Mode == dhcpd.Off {
		return []Opener{tftp}
	}
	return []Opener{{Name: "DHCP", Open: n.openDHCP}, tftp}
}

// Check reports what is wrong with the network's settings, before anything
// is opened.
func (n Network) Check() error { return n.dhcp().Validate() }

func (n Network) dhcp() dhcpd.Config {
	return dhcpd.Config{
		Mode: n.Mode, Interface: n.Interface, ServerIP: n.Address.Addr(), Subnet: n.Address.Masked(),
		First: n.First, Last: n.Last, LeaseTime: n.Lease, Router: n.Router, DNS: n.DNS, Domain: n.Domain,
		Script:   n.BaseURL + httpd.PathFirstScript,
		HTTPBase: strings.TrimSuffix(n.BaseURL+httpd.PathNBP, "/"),
		NBP:      func(a iana.Arch) (string, error) { return n.NBPs.NBP(ipxe.Arch(a)) },
	}
}

func (n Network) openDHCP(ctx context.Context, m *Machines) (Service, func() error, error) {
	sights, v6 := newSightings(m, n.Log), &ndp.Server{Log: n.Log}
	s := &dhcpd.Server{Responder: dhcpd.Responder{Config: n.dhcp()}, Log: n.Log, Events: func(e dhcpd.Event) {
		if e.Client == dhcpd.IPXE {
			v6.Expect(e.MAC, time.Now())
		}
		m.Metrics.DHCP(e)
		sights.dhcp(e)
	}}
	if n.Mode == dhcpd.Full && n.First.IsValid() {
		s.Leases = &dhcpd.Shared{
			Memory: dhcpd.NewMemory(n.First, n.Last, n.Address.Addr()),
			Claim: func(a netip.Addr, client string, now, until time.Time) (time.Time, error) {
				return m.Store.ClaimAddress(ctx, a, client, now, until)
			},
		}
	}
	dhcp, pxe, err := dhcpd.Listen(ctx, n.Interface)
	if err != nil {
		return nil, nil, err
	}
	answerV6, closeV6 := n.openNDP(ctx, v6)
	run := func(ctx context.Context) error {
		ctx, stop := context.WithCancel(ctx)
		var beside sync.WaitGroup
		defer beside.Wait()
		defer stop()
		beside.Go(func() { answerV6(ctx) })
		return withSightings(ctx, sights, func(ctx context.Context) error { return s.Serve(ctx, dhcp, pxe) })
	}
	return serviceFunc(run), func() error { return errors.Join(dhcp.Close(), pxe.Close(), closeV6()) }, nil
}

// openNDP opens what answers iPXE's search for IPv6 until its context ends. Where that cannot be, iPXE finds out by
// itself, so nothing of it is an error.
func (n Network) openNDP(ctx context.Context, v6 *ndp.Server) (run func(context.Context), closeConn func() error) {
	conn, err := ndp.Listen(ctx, n.Interface)
	if err != nil {
		n.Log.Debug("iPXE will wait for an IPv6 router", "err", err)
		return func(context.Context) {}, func() error { return nil }
	}
	run = func(ctx context.Context) {
		if err := v6.Serve(ctx, conn); err != nil {
			n.Log.Warn("iPXE will wait for an IPv6 router", "err", err)
		}
	}
	return run, conn.Close
}

func (n Network) openTFTP(ctx context.Context, m *Machines) (Service, func() error, error) {
	paths := map[string]string{}
	for _, name := range n.NBPs.Names() {
		paths[name], _ = n.NBPs.Path(name)
	}
	s := &tftpd.Server{Open: tftpd.Table(paths), Events: m.Metrics.TFTP, Log: n.Log}
	conn, err := tftpd.Listen(ctx, net.JoinHostPort(n.Address.Addr().String(), "69"))
	if err != nil {
		return nil, nil, err
	}
	run := func(ctx context.Context) error { return s.Serve(ctx, conn) }
	return serviceFunc(run), conn.Close, nil
}

type serviceFunc func(context.Context) error

func (f serviceFunc) Run(ctx context.Context) error { return f(ctx) }

// OpenNBP opens a network boot program by its canonical name, for UEFI HTTP
// boot.
func (n Network) OpenNBP(name string) (io.ReadSeekCloser, error) {
	path, ok := n.NBPs.Path(name)
	if !ok {
		return nil, fmt.Errorf("boot program %.40q: %w", name, os.ErrNotExist)
	}
	return os.Open(path)
}

// scripts writes iPXE scripts for httpd.
func scripts() httpd.Scripts {
	return httpd.Scripts{
		Chain:     func(url string) ([]byte, error) { return ipxe.Chain{URL: url}.Script() },
		LocalDisk: func(why string) []byte { return ipxe.LocalDisk{Message: why}.Script() },
		Boot: func(kernel, initrd, cmdline, why, again string) ([]byte, error) {
			return ipxe.Boot{
				Kernel: kernel, Initrds: []ipxe.Initrd{{Name: "initramfs", URL: initrd}},
				Cmdline: cmdline, Message: why, Again: again,
			}.Script()
		},
	}
}

// sightings carries what DHCP sees to the machines' records. DHCP must not
// wait for the disk: what does not fit is dropped, the machine will ask again.
type sightings struct {
	machines *Machines
	log      *slog.Logger
	queue    chan fleet.Sighting
}

func newSightings(m *Machines, log *slog.Logger) *sightings {
	return &sightings{machines: m, log: log, queue: make(chan fleet.Sighting, 1024)}
}

// dhcp takes an event of dhcpd.
func (s *sightings) dhcp(e dhcpd.Event) {
	seen, worth := sighting(e)
	if !worth {
		return
	}
	select {
	case s.queue <- seen:
	default:
	}
}

// sighting says what a DHCP exchange tells of a machine, and whether it is
// worth a record: the first packet of a boot, and a refusal.
func sighting(e dhcpd.Event) (fleet.Sighting, bool) {
	s := fleet.Sighting{MAC: e.MAC.String()}
	switch e.Client {
	case dhcpd.PXE, dhcpd.HTTP:
		s.Source = fleet.FromFirmware
	case dhcpd.IPXE:
		s.Source = fleet.FromIPXE
	}
	if e.Client != dhcpd.System {
		s.Firmware = ipxe.Arch(e.Arch).String()
	}
	switch {
	case e.Client != dhcpd.System && e.File == "" && e.Why != "":
		s.Message, s.Cause = "no boot file: "+e.Why, api.CauseNoBootFile
	case e.File != "":
		s.Message = fmt.Sprintf("DHCP %v: %s", e.Answer, e.File)
	}
	return s, s.MAC != "" && (s.Message != "" || s.Source != fleet.FromOther)
}

// withSightings runs a service and, beside it, the queue of what it saw.
func withSightings(ctx context.Context, s *sightings, run func(context.Context) error) error {
	done := make(chan struct{})
	stop, cancel := context.WithCancel(ctx)
	go func() {
		defer close(done)
		for {
			select {
			case seen := <-s.queue:
				if err := s.machines.Seen(stop, seen); err != nil && stop.Err() == nil {
					s.log.Warn("noting a machine", "mac", seen.MAC, "err", err)
				}
			case <-stop.Done():
				return
			}
		}
	}()
	err := run(ctx)
	cancel()
	<-done
	return err
}
