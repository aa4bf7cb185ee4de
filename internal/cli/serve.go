package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gild-dev/gild/internal/cli/app"
	"github.com/gild-dev/gild/internal/cli/busybox"
	"github.com/gild-dev/gild/internal/cli/etcd"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/cli/flags"
	"github.com/gild-dev/gild/internal/server"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/ipxe"
	"github.com/gild-dev/gild/internal/server/segment"
	"github.com/gild-dev/gild/internal/version"
)

const (
	defaultBootPort = 8080
)

const serveLong = `Answer machines that boot from the network: DHCP, TFTP, HTTP.

A machine boots its local disk unless it is armed with gild flash. With
--dhcp auto the server listens for a DHCP server first: beside one it only adds
boot files to that server's leases (proxy), without one it leases addresses.

Every flag below can stand in a file of settings, by its name; the command line
has the last word. It is read strictly:

  interface: eth1
  dhcp: server
  range: 10.0.7.100-10.0.7.199
  dns: [10.0.0.53]
  discover: web`

// serveOptions are the flags of gild serve.
type serveOptions struct {
	iface     string
	address   string
	dhcp      string
	leases    string
	exclude   []string
	networks  []string
	lease     time.Duration
	router    string
	dns       []string
	domain    string
	port      int
	operator  string
	cert, key string // of the operator API
	advertise string
	rescue    bool
	discover  string
	armsLast  flags.Lasting
	ipxeDirs  []string
	verbose   bool
	etcd      etcd.Options
}

func (a commands) serveCmd() *cobra.Command {
	var o serveOptions
	var config string
	cmd := &cobra.Command{
		Use:   "serve --interface IF",
		Short: "answer machines that boot from the network",
		Long:  serveLong,
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.readConfig(config, cmd.LocalNonPersistentFlags()); err != nil {
				return err
			}
			return a.runServe(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&config, "config", "", "`file` with settings (default: gild.yaml in the data directory, if there)")
	f.StringVar(&o.iface, "interface", "", "network `interface` that faces the machines (required)")
	f.StringVar(&o.address, "address", "", "`address` of the interface that machines reach this server by (default: the first that is not link-local; it is followed when it changes)")
	f.StringVar(&o.dhcp, "dhcp", "auto", "auto, server, proxy or off")
	f.StringVar(&o.leases, "range", "", "addresses to lease, `FIRST-LAST` (default: the upper half of the subnet)")
	f.StringSliceVar(&o.exclude, "exclude", nil, "`addresses` of the range that are never leased: one, FIRST-LAST, or a network; may be repeated")
	f.StringSliceVar(&o.networks, "networks", nil, "further `network` of machines, behind a router: its TFTP requests are answered, and its DHCP relays beside another server; 10.0.8.1/24 says that 10.0.8.1 relays, and leases addresses there too; may be repeated")
	f.DurationVar(&o.lease, "lease", time.Hour, "how long a lease lasts")
	f.StringVar(&o.router, "router", "", "router `address` for leases")
	f.StringSliceVar(&o.dns, "dns", nil, "name server `address` for leases; may be repeated")
	f.StringVar(&o.domain, "domain", "", "domain `name` for leases")
	f.IntVar(&o.port, "port", defaultBootPort, "TCP `port` for boot HTTP")
	f.StringVar(&o.operator, "operator", app.DefaultOperator, "`address` of the operator API and the dashboard, which ask for the admin token; commands on this host use the socket in --data")
	f.StringVar(&o.cert, "operator-cert", "", "`file` with the TLS certificate chain of the operator API, PEM")
	f.StringVar(&o.key, "operator-key", "", "`file` with its private key, PEM")
	f.StringVar(&o.advertise, "advertise", "", "`host` name or address by which agents reach this server (default: the interface's address)")
	f.StringVar(&o.discover, "discover", "", "let unknown machines boot the agent of this `image`, tell what they are and wait (default: they boot their disk)")
	f.Var(&o.armsLast, "arm-expires", "how long an arm stands that does not say itself (gild flash --expires), or never (default 24h)")
	f.BoolVar(&o.rescue, "rescue-shell", false, "give agents busybox and a shell on the console")
	f.StringSliceVar(&o.ipxeDirs, "ipxe", nil, "`directory` with iPXE boot programs (default: the distribution's locations)")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log every packet and transfer")
	o.etcd.Register(f)
	return cmd
}

func (a commands) runServe(ctx context.Context, o serveOptions) error {
	if o.iface == "" {
		return exit.Usage(exit.Hint(errors.New("--interface is missing"), "name the network interface that faces the machines; `ip -br address` lists them"))
	}
	log := a.logger(o.verbose)
	for {
		err := a.serve(ctx, o, log)
		if !errors.Is(err, segment.ErrMoved) || ctx.Err() != nil {
			return err
		}
		// The interface has another address now, which everything names.
	}
}

// serve runs the server until ctx ends or its address has changed.
func (a commands) serve(ctx context.Context, o serveOptions, log *slog.Logger) error {
	network, why, err := o.network(ctx, log)
	if err != nil {
		return err
	}
	var shell *server.Busybox
	if o.rescue {
		if shell, err = busybox.Find(); err != nil {
			return err
		}
	}
	st, err := a.OpenStore()
	if err != nil {
		return err
	}
	certificate, err := o.certificate()
	if err != nil {
		return err
	}
	cluster, err := o.etcd.Cluster(a.EtcdPassword)
	if err != nil {
		return err
	}
	return server.New(server.Config{
		DataDir:      a.Data,
		Etcd:         cluster,
		Prefix:       o.etcd.Prefix,
		Store:        st,
		Network:      network,
		BootAddr:     net.JoinHostPort(network.Address.Addr().String(), strconv.Itoa(o.port)),
		OperatorAddr: o.operator,
		OperatorTLS:  certificate,
		Busybox:      shell,
		Discover:     o.discover,
		ArmExpires:   int(o.armsLast),
		Version:      version.String(),
		Log:          log,
		Confine:      a.Confine,
		Owned:        slices.Concat([]string{o.cert, o.key}, o.etcd.Files(), o.ipxeDirs),
		Ready: func(addrs server.Addrs) {
			fmt.Fprintln(a.Stderr, why)
			scheme := "http"
			if certificate != nil {
				scheme = "https"
			}
			fmt.Fprintf(a.Stderr, "machines boot from %s, the operator API and the dashboard are at %s://%s\n", addrs.BaseURL, scheme, addrs.Operator)
			if addrs.NewToken != "" {
				fmt.Fprintf(a.Stderr, "admin token, shown this once; the dashboard and --server ask for it: %s\n", addrs.NewToken)
			}
			fmt.Fprintln(a.Stderr, "ready: `gild flash MAC --image NAME` arms a machine, `gild machine ls` shows who was seen")
		},
	}).Run(ctx)
}

// logger writes what happens to standard error, for people or, with --json,
// for machines.
func (a commands) logger(verbose bool) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		o.Level = slog.LevelDebug
	}
	if a.JSON {
		return slog.New(slog.NewJSONHandler(a.Stderr, o))
	}
	return slog.New(slog.NewTextHandler(a.Stderr, o))
}

