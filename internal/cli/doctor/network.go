package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/cli/exit"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/portowner"
	"github.com/gild-dev/gild/internal/server/setup"
)

// noInterface is the remedy of everything that hangs on an interface.
const noInterface = "name the network interface that faces the machines with --interface; `ip -br address` lists them"

func networkInterface(_ context.Context, p *Patient) []Finding {
	if p.Interface == "" {
		return one(Unknown, "none is named: what hangs on it is left out", noInterface)
	}
	addr, err := p.interfaceAddr()
	if err != nil {
		return one(Problem, err.Error(), exit.HintOf(err))
	}
	ifi, err := net.InterfaceByName(p.Interface)
	if err != nil {
		return one(Problem, err.Error(), "")
	}
	switch {
	case ifi.Flags&net.FlagUp == 0:
		return one(Problem, p.Interface+" is down", "ip link set "+p.Interface+" up")
	case ifi.Flags&net.FlagLoopback != 0:
		return one(Problem, p.Interface+" leads nowhere but here", noInterface)
	case ifi.Flags&net.FlagRunning == 0:
		return one(Problem, p.Interface+" has no carrier", "look at cable and switch port")
	case addr.Addr().IsLinkLocalUnicast():
		return one(Warning, fmt.Sprintf("%s has only the link-local address %v: its DHCP client got no answer", p.Interface, addr),
			"give it a fixed address")
	case addr.Bits() > 30 && p.Mode != dhcpd.Off:
		return one(Problem, fmt.Sprintf("%s has %v: there is no address left for a machine", p.Interface, addr),
			"give it a larger network, such as /24")
	}
	return one(OK, fmt.Sprintf("%s has %v", p.Interface, addr), "")
}

func (p *Patient) interfaceAddr() (netip.Prefix, error) {
	return setup.InterfaceAddr(p.Interface, p.Address)
}

// baseURL is where machines boot from; empty when that is not known.
func (p *Patient) baseURL() string {
	host := p.Advertise
	if host == "" {
		addr, err := p.interfaceAddr()
		if err != nil {
			return ""
		}
		host = addr.Addr().String()
	}
	return "http://" + net.JoinHostPort(host, strconv.Itoa(p.Port))
}

// address looks at the name that agents are sent to: a name that leads
// elsewhere boots no machine, and every machine alike.
func address(ctx context.Context, p *Patient) []Finding {
	mine, err := p.interfaceAddr()
	if p.Interface == "" || err != nil {
		return nil // told by the interface's own check
	}
	if p.Advertise != "" {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", p.Advertise)
		if err != nil {
			return one(Problem, fmt.Sprintf("--advertise %s: %v", p.Advertise, err),
				"machines must be able to look the name up too; an address needs no DNS")
		}
		leadsHere := false
		for _, a := range found {
			leadsHere = leadsHere || a.Unmap() == mine.Addr()
		}
		if !leadsHere {
			return one(Warning, fmt.Sprintf("%s is %v, and %s has %v", p.Advertise, found, p.Interface, mine.Addr()),
				"right behind a load balancer; else name the interface's address")
		}
	}
	url := p.baseURL()
	if _, err := p.Answers(ctx, url); err != nil {
		return one(OK, "machines will be sent to "+url+" (no server answers there yet)", "")
	}
	return one(OK, "a server answers at "+url, "")
}

// port is one that a server listens on.
type port struct {
	network string // "tcp" or "udp"
	host    string // empty: all
	number  int
	name    string
}

func (p *Patient) ports() []port {
	list := []port{}
	if addr, err := p.interfaceAddr(); err == nil {
		list = append(list, port{"tcp", addr.Addr().String(), p.Port, "boot HTTP"}, port{"udp", addr.Addr().String(), 69, "TFTP"})
	}
	if p.Mode != dhcpd.Off {
		list = append(list, port{"udp", "0.0.0.0", 67, "DHCP"}, port{"udp", "0.0.0.0", 4011, "PXE boot server"})
	}
	if host, n, err := net.SplitHostPort(p.Operator); err == nil {
		if number, err := strconv.Atoi(n); err == nil {
			list = append(list, port{"tcp", host, number, "operator API"})
		}
	}
	return list
}

// ports opens each port for a moment. Those of a server that runs are as they
// should be.
func ports(ctx context.Context, p *Patient) []Finding {
	running := false
	if url := p.baseURL(); p.Interface != "" && url != "" {
		_, err := p.Answers(ctx, url)
		running = err == nil
	}
	var found []Finding
	var free []string
	for _, q := range p.ports() {
		err := q.try(ctx)
		text := fmt.Sprintf("%s port %d (%s)", strings.ToUpper(q.network), q.number, q.name)
		switch {
		case err == nil:
			free = append(free, strconv.Itoa(q.number))
		case errors.Is(err, syscall.EADDRINUSE):
			who := cmp.Or(portowner.Number(q.network, q.number), "another program")
			if running && strings.HasPrefix(who, "gild") {
				free = append(free, strconv.Itoa(q.number))
				continue
			}
			found = append(found, Finding{
				Level: Problem, Says: text + " is taken by " + who,
				Remedy: "stop it, or choose another port where there is a choice",
			})
		case errors.Is(err, os.ErrPermission):
			found = append(found, Finding{
				Level: Unknown, Says: text + " may not be opened by this user",
				Remedy: "run as root, or setcap cap_net_bind_service,cap_net_raw+ep on the gild program",
			})
		default:
			found = append(found, Finding{Level: Problem, Says: text + ": " + err.Error()})
		}
	}
	if len(free) > 0 {
		state := "free"
		if running {
			state = "free or held by the running server"
		}
		found = append(found, Finding{Level: OK, Says: strings.Join(free, ", ") + " " + state})
	}
	return found
}

