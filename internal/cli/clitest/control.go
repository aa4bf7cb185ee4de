package clitest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/access"
	"github.com/gild-dev/gild/internal/server/door/operators"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/selector"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
	"github.com/gild-dev/gild/internal/server/fleet/uses"
	"github.com/gild-dev/gild/internal/settings"
)

// control answers what the handlers of the operator API ask.
type control struct{ f *Fake }

var _ operators.Control = control{}

// shown is what an operator sees of a machine.
func shown(m api.Machine) api.Machine {
	m.SpecRevision = specs.Revision(m.Spec)
	m.Spec.Labels = maps.Clone(m.Spec.Labels)
	return m
}

// with does something to the machine that is known by a name.
func (c control) with(name string, do func(m *api.Machine) error) (api.Machine, error) {
	c.f.Mu.Lock()
	defer c.f.Mu.Unlock()
	for i := range c.f.Machines {
		if m := &c.f.Machines[i]; m.ID == name || m.Spec.Name == name || m.MAC == name {
			err := do(m)
			return shown(*m), err
		}
	}
	return api.Machine{}, &fleet.UnknownError{What: "machine", Name: name, Help: "gild machine ls shows the machines"}
}

func (c control) Machines(_ context.Context, text string) ([]api.Machine, error) {
	c.f.Mu.Lock()
	defer c.f.Mu.Unlock()
	list, err := selector.Select(text, c.f.Machines)
	for i := range list {
		list[i] = shown(list[i])
	}
	return list, err
}

func (c control) Machine(_ context.Context, name string) (api.Machine, error) {
	return c.with(name, func(*api.Machine) error { return nil })
}

func (c control) Register(_ context.Context, _ string, spec api.Spec) (api.Machine, error) {
	c.f.Mu.Lock()
	defer c.f.Mu.Unlock()
	m := api.Machine{ID: "new", State: api.MachineRegistered, Spec: spec}
	c.f.Machines = append(c.f.Machines, m)
	return shown(m), nil
}

func (c control) Edit(_ context.Context, _, name, revision string, spec api.Spec) (api.Machine, error) {
	return c.with(name, func(m *api.Machine) error {
		if c.f.Race != "" && m.Spec.Name == c.f.Race {
			m.Spec.Serial += "1"
		}
		if revision != "" && revision != specs.Revision(m.Spec) {
			return &fleet.ConflictError{Problem: "changed by somebody else since it was read"}
		}
		m.Spec = spec
		return nil
	})
}

func (c control) Delete(_ context.Context, _, name string, force bool) error {
	m, err := c.with(name, func(m *api.Machine) error { return busy(m, "delete", force) })
	if err != nil {
		return err
	}
	c.f.Mu.Lock()
	defer c.f.Mu.Unlock()
	c.f.Machines = slices.DeleteFunc(c.f.Machines, func(o api.Machine) bool { return o.ID == m.ID })
	return nil
}

// busy refuses while a disk is written.
func busy(m *api.Machine, what string, force bool) error {
	if m.Writing && !force {
		return &fleet.BusyError{MAC: m.Spec.Name, What: what, Done: m.Progress}
	}
	return nil
}

func (c control) Preview(_ context.Context, name string, f api.FlashRequest) (p api.Preview, err error) {
	_, err = c.with(name, func(m *api.Machine) error {
		p = c.f.Previews[m.ID]
		p.Request, p.Machine = f, shown(*m)
		return nil
	})
	return p, err
}

func (c control) Flash(_ context.Context, _, name string, f api.FlashRequest) (api.Machine, error) {
	return c.with(name, func(m *api.Machine) error {
		if c.f.Changed[m.ID] {
			return &fleet.ConflictError{Problem: "what is on the disk has changed"}
		}
		c.f.Flashed[m.ID] = f
		m.State, m.Armed = api.MachineArmed, &api.Armed{Plan: api.Plan{ID: "plan-" + m.ID, Image: api.PlanImage{Name: f.Image}}}
		return nil
	})
}

func (c control) Cancel(_ context.Context, _, name string, force bool) (api.Machine, error) {
	return c.with(name, func(m *api.Machine) error {
		if err := busy(m, "cancel", force); err != nil {
			return err
		}
		if m.Writing {
			m.Writing, m.Message = false, "cancelled by force: the disk does not boot"
		}
		m.State, m.Armed = api.MachineRegistered, nil
		return nil
	})
}

func (c control) Events(_ context.Context, name string) (events []api.Event, err error) {
	_, err = c.with(name, func(m *api.Machine) error {
		for _, e := range c.f.Log {
			if e.Machine == m.ID {
				events = append(events, e.Event)
			}
		}
		return nil
	})
	return events, err
}

