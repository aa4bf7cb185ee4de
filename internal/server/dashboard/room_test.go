package dashboard

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/progress"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/settings"
)

// start is when the room of the tests is looked at.
var start = time.Date(2026, 3, 14, 9, 26, 53, 0, time.UTC)

// fakeRoom is a room in memory. canary is put into every text that a machine
// says of itself.
type fakeRoom struct {
	usage    api.StateUsage
	mu       sync.Mutex
	machines []api.Machine
	armed    []api.FlashRequest
	refusal  error
	canary   string
}

// newRoom makes n machines in all states, the running ones most of all.
func newRoom(n int, canary string) *fakeRoom {
	r := &fakeRoom{canary: canary}
	states := []string{
		api.MachineRunning, api.MachineRunning, api.MachineRunning, api.MachineFlashing, api.MachineLocalDisk, api.MachineRunning,
		api.MachineArmed, api.MachineRunning, api.MachineRegistered, api.MachineFlashing, api.MachineRunning, api.MachineBooting,
		api.MachineRunning, api.MachineHandingOff, api.MachineRunning, api.MachineFlashing, api.MachineRunning, api.MachineLocalDisk,
		api.MachineRunning, api.MachineUnconfirmed, api.MachineRunning, api.MachineDiscovered, api.MachineRunning,
	}
	for i := range n {
		m := api.Machine{
			ID: fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255), MAC: fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&255),
			Spec:  api.Spec{Name: fmt.Sprintf("b%d-n%02d", i/40+1, i%40+1), Labels: map[string]string{"rack": fmt.Sprintf("b%02d", i/40+1)}},
			State: states[i*7%len(states)], Since: start.Add(-time.Duration(i*i%9000) * time.Second), LastSeen: start.Add(-4 * time.Second),
			FirstSeen: start.Add(-90 * 24 * time.Hour),
			AgentSeen: start.Add(-40 * time.Second), Address: fmt.Sprintf("10.0.%d.%d", i>>8, i&255), Message: canary, Inventory: r.inventory(i),
		}
		switch {
		case m.State == api.MachineFlashing:
			m.Progress = &api.Progress{Phase: "write", Done: int64(i*37%100) << 30, Total: 100 << 30, Rate: 4.1e8 + float64(i)*1e5, Wire: 12 << 30}
			m.Armed = &api.Armed{Plan: api.Plan{
				ID: "p", Image: api.PlanImage{Name: "web-14" + canary, Digest: "sha256:4f2a9c81d07be3"},
				Agent: settings.Agent{Disk: "transport=nvme" + canary},
			}, Since: start.Add(-5 * time.Minute), By: "operator"}
			if i%3 == 0 {
				m.Progress.Phase = "read back"
			}
			m.Estimate = &progress.Estimate{
				Phase: m.Progress.Phase, Percent: i * 37 % 100, DataDone: m.Progress.Done, DataTotal: m.Progress.Total, Rate: m.Progress.Rate,
				WireRate: m.Progress.Rate / 3, Brake: progress.BrakeLink, Left: 40 + i%7*25, Until: progress.UntilRunning,
			}
		case i%61 == 17:
			m.State, m.Message = api.MachineFailed, "two disks match size>=400G: sda (S4EW0123), sdb (S4EW0124); name one by serial"+canary
			m.Trouble = &api.Trouble{Cause: "disk-ambiguous", Since: start.Add(-time.Minute), Message: m.Message}
		}
		if i%97 == 3 {
			m.State, m.Stuck = api.MachineFlashing, start.Add(-50*time.Second)
			m.Trouble = &api.Trouble{Cause: api.CauseSilent, Since: m.Stuck, Message: canary}
		}
		r.machines = append(r.machines, m)
	}
	return r
}

func (r *fakeRoom) inventory(i int) *api.Inventory {
	c := r.canary
	return &api.Inventory{
		Vendor: "Example" + c, Product: "Rack 2000" + c, Serial: fmt.Sprintf("SN%05d", i) + c, UUID: c, Firmware: "uefi" + c,
		Kernel: "6.1.0-32-amd64" + c, Arch: "amd64" + c,
		CPU: "Xeon Gold 6338" + c, CPUs: 64, Memory: 256e9,
		Disks: []api.Disk{
			{
				Name: "nvme0n1", Size: 960e9, Model: "PM9A3" + c, Serial: "S64GNE0R" + c, Transport: "nvme", Holds: []string{"GPT, 3 partitions", c},
				Partitions: []api.Partition{
					{Number: 1, Size: 512 << 20, FileSystem: "vfat", Label: "EFI" + c},
					{Number: 2, Size: 40e9, FileSystem: "ext4", FSLabel: "root" + c},
					{Number: 3, Size: 900e9, FileSystem: "xfs", Label: "data"},
				},
			},
			{Name: "sda", Size: 16e9, Model: "SD Card Reader", Transport: "usb", Removable: true},
		},
	}
}

