package dhcpd

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/iana"
)

// The ports: RFC 2131, and the boot server port of the PXE specification 2.1.
const (
	portDHCP   = 67
	portClient = 68
	portPXE    = 4011
)

// maxHops is where RFC 1542 section 4.1.1 lets a request be discarded.
const maxHops = 16

// Event tells how one request was answered, or why it was not. Strings in it
// may be the client's.
type Event struct {
	Time   time.Time
	MAC    net.HardwareAddr
	UUID   string // option 97, in wire order; "" when not sent
	Client Client
	Arch   iana.Arch // 0 also when it is not named; then Why says so
	Asked  dhcpv4.MessageType
	Answer dhcpv4.MessageType // MessageTypeNone: silence
	Addr   netip.Addr         // offered or leased
	File   string             // boot file or script given
	Why    string             // why there was silence, a NAK, or no file for a machine that boots
	// InfiniBand says that it came from such a card, of which no machine boots
	// here.
	InfiniBand bool
	// Conflicts are addresses of the range that a host without a lease was found to
	// use.
	Conflicts []Conflict
}

// Conflict is an address that somebody uses who has no lease of it.
type Conflict struct {
	Addr netip.Addr
	By   net.HardwareAddr
}

// Responder decides on answers. It does no I/O but by its fields, which must
// not change while it is used.
type Responder struct {
	Config Config
	Leases *Pool            // used in Full only
	Now    func() time.Time // nil: time.Now
	// Used asks the link which host has an address, nil for none; it may wait for a
	// moment. An error says why that cannot be known now. nil: nobody is asked.
	Used func(a netip.Addr, now time.Time) (net.HardwareAddr, error)
}

// Reply answers a request that arrived on a port (67 or 4011), or gives nil for
// silence. It never changes req and may be called concurrently.
func (r *Responder) Reply(req *dhcpv4.DHCPv4, port int) (*dhcpv4.DHCPv4, Event) {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	ev := Event{
		Time: now(), MAC: req.ClientHWAddr, UUID: uuidOf(req), Client: clientOf(req), Asked: req.MessageType(),
		InfiniBand: req.HWType == iana.HWTypeInfiniband,
	}
	if ev.Client.boots() {
		ev.Arch, _ = archOf(req)
	}
	if ev.Why = r.unfit(req); ev.Why != "" {
		return nil, ev
	}
	var reply *dhcpv4.DHCPv4
	switch {
	case r.Config.Mode == Proxy || r.Config.Mode == Full && port == portPXE:
		reply = r.boot(req, port, &ev)
	case r.Config.Mode == Full:
		if s := r.Config.scope(req); s != nil {
			r = s.within(r)
		}
		reply = r.lease(req, &ev)
	case r.Config.Mode == Listening:
		ev.Why = "listening for other DHCP servers first"
	default:
		ev.Why = "DHCP is off"
	}
	if reply != nil {
		ev.Answer = reply.MessageType()
	}
	return reply, ev
}

// unfit says why a packet deserves no answer in any mode.
func (r *Responder) unfit(req *dhcpv4.DHCPv4) string {
	relay := address(req.GatewayIPAddr)
	switch {
	case req.OpCode != dhcpv4.OpcodeBootRequest:
		return "not a request"
	case req.HWType == iana.HWTypeInfiniband:
		return "InfiniBand is not supported, as its firmware shows no address that a machine is known by (RFC 4390): let it boot from " +
			"an Ethernet port"
	case len(req.ClientHWAddr) == 0 || len(req.ClientHWAddr) > dhcpv4.MaxHWAddrLen:
		return "no hardware address"
	case req.HopCount > maxHops:
		return "relayed too often"
	case relay.IsLoopback() || relay.IsMulticast() || relay == limited:
		return fmt.Sprintf("relay address %v cannot be that of a relay", relay)
	}
	return ""
}

// boot answers as a proxyDHCP server: boot files, no addresses.
func (r *Responder) boot(req *dhcpv4.DHCPv4, port int, ev *Event) *dhcpv4.DHCPv4 {
	if ev.Client == System {
		ev.Why = "does not boot from the network"
		return nil
	}
	if ev.Why = r.Config.foreignRelay(req); ev.Why != "" {
		return nil
	}
	answer := dhcpv4.MessageTypeAck
	switch {
	case ev.Asked == dhcpv4.MessageTypeDiscover && port == portDHCP:
		answer = dhcpv4.MessageTypeOffer
	case ev.Asked == dhcpv4.MessageTypeRequest && port == portPXE:
	case ev.Asked == dhcpv4.MessageTypeInform:
	default:
		ev.Why = "for the DHCP server that leases addresses"
		return nil
	}
	reply := r.start(req, answer)
	file, err := r.Config.addBoot(reply, req, ev.Client)
	if err != nil {
		ev.Why = err.Error()
		return nil
	}
	ev.File = file
	reply.ClientIPAddr = req.ClientIPAddr
	return reply
}

