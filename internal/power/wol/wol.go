// Package wol switches a machine on by Wake-on-LAN.
//
// The magic packet is that of AMD's white paper 20213: six bytes FF, then the
// MAC address sixteen times. It is answered by nobody, so nothing but On is
// there.
package wol

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/gild-dev/gild/internal/backoff"
	"github.com/gild-dev/gild/internal/power"
)

// Driver wakes one machine.
type Driver struct {
	// MACs are the addresses of the machine; each gets its packets.
	MACs []net.HardwareAddr
	// Address is where packets go, ADDRESS or ADDRESS:PORT: the broadcast address
	// of a network, or one host that forwards them. Empty: the broadcast address of
	// every network that this host is in.
	Address string
	// Broadcasts lists the broadcast addresses of this host's networks; nil:
	// those of its interfaces.
	Broadcasts func() ([]netip.Addr, error)
}

// port is discard, where nobody takes the packet for something else.
const port = "9"

// A packet may be lost, and nobody says so.
const (
	repeats = 3
	between = 100 * time.Millisecond
)

// Magic is the packet that wakes the owner of a MAC address.
func Magic(mac net.HardwareAddr) []byte {
	return append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat(mac, 16)...)
}

// On sends the packets. That they were sent is all that is known then.
func (d *Driver) On(ctx context.Context) error {
	const op = "waking the machine"
	packets, err := d.packets()
	if err != nil {
		return power.Fail(power.Failed, op, err)
	}
	to, err := d.targets()
	if err != nil {
		return power.Fail(power.Failed, op, err)
	}
	var dialer net.Dialer
	var failed error
	sent := 0
	for i := range repeats {
		if i > 0 && backoff.Sleep(ctx, between) != nil {
			break
		}
		for _, address := range to {
			err := sendAll(ctx, &dialer, address, packets)
			if err == nil {
				sent++
			}
			failed = cmp.Or(failed, err)
		}
	}
	if sent == 0 {
		return power.Classify(op, cmp.Or(ctx.Err(), failed))
	}
	return nil
}

func sendAll(ctx context.Context, dialer *net.Dialer, address string, packets [][]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	conn, err := dialer.DialContext(ctx, "udp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, p := range packets {
		if _, err := conn.Write(p); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) packets() ([][]byte, error) {
	if len(d.MACs) == 0 {
		return nil, errors.New("no MAC address of the machine is known")
	}
	var all [][]byte
	for _, mac := range d.MACs {
		all = append(all, Magic(mac))
	}
	return all, nil
}

func (d *Driver) targets() ([]string, error) {
	if d.Address != "" {
		if _, _, err := net.SplitHostPort(d.Address); err == nil {
			return []string{d.Address}, nil
		}
		return []string{net.JoinHostPort(d.Address, port)}, nil
	}
	list := d.Broadcasts
	if list == nil {
		list = broadcasts
	}
	found, err := list()
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("no network with a broadcast address is up on this host")
	}
	var out []string
	for _, a := range found {
		out = append(out, net.JoinHostPort(a.String(), port))
	}
	return out, nil
}

// broadcasts are the addresses that reach everybody in each network of this
// host. Unlike 255.255.255.255, each leads out by its own interface.
func broadcasts() ([]netip.Addr, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagBroadcast == 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // it went away meanwhile
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() && p.Bits() < 31 {
				out = append(out, lastOf(p))
			}
		}
	}
	return out, nil
}

// lastOf is the last address of an IPv4 network.
func lastOf(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		a[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(a)
}

const name = "Wake-on-LAN"

// Status cannot be read.
func (d *Driver) Status(context.Context) (power.State, error) {
	return power.Unknown, power.Cannot(name, power.VerbStatus)
}

// Off is not there.
func (d *Driver) Off(context.Context, bool) error { return power.Cannot(name, power.VerbOff) }

// Cycle is not there.
func (d *Driver) Cycle(context.Context) error { return power.Cannot(name, power.VerbCycle) }

// Reset is not there.
func (d *Driver) Reset(context.Context) error { return power.Cannot(name, power.VerbReset) }

// BootOnce is not there.
func (d *Driver) BootOnce(context.Context, power.Boot) error {
	return power.Cannot(name, power.VerbBootOnce)
}

// Identify is not there.
func (d *Driver) Identify(context.Context, time.Duration) error {
	return power.Cannot(name, power.VerbIdentify)
}