func (r *fakeRoom) Machines(_ context.Context, selector string) ([]api.Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []api.Machine
	for _, m := range r.machines {
		if selector == "" || "rack="+m.Spec.Labels["rack"] == selector {
			out = append(out, m)
		}
	}
	return out, nil
}

func (r *fakeRoom) at(key string) (*api.Machine, error) {
	for i := range r.machines {
		if r.machines[i].ID == key || r.machines[i].Spec.Name == key {
			return &r.machines[i], nil
		}
	}
	return nil, &fleet.UnknownError{What: "machine", Name: key, Help: "look at the room"}
}

func (r *fakeRoom) Machine(_ context.Context, key string) (api.Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, err := r.at(key)
	if err != nil {
		return api.Machine{}, err
	}
	return *m, nil
}

func (r *fakeRoom) Register(_ context.Context, _ string, spec api.Spec) (api.Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(spec.MACs) == 0 {
		return api.Machine{}, &fleet.InvalidError{Problem: "a machine needs a MAC address, a UUID or a serial number", Help: "give one"}
	}
	m := api.Machine{ID: spec.MACs[0], MAC: spec.MACs[0], Spec: spec, State: api.MachineRegistered, Since: start}
	r.machines = append(r.machines, m)
	return m, r.refusal
}

func (r *fakeRoom) Edit(_ context.Context, _, key, revision string, spec api.Spec) (api.Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, err := r.at(key)
	if err == nil && revision != m.SpecRevision {
		err = &fleet.ConflictError{Problem: "it was changed meanwhile", Help: "look again"}
	}
	if err != nil {
		return api.Machine{}, err
	}
	m.Spec, m.SpecRevision = spec, m.SpecRevision+"1"
	return *m, nil
}

func (r *fakeRoom) Delete(_ context.Context, _, key string, force bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, err := r.at(key)
	if err == nil && m.Armed != nil && !force {
		err = &fleet.BusyError{MAC: m.ID, What: "delete"}
	}
	if err == nil {
		r.machines = slices.DeleteFunc(r.machines, func(o api.Machine) bool { return o.ID == m.ID })
	}
	return err
}

func (r *fakeRoom) Preview(_ context.Context, key string, f api.FlashRequest) (api.Preview, error) {
	m, err := r.Machine(context.Background(), key)
	if err != nil {
		return api.Preview{}, err
	}
	return api.Preview{
		Machine: m, Image: api.Image{Name: cmp.Or(f.Image, "web-14"), Digest: "sha256:4f2a9c81d07be3", Size: 4 << 30}, Request: f,
		Disk:     &m.Inventory.Disks[0],
		Lost:     []string{"partition 1 (EFI), vfat, 537 MB", "partition 2, ext4 root, 40 GB", "partition 3 (data), xfs, 900 GB" + r.canary},
		Warnings: []string{"the inventory is 3 days old" + r.canary}, Digest: "d1",
	}, nil
}

func (r *fakeRoom) Flash(_ context.Context, actor, key string, f api.FlashRequest) (api.Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, err := r.at(key)
	if err == nil {
		err = r.refusal
	}
	if err != nil {
		return api.Machine{}, err
	}
	r.armed = append(r.armed, f)
	m.State, m.Armed = api.MachineArmed, &api.Armed{By: actor, Since: start, Plan: api.Plan{Image: api.PlanImage{Name: f.Image}}}
	return *m, nil
}

func (r *fakeRoom) Cancel(_ context.Context, _, key string, force bool) (api.Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m, err := r.at(key)
	if err != nil {
		return api.Machine{}, err
	}
	if m.Writing && !force {
		return api.Machine{}, &fleet.BusyError{MAC: m.ID, What: "cancel"}
	}
	m.State, m.Armed, m.Writing = api.MachineRegistered, nil, false
	return *m, r.refusal
}

