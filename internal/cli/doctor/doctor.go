// Package doctor finds out what would prevent machines from booting from a gild
// server on this host.
//
// It says what to do about each thing. It only looks: nothing is changed,
// nothing is leased. It works beside a running server as well as before the
// first start.
package doctor

import (
	"context"
	"net/netip"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/finding"
	"github.com/gild-dev/gild/internal/server/dhcpd"
)

// Finding is the answer of one check. A problem keeps every machine from
// booting from here.
type Finding = finding.Finding

// Levels of a finding.
const (
	OK      = finding.OK
	Warning = finding.Warning
	Problem = finding.Problem
	Unknown = finding.Unknown
)

// Patient is the server to be looked at, running or not.
type Patient struct {
	DataDir   string
	Interface string     // empty: what hangs on it is left out, and said so
	Address   netip.Addr // of the interface, for the server; zero: by the rule of gild serve
	Mode      dhcpd.Mode // as it is to be served
	Auto      bool       // Mode is chosen at the start, by who else answers
	Port      int        // boot HTTP
	Operator  string     // address of the operator API
	Advertise string     // host by which agents reach the server; empty: the interface's address
	IPXEDirs  []string
	Settings  string // file that was read; empty: none
	Discover  string // image that unknown machines boot; empty: none
	Kernel    string // boot kernel that --boot-kernel names; empty: the newest
	Cert, Key string // files of the operator API; empty: plain HTTP
	Images    func() ([]api.Image, error)
	// Kernels are the boot kernels by name, each with its architecture.
	Kernels func() (map[string]string, error)
	// Bootable says why an image cannot be booted, by its digest.
	Bootable func(digest string) error
	// State tells how full the state of the running server is; an error when
	// none runs.
	State func(context.Context) (api.StateUsage, error)
	// Servers lists the servers that run, with what is wrong with them; nil:
	// nobody can be asked.
	Servers func(ctx context.Context) ([]api.Server, error)
	// Machines lists those that the running server knows; nil: nobody can be
	// asked.
	Machines func(ctx context.Context) ([]api.Machine, error)
	// Events is the past of one of them, oldest first; nil: nobody can be
	// asked.
	Events func(ctx context.Context, id string) ([]api.Event, error)
	// Answers reports whether a gild server answers at a base URL, and the
	// time by its clock.
	Answers func(ctx context.Context, url string) (time.Time, error)
}

// check is one question; a check may find several things, or nothing to say.
type check struct {
	name string
	look func(context.Context, *Patient) []Finding
}

// checks are in the order in which a first start would meet them.
var checks = []check{
	{"settings", settings},
	{"data directory", dataDir},
	{"disk space", diskSpace},
	{"state", stateUsage},
	{"images", images},
	{"discovery", discovery},
	{"boot kernel", bootKernel},
	{"iPXE", ipxeFiles},
	{"interface", networkInterface},
	{"address", address},
	{"ports", ports},
	{"firewall", firewall},
	{"other DHCP servers", otherDHCP},
	{"certificate", certificate},
	{"alarms", alarms},
	{"machines", machines},
	{"clock", clock},
}

// lookWithin bounds one check. Listening for DHCP servers takes six seconds.
const lookWithin = 15 * time.Second

// Examine runs every check and calls each with its findings as they come.
func Examine(ctx context.Context, p *Patient, each func(Finding)) {
	for _, c := range checks {
		look, cancel := context.WithTimeout(ctx, lookWithin)
		for _, f := range c.look(look, p) {
			f.Check = c.name
			each(f)
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
	}
}

func one(level, says, remedy string) []Finding {
	return []Finding{{Level: level, Says: says, Remedy: remedy}}
}
