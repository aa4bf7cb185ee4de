package flags

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/gild-dev/gild/internal/cli/etcd"
)

// Serve is everything that a server is told: what gild serve does by, and gild
// doctor looks at.
type Serve struct {
	Boot
	Config    string // file; empty: the one in the data directory, if there
	Range     string
	Exclude   []string
	Networks  []string
	Lease     time.Duration
	Router    string
	DNS       []string
	Domain    string
	Cert, Key string // of the operator API
	BMCCA     string // file; empty: certificates of BMCs are pinned
	Rescue    bool
	Discover  string
	Kernel    string // name of the boot kernel
	ArmsLast  Lasting
	Verbose   bool
	Etcd      etcd.Options
}

// ReadSettings sets the flags that a file names and the command line does not,
// and tells which file that was. An empty path is the file of the data
// directory, if there; none read is an empty name.
type ReadSettings func(path string, flags *pflag.FlagSet) (read string, err error)

// Register adds the flags to those of a command.
func (s *Serve) Register(f *pflag.FlagSet) {
	f.StringVar(&s.Config, "config", "",
		"configuration `file` (default: gild.yaml in the data directory, or /etc/gild/gild.yaml for /var/lib/gild, if it exists)")
	s.Boot.Register(f)
	f.StringVar(&s.Range, "range", "", "addresses to lease, `FIRST-LAST` (default: the upper half of the subnet)")
	f.StringSliceVar(&s.Exclude, "exclude", nil, "`addresses` of the range never to lease: one, FIRST-LAST, or a network; may be repeated")
	f.StringSliceVar(&s.Networks, "networks", nil,
		"further `network` of machines behind a router: its TFTP requests are answered, and its DHCP relays beside another server; "+
			"10.0.8.1/24 says that 10.0.8.1 is a relay, and leases addresses there too; may be repeated")
	f.DurationVar(&s.Lease, "lease", time.Hour, "how long a lease lasts")
	f.StringVar(&s.Router, "router", "", "router `address` for leases")
	f.StringSliceVar(&s.DNS, "dns", nil, "name server `address` for leases; may be repeated")
	f.StringVar(&s.Domain, "domain", "", "domain `name` for leases")
	f.StringVar(&s.Cert, "operator-cert", "", "`file` with the TLS certificate chain of the operator API, PEM")
	f.StringVar(&s.Key, "operator-key", "", "`file` with its private key, PEM")
	f.StringVar(&s.BMCCA, "bmc-ca", "",
		"`file` with CA certificates, PEM, that sign for BMCs (default: the certificate that each is first seen with is pinned)")
	f.StringVar(&s.Discover, "discover", "",
		"boot unknown machines into the agent of this `image`, which reports their hardware and waits (default: they boot from their disk)")
	f.StringVar(&s.Kernel, "boot-kernel", "", "`name` of the boot kernel, which runs the agent for images whose own kernel cannot "+
		"(default: the newest stored one that fits the machine)")
	f.Var(&s.ArmsLast, "arm-expires", "how long a machine stays armed unless gild flash --expires says otherwise, or never (default 24h)")
	f.BoolVar(&s.Rescue, "rescue-shell", false, "give agents busybox and a shell on the console")
	f.BoolVarP(&s.Verbose, "verbose", "v", false, "log every packet and transfer")
	s.Etcd.Register(f)
}
