package machines

import (
	"context"
	"net"
	"net/netip"
	"sync"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/state"
)

// addressValue is the value of a machine that is its address: what its
// identity writes, DHCP leases too, and to nobody else.
const addressValue = "address"

// addresses is what the machines' records say of addresses, by client of DHCP.
// It follows the store, as the room does.
type addresses struct {
	mu       sync.Mutex
	machines map[string]addressRecord   // by ID, of registered machines
	clients  map[string]map[string]bool // client: the machines that have it
	owners   map[netip.Addr]string      // address: the machine whose record has it
	count    map[dhcpd.Range]int        // what Count found since the last change
}

// addressRecord is what the record of one machine says.
type addressRecord struct {
	clients []string   // the first is whom fixed is for
	fixed   netip.Addr // zero: any
}

// LoadAddresses reads what the records say before the first client asks, which
// is before the room follows the store.
func (s *Core) LoadAddresses(ctx context.Context) error {
	machines, _, err := s.Store.List(ctx)
	if err != nil {
		return err
	}
	d := &s.addresses
	d.take(state.Part{Kind: api.ChangeReset})
	for i := range machines {
		d.take(state.Part{Kind: api.ChangeMachine, ID: machines[i].ID, Record: &machines[i]})
	}
	return nil
}

// take notes a change of a machine.
func (d *addresses) take(c state.Part) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.Kind == api.ChangeReset || d.machines == nil {
		d.machines, d.clients, d.owners = map[string]addressRecord{}, map[string]map[string]bool{}, map[netip.Addr]string{}
	}
	if c.Kind == api.ChangeMachine || c.Kind == api.ChangeRemoved {
		d.forget(c.ID)
	}
	if c.Kind == api.ChangeMachine && c.Record.State != api.MachineDiscovered {
		d.note(c.Record)
	}
}

func (d *addresses) note(m *fleet.Record) {
	r := addressRecord{fixed: fixedAddress(m.Spec.Values)}
	// What the operator named goes first, then what was seen.
	for _, text := range append(append([]string(nil), m.Spec.MACs...), fleet.MACs(m)...) {
		mac, err := net.ParseMAC(text)
		if err != nil || len(mac) != 6 {
			continue
		}
		client := dhcpd.ClientKey(mac)
		r.clients = append(r.clients, client)
		if d.clients[client] == nil {
			d.clients[client] = map[string]bool{}
		}
		d.clients[client][m.ID] = true
	}
	d.machines[m.ID] = r
	if _, taken := d.owners[r.fixed]; r.fixed.IsValid() && !taken && len(r.clients) > 0 {
		d.owners[r.fixed] = m.ID
	}
	d.count = nil
}

// forget takes back what a record said.
func (d *addresses) forget(id string) {
	r := d.machines[id]
	delete(d.machines, id)
	for _, client := range r.clients {
		delete(d.clients[client], id)
		if len(d.clients[client]) == 0 {
			delete(d.clients, client)
		}
	}
	if d.owners[r.fixed] == id {
		delete(d.owners, r.fixed)
	}
	d.count = nil
}

// fixedAddress reads a machine's address, with or without the length of its
// network.
func fixedAddress(values map[string]string) netip.Addr {
	text := values[addressValue]
	if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() {
		return p.Addr()
	}
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() {
		return a
	}
	return netip.Addr{}
}

// Registered implements dhcpd.Registry.
func (d *addresses) Registered(client string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.clients[client]) > 0
}

// Registry is what the machines' records say for one network.
func (s *Core) Registry(subnet netip.Prefix) dhcpd.Registry {
	return registry{&s.addresses, subnet}
}

// registry is what the records say for one network: addresses outside of it are
// not leased there.
type registry struct {
	*addresses
	subnet netip.Prefix
}

// Fixed implements dhcpd.Registry.
func (r registry) Fixed(client string) netip.Addr {
	if a := r.fixed(client); r.subnet.Contains(a) {
		return a
	}
	return netip.Addr{}
}

// fixed is the address of a client's record.
func (d *addresses) fixed(client string) netip.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id := range d.clients[client] {
		r := d.machines[id]
		if r.clients[0] == client && d.owners[r.fixed] == id {
			return r.fixed
		}
	}
	return netip.Addr{}
}

// Owner implements dhcpd.Registry.
func (d *addresses) Owner(a netip.Addr) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	id, ok := d.owners[a]
	if !ok {
		return ""
	}
	return d.machines[id].clients[0]
}

// Count implements dhcpd.Registry.
func (d *addresses) Count(of dhcpd.Range) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n, ok := d.count[of]; ok {
		return n
	}
	n := 0
	for id, r := range d.machines {
		if d.owners[r.fixed] != id || of.Contains(r.fixed) {
			n++
		}
	}
	d.count = map[dhcpd.Range]int{of: n}
	return n
}
