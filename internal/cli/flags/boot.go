package flags

import (
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/gild-dev/gild/internal/cli/app"
)

// defaultPort is the TCP port of boot HTTP.
const defaultPort = 8080

// Boot is what a server on the boot network is told, and what is looked at
// before it is started.
type Boot struct {
	Interface string
	Address   string
	DHCP      string // auto, server, proxy or off
	Port      int    // of boot HTTP
	Operator  string
	Advertise string
	IPXEDirs  []string
}

// Register adds the flags to those of a command.
func (b *Boot) Register(f *pflag.FlagSet) {
	f.StringVar(&b.Interface, "interface", "", "network `interface` that faces the machines (required)")
	f.StringVar(&b.Address, "address", "",
		"`address` of the interface that machines reach this server by (default: the first that is not link-local; it is followed when "+
			"it changes)")
	f.StringVar(&b.DHCP, "dhcp", "auto", "auto, server, proxy or off")
	f.IntVar(&b.Port, "port", defaultPort, "TCP `port` for boot HTTP")
	f.StringVar(&b.Operator, "operator", app.DefaultOperator,
		"`address` of the operator API and the dashboard, which ask for the admin token; commands on this host use the socket in --data")
	f.StringVar(&b.Advertise, "advertise", "", "`host` name or address by which agents reach this server (default: the interface's address)")
	f.StringSliceVar(&b.IPXEDirs, "ipxe", nil, "`directory` with iPXE boot programs (default: the distribution's locations)")
}

// OwnAddress reads --address; zero: by the rule.
func (b *Boot) OwnAddress() (netip.Addr, error) { return IPv4("address", b.Address) }

// IPv4 reads the address of a flag; zero: the flag is not given.
func IPv4(flag, text string) (a netip.Addr, err error) {
	if text == "" {
		return a, nil
	}
	if a, err = netip.ParseAddr(text); err != nil || !a.Is4() {
		return netip.Addr{}, fmt.Errorf("--%s %.60q is not a valid IPv4 address", flag, text)
	}
	return a, nil
}