// lease answers as the server of the network.
func (r *Responder) lease(req *dhcpv4.DHCPv4, ev *Event) *dhcpv4.DHCPv4 {
	if ev.Why = r.Config.foreignRelay(req); ev.Why != "" {
		return nil
	}
	server := address(req.ServerIdentifier())
	other := server.IsValid() && server != r.Config.ServerIP
	client := clientKey(req)
	switch ev.Asked {
	case dhcpv4.MessageTypeDiscover:
		return r.offer(req, client, ev)
	case dhcpv4.MessageTypeRequest:
		if other {
			ev.Why = fmt.Sprintf("chose the server %v", server)
			return nil
		}
		return r.grant(req, client, server.IsValid(), ev)
	case dhcpv4.MessageTypeInform:
		reply := r.start(req, dhcpv4.MessageTypeAck)
		r.configure(reply, req, ev)
		reply.ClientIPAddr = req.ClientIPAddr
		return reply
	case dhcpv4.MessageTypeDecline:
		if !other {
			ev.Addr = address(req.RequestedIPAddress())
			ev.Why = fmt.Sprintf("address %v is in use by another host", ev.Addr)
			r.Leases.Decline(client, ev.Addr, ev.Time)
		}
	case dhcpv4.MessageTypeRelease:
		if !other {
			ev.Addr = address(req.ClientIPAddr)
			r.Leases.Release(client, ev.Addr)
		}
	default:
		ev.Why = "message type is not one that clients send"
	}
	return nil
}

// maxLooks bounds how many addresses are looked at for one offer, maxReclaims
// how many holders are asked for one that is left behind.
const (
	maxLooks    = 16
	maxReclaims = 8
)

func (r *Responder) offer(req *dhcpv4.DHCPv4, client string, ev *Event) *dhcpv4.DHCPv4 {
	var a netip.Addr
	for look := 0; ; look++ {
		var err error
		a, err = r.Leases.Offer(client, address(req.RequestedIPAddress()), ev.Time)
		if err != nil && look < maxLooks && r.reclaim(err, ev) {
			continue
		}
		if err == nil && look == maxLooks {
			err = fmt.Errorf("%d addresses from %v to %v are used by hosts that have no lease: exclude them, or choose another range", look,
				r.Config.First, r.Config.Last)
		}
		if err != nil {
			ev.Why = err.Error()
			return nil
		}
		used, err := r.used(client, a, ev)
		if err != nil {
			ev.Why = err.Error()
			return nil
		}
		if !used {
			break
		}
	}
	ev.Addr = a
	reply := r.start(req, dhcpv4.MessageTypeOffer)
	r.configure(reply, req, ev)
	r.setLease(reply, a, r.Config.leaseTime())
	return reply
}

// used reports whether another host than the client uses an address that the
// client does not have yet. Then it is left alone for a while.
func (r *Responder) used(client string, a netip.Addr, ev *Event) (bool, error) {
	if r.Used == nil || !a.IsValid() || r.Leases.Holds(client, a, ev.Time) {
		return false, nil
	}
	by, err := r.Used(a, ev.Time)
	if err != nil || by == nil || bytes.Equal(by, ev.MAC) {
		return false, err
	}
	r.Leases.Occupied(a, ev.Time.Add(quarantine))
	ev.Conflicts = append(ev.Conflicts, Conflict{a, by})
	return true, nil
}

// reclaim makes room for one more when there is none: it takes an address back
// that a newcomer has leased and left behind, as nobody answers there any more,
// or never did. Those that answer are noted, so that they count for the
// machines that they are. A flood of made-up clients cannot answer, a machine
// that boots does.
func (r *Responder) reclaim(lack error, ev *Event) (done bool) {
	if r.Used == nil {
		return false
	}
	for _, c := range r.Leases.Trials(maxReclaims, ev.Time) {
		by, err := r.Used(c.Addr, ev.Time)
		switch {
		case err != nil:
			return done
		case by == nil:
			r.Leases.Release(c.Client, c.Addr)
			return true
		}
		r.Leases.Alive(c)
		done = done || errors.Is(lack, ErrCrowded)
	}
	return done
}