func (r *fakeRoom) Events(context.Context, string) ([]api.Event, error) {
	c := r.canary
	var out []api.Event
	for i, step := range []string{"boot", "coldplug", "network", "hello", "flash"} {
		out = append(out, api.Event{
			Seq: uint64(i), Time: start.Add(time.Duration(i-300) * time.Second), Step: step + c, State: "done",
			Message: "as it should be" + c, Actor: "agent" + c, To: "flashing" + c,
		})
	}
	return append(out, api.Event{Time: start, Step: "flash", State: "failed", Cause: "disk-ambiguous" + c, Message: "two disks match" + c}),
		nil
}

func (r *fakeRoom) Flashes(context.Context, string) ([]api.Flash, error) {
	begin := start.Add(-200 * time.Second)
	f := api.Flash{
		Image: api.PlanImage{Name: "web-14" + r.canary, Digest: "sha256:4f2a9c81d07be3"}, By: "operator" + r.canary, Armed: begin,
		Started: begin, Outcome: "under way", Message: r.canary, Cause: r.canary,
	}
	for _, p := range []struct {
		step     string
		from, to int
	}{{"drivers", 0, 2}, {"network", 2, 6}, {"plan", 6, 7}, {"write", 7, 120}, {"read back", 120, 0}} {
		ph := api.Phase{Step: p.step + r.canary, Start: begin.Add(time.Duration(p.from) * time.Second), State: "done"}
		if p.to > 0 {
			ph.End = begin.Add(time.Duration(p.to) * time.Second)
		} else {
			ph.State = "progress"
		}
		f.Phases = append(f.Phases, ph)
	}
	for i := range 190 {
		phase := "write"
		if i > 112 {
			phase = "read back"
		}
		f.Samples = append(f.Samples, api.Sample{
			At: begin.Add(time.Duration(7+i) * time.Second), Phase: phase,
			Rate: 4e8 + 6e7*float64((i*i)%17)/17 - 3e8*float64(max(0, 6-i))/6,
		})
	}
	old := api.Flash{
		Image: f.Image, By: "operator", Armed: begin.Add(-40 * 24 * time.Hour), Ended: begin.Add(-40 * 24 * time.Hour),
		Outcome: "running",
	}
	return []api.Flash{f, old}, nil
}

func (r *fakeRoom) Log(_ context.Context, limit int, audit bool) ([]api.LogEntry, error) {
	var out []api.LogEntry
	if audit {
		limit = min(limit, 7)
	}
	for i := range min(limit, 450) {
		events, _ := r.Events(context.Background(), "")
		e := events[i%len(events)]
		e.Time = start.Add(-time.Duration(i) * 7 * time.Second)
		m := r.machines[i*13%len(r.machines)]
		out = append(out, api.LogEntry{Machine: m.ID, Name: m.Spec.Name, Event: e})
	}
	return out, nil
}

func (r *fakeRoom) StateUsage(context.Context) (api.StateUsage, error) { return r.usage, nil }

func (r *fakeRoom) Servers(context.Context) ([]api.Server, error) {
	b := api.Server{Name: "b" + r.canary}
	if r.canary != "" {
		b.Alarms = []api.Alarm{{Kind: api.AlarmInterface, Text: "network interface eth1 is gone" + r.canary}}
	}
	return []api.Server{{Name: "a"}, b}, nil
}

func (r *fakeRoom) List(context.Context) ([]api.Image, error) {
	c := r.canary
	im := api.Image{
		Name: "web-14" + c, Digest: "sha256:4f2a9c81d07be3", Size: 4 << 30, Stored: 547e6, Data: 18e8, Release: "6.1.0-32-amd64" + c,
		Arch: "amd64", Cmdline: "root=UUID=0f7a ro quiet console=ttyS0" + c,
		Firmware: []string{"bios", "uefi"}, Scheme: "gpt", Root: 2, Partitions: []api.Partition{
			{Number: 1, Start: 1 << 20, Size: 512 << 20, FileSystem: "vfat", Label: "EFI" + c},
			{Number: 2, Start: 513 << 20, Size: 3200 << 20, FileSystem: "ext4", FSLabel: "root" + c},
			{Number: 3, Start: 3713 << 20, Size: 380 << 20, FileSystem: "swap"},
		},
	}
	db := im
	db.Name, db.Size = "db-9", 8<<30
	return []api.Image{db, im, {Name: "old", Digest: "sha256:00", Damage: "a layer is missing" + c}}, nil
}

// set changes one machine.
func (r *fakeRoom) set(id string, change func(*api.Machine)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.machines, func(m api.Machine) bool { return strings.EqualFold(m.ID, id) })
	change(&r.machines[i])
}