// network decides how the boot network is answered; why says so to a person.
func (o serveOptions) network(ctx context.Context, log *slog.Logger) (n server.Network, why string, err error) {
	n = server.Network{Interface: o.iface, Auto: o.dhcp == "auto", Stay: o.address != "", Domain: o.domain, Lease: o.lease, Log: log}
	want, err := ipv4("address", o.address)
	if err != nil {
		return n, "", exit.Usage(err)
	}
	if n.Address, err = server.InterfaceAddr(o.iface, want); err != nil {
		return n, "", err
	}
	if n.Address.Addr().IsLinkLocalUnicast() {
		log.Warn("the boot interface has only a link-local address: give it a real one, or machines that have another cannot reach this server",
			"interface", o.iface, "address", n.Address)
	}
	host := cmp.Or(o.advertise, n.Address.Addr().String())
	if strings.ContainsAny(host, "/: ") {
		return n, "", exit.Usage(fmt.Errorf("--advertise %q: give a host name or an IPv4 address alone", host))
	}
	n.BaseURL = "http://" + net.JoinHostPort(host, strconv.Itoa(o.port))
	if n.NBPs, err = ipxe.Find(o.ipxeDirs...); err != nil {
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

// ipv4 reads the address of a flag; zero: the flag is not given.
func ipv4(flag, text string) (a netip.Addr, err error) {
	if text == "" {
		return a, nil
	}
	if a, err = netip.ParseAddr(text); err != nil || !a.Is4() {
		return netip.Addr{}, fmt.Errorf("--%s %.60q is no IPv4 address", flag, text)
	}
	return a, nil
}

func (o serveOptions) mode(ctx context.Context) (dhcpd.Mode, string, error) {
	switch o.dhcp {
	case "auto":
		return server.ChooseMode(ctx, o.iface)
	case "server":
		return dhcpd.Full, "DHCP: leasing addresses on " + o.iface, nil
	case "proxy":
		return dhcpd.Proxy, "DHCP: adding boot files to another server's leases on " + o.iface, nil
	case "off":
		return dhcpd.Off, "DHCP: off; the DHCP server on " + o.iface + " must name the boot files", nil
	}
	return dhcpd.Off, "", exit.Usage(fmt.Errorf("--dhcp %.20q is not auto, server, proxy or off", o.dhcp))
}

// leased reads the flags that say what is leased, and what never is.
func (o serveOptions) leased(n *server.Network) error {
	n.First, n.Last = server.DefaultRange(n.Address)
	if o.leases != "" {
		r, err := dhcpd.ParseRange(o.leases)
		if err != nil || !strings.Contains(o.leases, "-") {
			return fmt.Errorf("--range %.60q is not of the form 192.168.1.100-192.168.1.200", o.leases)
		}
		n.First, n.Last, n.OwnRange = r.First, r.Last, true
	}
	for _, s := range o.exclude {
		r, err := dhcpd.ParseRange(s)
		if err != nil {
			return fmt.Errorf("--exclude: %w", err)
		}
		n.Exclude = append(n.Exclude, r)
	}
	for _, s := range o.networks {
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is4() {
			return fmt.Errorf("--networks %.60q is no IPv4 network, such as 192.168.1.0/24", s)
		}
		n.Networks = append(n.Networks, p)
	}
	var err error
	if n.Router, err = ipv4("router", o.router); err != nil {
		return err
	}
	for _, s := range o.dns {
		dns, err := ipv4("dns", s)
		if err != nil {
			return err
		}
		n.DNS = append(n.DNS, dns)
	}
	n.Servers = o.etcd.Addrs()
	if a, err := netip.ParseAddr(o.advertise); err == nil {
		n.Servers = append(n.Servers, a)
	}
	return nil
}
