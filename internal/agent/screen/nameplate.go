package screen

import (
	"cmp"
	"strings"
	"sync"

	"github.com/gild-dev/gild/internal/api"
)

// Nameplate shows a person which machine a screen belongs to, and what
// to call it in a command. It fills as the machine learns of itself: firmware,
// then link, then the server's answer. Safe for concurrent use.
type Nameplate struct {
	mu             sync.Mutex
	name, mac      string
	vendor, serial string
}

// Bounds of what others say of the machine, in bytes, so that all of it fits in
// a line of the screen or two.
const (
	maxName     = 63
	maxHardware = 48
)

// Hardware takes in what the firmware says of the machine.
func (p *Nameplate) Hardware(i api.Inventory) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.vendor, p.serial = short(i.Vendor+" "+i.Product, maxHardware), short(i.Serial, maxHardware)
}

// Link takes in the address that the machine came by.
func (p *Nameplate) Link(mac string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mac = mac
}

// Called takes in what operators call the machine, and reports whether that
// is news.
func (p *Nameplate) Called(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	name = short(name, maxName)
	news := name != "" && name != p.name
	p.name = name
	return news
}

// String is everything known: "web-17, 52:54:00:12:34:56, Dell R640, serial X".
func (p *Nameplate) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var parts []string
	for _, s := range []string{p.name, p.mac, p.vendor} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if p.serial != "" {
		parts = append(parts, "serial "+p.serial)
	}
	return strings.Join(parts, ", ")
}

// Argument is what commands know the machine by; empty: it has no such label
// yet.
func (p *Nameplate) Argument() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.name, p.mac)
}