func (c control) Flashes(_ context.Context, name string) (list []api.Flash, err error) {
	_, err = c.with(name, func(*api.Machine) error {
		list = c.f.Flashes
		return nil
	})
	return list, err
}

func (c control) Log(_ context.Context, limit int, audit bool) ([]api.LogEntry, error) {
	c.f.Mu.Lock()
	defer c.f.Mu.Unlock()
	entries := slices.DeleteFunc(slices.Clone(c.f.Log), func(e api.LogEntry) bool { return audit && !e.Event.Audited() })
	entries = entries[max(0, len(entries)-limit):]
	slices.Reverse(entries)
	return entries, nil
}

func (c control) Applied(context.Context) (api.Applied, error) {
	return api.Applied{
		Identities: []string{"plain"},
		Groups:     []api.Group{{Name: "rack-b7", Selector: "rack=b7", Flash: settings.Settings{Image: "web"}}},
	}, nil
}

// RemoveNamed removes the one group and the one identity, unless Uses names it.
func (c control) RemoveNamed(_ context.Context, _, kind, name string, force bool) (api.Removed, error) {
	if name != "plain" && name != "rack-b7" {
		return api.Removed{}, &fleet.UnknownError{What: kind, Name: name, Help: "look for it"}
	}
	named := c.f.Uses[name]
	if len(named) > 0 && !force {
		return api.Removed{}, uses.Refuse(kind, name, named)
	}
	return api.Removed{Kind: kind, Name: name, Uses: named}, nil
}

func (c control) Apply(_ context.Context, _ string, _ api.Fleet, dryRun bool) (api.FleetDiff, error) {
	return api.FleetDiff{DryRun: dryRun}, nil
}

func (c control) Servers(context.Context) ([]api.Server, error) {
	return []api.Server{{Name: "one", BaseURL: "http://192.0.2.1:8080", Version: "v1"}}, nil
}

func (c control) StateUsage(context.Context) (api.StateUsage, error) { return api.StateUsage{}, nil }

// Follow sends the stream from where the reader was, until it is cut.
func (c control) Follow(ctx context.Context, last string, send func(id string, c api.Change) error) error {
	after, _ := strconv.Atoi(last)
	c.f.Mu.Lock()
	defer c.f.Mu.Unlock()
	cuts := c.f.cuts
	c.f.streams++
	var pending []api.Change
	if after == 0 || after > len(c.f.Stream) {
		pending = append(pending, api.Change{Kind: api.ChangeReset})
		for _, m := range c.f.Machines {
			m = shown(m)
			pending = append(pending, api.Change{Kind: api.ChangeMachine, ID: m.ID, Machine: &m})
		}
		after = len(c.f.Stream)
	}
	for c.f.cuts == cuts && ctx.Err() == nil {
		first := after + 1
		begin := len(pending)
		pending = append(pending, c.f.Stream[min(after, len(c.f.Stream)):]...)
		after = max(after, len(c.f.Stream))
		more := c.f.more
		c.f.Mu.Unlock()
		err := error(nil)
		for i, change := range pending {
			id := ""
			if i >= begin {
				id = strconv.Itoa(first + i - begin)
			}
			if err = send(id, change); err != nil {
				break
			}
		}
		pending = nil
		if err == nil {
			select {
			case <-more:
			case <-ctx.Done():
			}
		}
		c.f.Mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// RemoveImages removes any image but those that Used names.
func (c control) RemoveImages(_ context.Context, _ string, names []string, force bool) ([]api.RemovedImage, error) {
	c.f.Mu.Lock()
	defer c.f.Mu.Unlock()
	var out []api.RemovedImage
	for _, name := range names {
		named := c.f.Uses[name]
		if len(named) > 0 && !force {
			return nil, uses.Refuse(api.KindImage, name, named)
		}
		out = append(out, api.RemovedImage{Name: name, Uses: named})
	}
	return out, nil
}

// images are two stored images.
type images struct{ operators.Images }

func (images) List(context.Context) ([]api.Image, error) {
	return []api.Image{{Name: "web"}, {Name: "db"}}, nil
}

// keptAccess knows the token that is wanted.
type keptAccess struct{ f *Fake }

func (a keptAccess) LoadAccess(context.Context) (access.Access, error) {
	a.f.Mu.Lock()
	defer a.f.Mu.Unlock()
	sum := sha256.Sum256([]byte(a.f.Token))
	return access.Access{Token: hex.EncodeToString(sum[:])}, nil
}

func (a keptAccess) ChangeAccess(_ context.Context, change func(*access.Access)) error {
	change(new(access.Access))
	return nil
}
