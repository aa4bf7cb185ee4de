package doortest

import (
	"context"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
)

// MAC is that of the machine.
const MAC = "52:54:00:00:00:01"

// Machines keeps one machine in memory under the real rules.
type Machines struct {
	mu     sync.Mutex
	Record fleet.Record
	Ticket string // for the scripts
}

// NewMachines knows a machine that nobody armed.
func NewMachines() *Machines { return &Machines{Record: fleet.Record{MAC: MAC}} }

// Seen implements firmware.Machines.
func (f *Machines) Seen(_ context.Context, s fleet.Sighting) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fleet.Seen(&f.Record, s, time.Now())
	return nil
}

// Boot implements firmware.Machines.
func (f *Machines) Boot(_ context.Context, who api.Inventory, _ string) (fleet.Decision, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, _ := fleet.Boot(&f.Record, who, nil, time.Now())
	d.Ticket = f.Ticket
	return d, nil
}

// Hello implements agents.Machines.
func (f *Machines) Hello(_ context.Context, h api.Hello, from string) (api.Answer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, _ := fleet.Hello(&f.Record, h, from, false, time.Now())
	return a, nil
}

// Report implements agents.Machines.
func (f *Machines) Report(_ context.Context, r api.Report, from string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := fleet.Report(&f.Record, r, from, time.Now())
	return err
}

// Identity implements agents.Machines.
func (f *Machines) Identity(_ context.Context, r api.IdentityRequest, _ string) (api.Identity, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Record.Armed == nil || f.Record.Armed.Plan.ID != r.Plan || f.Record.Session != r.Session {
		return api.Identity{}, false, &fleet.SessionError{MAC: r.MAC, Why: "it does not hold this plan"}
	}
	return api.Identity{Hostname: Canary}, f.Record.Armed.Plan.Identity != "", nil
}

// Beacon implements agents.Machines.
func (f *Machines) Beacon(_ context.Context, token, from string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := fleet.Beacon(&f.Record, token, from, time.Now())
	return ok, nil
}

// Canary stands for every secret: it must be found in no log.
const Canary = "CANARYCANARYCANARY"