// grant answers a REQUEST in each state of RFC 2131 section 4.3.2. Without a
// record a server should be silent; this one grants a free address of its
// range, since it may have forgotten the lease.
func (r *Responder) grant(req *dhcpv4.DHCPv4, client string, chosen bool, ev *Event) *dhcpv4.DHCPv4 {
	a := address(req.RequestedIPAddress()) // SELECTING and INIT-REBOOT
	if !a.IsValid() {
		a = address(req.ClientIPAddr) // RENEWING and REBINDING
	}
	ev.Addr = a
	d, err := time.Duration(0), ErrTaken
	used := false
	if r.Leases.Mine(client, a) {
		if used, err = r.used(client, a, ev); err == nil && !used {
			d, err = r.Leases.Take(client, a, ev.Time, r.Config.leaseTime())
			if errors.Is(err, ErrCrowded) && r.reclaim(err, ev) {
				d, err = r.Leases.Take(client, a, ev.Time, r.Config.leaseTime())
			}
		}
	}
	if err == nil && !used {
		reply := r.start(req, dhcpv4.MessageTypeAck)
		r.configure(reply, req, ev)
		r.setLease(reply, a, d)
		reply.ClientIPAddr = req.ClientIPAddr
		return reply
	}
	if err != nil && !errors.Is(err, ErrTaken) {
		// A NAK would take its address from a system that may well have it.
		ev.Why = err.Error()
		return nil
	}
	inRange := a.IsValid() && a.Compare(r.Config.First) >= 0 && a.Compare(r.Config.Last) <= 0
	switch {
	case !r.Config.Subnet.Contains(a):
		ev.Why = fmt.Sprintf("address %v is not in subnet %v", a, r.Config.Subnet.Masked())
	case r.Leases.Barred != nil && inRange && r.Leases.Barred(a) != "":
		ev.Why = fmt.Sprintf("address %v is %s", a, r.Leases.Barred(a))
	case inRange:
		ev.Why = fmt.Sprintf("address %v is not free", a)
	case chosen:
		ev.Why = fmt.Sprintf("address %v is outside of the range", a)
	default:
		ev.Why = fmt.Sprintf("address %v is outside of the range, perhaps another server's", a)
		return nil
	}
	nak := r.start(req, dhcpv4.MessageTypeNak)
	// a relay must broadcast it too: the client's address is no good (RFC 2131
	// 4.3.2)
	nak.SetBroadcast()
	return nak
}

// start makes a reply with what all of them have.
func (r *Responder) start(req *dhcpv4.DHCPv4, t dhcpv4.MessageType) *dhcpv4.DHCPv4 {
	reply := &dhcpv4.DHCPv4{
		OpCode: dhcpv4.OpcodeBootReply, HWType: req.HWType, TransactionID: req.TransactionID, Flags: req.Flags,
		GatewayIPAddr: req.GatewayIPAddr, ClientHWAddr: req.ClientHWAddr, Options: dhcpv4.Options{},
	}
	reply.UpdateOption(dhcpv4.OptMessageType(t))
	reply.UpdateOption(dhcpv4.OptServerIdentifier(ip(r.Config.ServerIP)))
	// RFC 3046 and RFC 6842: given back as they came.
	for _, code := range []dhcpv4.OptionCode{dhcpv4.OptionRelayAgentInformation, dhcpv4.OptionClientIdentifier} {
		if b := req.Options.Get(code); b != nil {
			reply.UpdateOption(dhcpv4.OptGeneric(code, b))
		}
	}
	return reply
}

// configure adds what every client of the network needs, and the boot file for
// those that boot.
func (r *Responder) configure(reply, req *dhcpv4.DHCPv4, ev *Event) {
	c := r.Config
	reply.UpdateOption(dhcpv4.OptSubnetMask(net.CIDRMask(c.Subnet.Bits(), 32)))
	reply.UpdateOption(dhcpv4.OptBroadcastAddress(ip(broadcast(c.Subnet))))
	if c.Router.IsValid() {
		reply.UpdateOption(dhcpv4.OptRouter(ip(c.Router)))
	}
	if len(c.DNS) > 0 {
		var servers []net.IP
		for _, d := range c.DNS {
			servers = append(servers, ip(d))
		}
		reply.UpdateOption(dhcpv4.OptDNS(servers...))
	}
	if c.Domain != "" {
		reply.UpdateOption(dhcpv4.OptDomainName(c.Domain))
	}
	if ev.Client == System {
		return
	}
	file, err := c.addBoot(reply, req, ev.Client)
	ev.File = file
	if err != nil {
		ev.Why = err.Error()
	}
}

func (r *Responder) setLease(reply *dhcpv4.DHCPv4, a netip.Addr, t time.Duration) {
	reply.YourIPAddr = ip(a)
	reply.UpdateOption(dhcpv4.OptIPAddressLeaseTime(t))
	reply.UpdateOption(dhcpv4.OptRenewTimeValue(t / 2))
	reply.UpdateOption(dhcpv4.OptRebindingTimeValue(t * 7 / 8))
}

var limited = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// destination says where a reply goes (RFC 2131 section 4.1). A client without
// an address cannot be reached but by broadcast: nothing here writes the
// kernel's ARP table for it. A client address that is not of this network is
// not trusted: it could be a victim's.
func (c Config) destination(reply *dhcpv4.DHCPv4, from netip.AddrPort, port int) netip.AddrPort {
	relay, client := address(reply.GatewayIPAddr), address(reply.ClientIPAddr)
	switch {
	case relayed(relay):
		return netip.AddrPortFrom(relay, portDHCP)
	case reply.MessageType() == dhcpv4.MessageTypeNak:
	case port == portPXE && c.local(from.Addr()) && from.Port() != 0:
		return from
	case c.local(client) && reply.MessageType() == dhcpv4.MessageTypeAck:
		return netip.AddrPortFrom(client, portClient)
	}
	return netip.AddrPortFrom(limited, portClient)
}