func (q port) try(ctx context.Context) error {
	var lc net.ListenConfig
	addr := net.JoinHostPort(q.host, strconv.Itoa(q.number))
	if q.network == "tcp" {
		l, err := lc.Listen(ctx, "tcp", addr)
		if err == nil {
			l.Close()
		}
		return err
	}
	c, err := lc.ListenPacket(ctx, "udp4", addr)
	if err == nil {
		c.Close()
	}
	return err
}

func otherDHCP(ctx context.Context, p *Patient) []Finding {
	if p.Interface == "" {
		return nil
	}
	others, err := dhcpd.Probe(ctx, p.Interface)
	if errors.Is(err, os.ErrPermission) {
		return one(Unknown, "listening for DHCP servers needs a raw socket", "run as root")
	}
	if err != nil {
		return one(Unknown, err.Error(), "")
	}
	mine := netip.Addr{}
	if addr, err := p.interfaceAddr(); err == nil {
		mine = addr.Addr()
	}
	var found []Finding
	leases := 0
	for _, o := range others {
		if o.Addr == mine {
			continue // our own, running
		}
		if !o.Proxy {
			leases++
		}
		if f, worth := p.judge(o); worth {
			found = append(found, f)
		}
	}
	switch {
	case p.Mode == dhcpd.Proxy && leases == 0:
		found = append(found, Finding{
			Level: Problem, Says: "no DHCP server answers on " + p.Interface + ", and a proxy leases no addresses",
			Remedy: "start the network's DHCP server, or serve with --dhcp server",
		})
	case p.Mode == dhcpd.Off && leases == 0:
		found = append(found, Finding{
			Level: Problem, Says: "no DHCP server answers on " + p.Interface,
			Remedy: "serve with --dhcp server or auto",
		})
	case len(found) == 0:
		found = one(OK, besides(leases), "")
	}
	return found
}

// besides says that the n DHCP servers beside this one are in nobody's way.
func besides(n int) string {
	switch n {
	case 0:
		return "no other DHCP server answered"
	case 1:
		return "one DHCP server leases addresses; it names no other boot file"
	}
	return fmt.Sprintf("%d DHCP servers lease addresses; none names another boot file", n)
}

// judge says what another server means for this one.
func (p *Patient) judge(o dhcpd.OtherServer) (Finding, bool) {
	switch {
	case o.BootFile != "" && p.Mode != dhcpd.Off:
		return Finding{
			Level: Problem, Says: fmt.Sprintf("DHCP server %v sends machines to its own boot file %.60q: which of the two wins is chance", o.Addr,
				o.BootFile),
			Remedy: "take options 66 and 67 (next-server, filename) out of its configuration, or stop it",
		}, true
	case !o.Proxy && p.Mode == dhcpd.Full && !p.Auto:
		return Finding{
			Level: Problem, Says: fmt.Sprintf("DHCP server %v leases addresses here too", o.Addr),
			Remedy: "serve with --dhcp auto or proxy: gild then only adds boot files to its leases",
		}, true
	case o.BootFile == "" && !o.Proxy && p.Mode == dhcpd.Off:
		return Finding{
			Level: Problem, Says: fmt.Sprintf("DHCP server %v names no boot file, and gild's DHCP is off", o.Addr),
			Remedy: "serve with --dhcp proxy, or set its boot file as docs/booting.md shows",
		}, true
	}
	return Finding{}, false
}

// alarms asks the servers that run what is wrong with them.
func alarms(ctx context.Context, p *Patient) []Finding {
	if p.Servers == nil {
		return nil
	}
	servers, err := p.Servers(ctx)
	if err != nil {
		return nil // none runs, which is no fault before the first start
	}
	var found []Finding
	for _, s := range servers {
		for _, a := range s.Alarms {
			level := Problem
			if a.Kind == api.AlarmInfiniBand {
				level = Warning // only that machine does not boot
			}
			says := fmt.Sprintf("%s says: %s", s.Name, a.Text)
			found = append(found, Finding{Level: level, Says: says, Remedy: "see docs/operations.md, alarm " + a.Kind})
		}
	}
	if len(found) == 0 && len(servers) > 0 {
		found = one(OK, "the running server has no alarm", "")
	}
	return found
}
