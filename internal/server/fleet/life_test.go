package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/disk"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/history"
	"github.com/gild-dev/gild/internal/server/fleet/specs"
	"github.com/gild-dev/gild/internal/server/fleet/view"
	"github.com/gild-dev/gild/internal/settings"
)

// flashed is a machine whose flash was sealed at 20 s, and which is to be
// confirmed.
func flashed(t *testing.T, handoff string, c settings.Confirm, beacon string) *script {
	t.Helper()
	s := newScript(t)
	if _, err := fleet.Arm(&s.m, fleet.Armed{Plan: plan("p1"), Confirm: c, Beacon: beacon}, at(0)); err != nil {
		t.Fatal(err)
	}
	s.boot(1, true)
	s.hello(10, "s1", api.ActionFlash)
	e := sealed(1, "p1")
	e.Receipt.Handoff = handoff
	s.report(20, true, report("s1", "p1", e))
	s.state(api.MachineHandingOff)
	return s
}

func (s *script) beacon(sec int, token string, want bool) {
	s.t.Helper()
	if _, ok := fleet.Beacon(&s.m, token, "192.0.2.9", at(sec)); ok != want {
		s.t.Fatalf("Beacon(%q) at %d s = %v; want %v", token, sec, ok, want)
	}
}

func TestBeacon(t *testing.T) {
	s := flashed(t, "switch_root", settings.Confirm{}, "tok")
	s.beacon(21, "", false)
	s.beacon(21, "other", false)
	s.state(api.MachineHandingOff)
	s.beacon(22, "tok", true)
	s.state(api.MachineRunning)
	s.beacon(23, "tok", true) // its answer was lost
	fleet.Sweep(&s.m, at(10_000), time.Time{})
	s.state(api.MachineRunning)
	s.boot(10_001, false)
	s.state(api.MachineLocalDisk)
	s.arm(10_002, "p2")
	s.beacon(10_003, "tok", false)
}

func TestUnconfirmed(t *testing.T) {
	s := flashed(t, "switch_root", settings.Confirm{Within: 60}, "tok")
	fleet.Sweep(&s.m, at(79), time.Time{})
	s.state(api.MachineHandingOff)
	fleet.Sweep(&s.m, at(80), time.Time{})
	s.state(api.MachineUnconfirmed)
	s.beacon(500, "tok", true)
	s.state(api.MachineRunning)
}

func TestProbed(t *testing.T) {
	s := flashed(t, "switch_root", settings.Confirm{Probe: "tcp:22"}, "")
	if fleet.Probed(&s.m, "p0", at(21)); s.m.State != api.MachineHandingOff {
		t.Error("a probe of an earlier plan confirmed this one")
	}
	fleet.Probed(&s.m, "p1", at(22))
	s.state(api.MachineRunning)
}

func TestBootFailed(t *testing.T) {
	for _, tt := range []struct {
		name, handoff string
		confirm       settings.Confirm
		beacon        string
		boots         int // that are taken for a failure; 0: none are
	}{
		{"beacon", "switch_root", settings.Confirm{}, "tok", 3},
		{"probe, limit", "kexec", settings.Confirm{Probe: "ping", Boots: 1}, "", 1},
		{"the handoff is a boot", "reboot", settings.Confirm{Boots: 2}, "tok", 3},
		{"nothing would confirm it", "switch_root", settings.Confirm{}, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := flashed(t, tt.handoff, tt.confirm, tt.beacon)
			for i := 1; i < tt.boots || tt.boots == 0 && i < 20; i++ {
				s.boot(60*i, false)
				s.state(api.MachineHandingOff)
				s.boot(60*i+59, false) // asked again at once: nobody boots as fast
				s.state(api.MachineHandingOff)
			}
			s.boot(2000, false) // not flashed again, whatever it counts
			if tt.boots == 0 {
				s.state(api.MachineHandingOff)
				return
			}
			s.state(api.MachineFailed)
			if causeNow(&s.m) != api.CauseBootFailed {
				t.Errorf("cause = %q; want %s", causeNow(&s.m), api.CauseBootFailed)
			}
			s.boot(2061, false)
			s.state(api.MachineFailed)
			s.beacon(2062, tt.beacon, tt.beacon != "")
		})
	}
}

func TestStuck(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	s.boot(1, true)
	s.hello(10, "s1", api.ActionFlash)
	stuck := func(sec int, want bool) {
		t.Helper()
		events := fleet.Sweep(&s.m, at(sec), time.Time{})
		if got := !s.m.Stuck.IsZero(); got != want {
			t.Fatalf("stuck at %d s: %v (%v); want %v", sec, got, events, want)
		}
		if again := fleet.Sweep(&s.m, at(sec), time.Time{}); len(again) != 0 {
			t.Fatalf("the second Sweep at %d s noted %v; want nothing", sec, again)
		}
	}
	stuck(34, false)
	stuck(35, true)
	s.report(40, true, report("s1", "p1"))
	stuck(41, false)
	stuck(66, true)
	s.boot(70, true)
	stuck(71, false)
	stuck(249, false)
	stuck(250, true) // no agent came up
	s.hello(251, "s2", api.ActionFlash)
	stuck(252, false)
}

func TestConflictIsShown(t *testing.T) {
	s := newScript(t)
	s.arm(0, "p1")
	s.hello(1, "s1", api.ActionFlash)
	s.hello(2, "s2", api.ActionWait)
	if s.m.Conflict == "" || !strings.Contains(s.m.Conflict, "192.0.2.9") {
		t.Errorf("conflict = %q; want who the second agent is", s.m.Conflict)
	}
	if _, events := fleet.Hello(&s.m, hello("s2"), "192.0.2.9", false, at(12)); len(events) != 0 {
		t.Errorf("the same conflict noted %v again", events)
	}
	fleet.Sweep(&s.m, at(41), time.Time{})
	if s.m.Conflict == "" {
		t.Error("the conflict is gone while the second agent still asks")
	}
	s.report(41, true, report("s1", "p1"))
	if fleet.Sweep(&s.m, at(42), time.Time{}); s.m.Conflict != "" {
		t.Errorf("conflict = %q after the second agent went; want none", s.m.Conflict)
	}
}

// A restart that shows no firmware: a kernel loaded by something else, or an
// agent that has begun anew.
func TestSameHardwareTakesOver(t *testing.T) {
	with := func(session, uuid, disk string) api.Hello {
		h := hello(session)
		h.Inventory.UUID = uuid
		h.Inventory.Disks = []api.Disk{{Name: "sda", Serial: disk}}
		return h
	}
	for _, tt := range []struct {
		name, uuid, disk, soon, later string
	}{
		{"same", uuid1, "D1", api.ActionWait, api.ActionFlash},
		{"another disk", uuid1, "D2", api.ActionWait, api.ActionWait},
		{"another UUID", uuid2, "D1", api.ActionWait, api.ActionWait},
		{"no serial", uuid1, "", api.ActionWait, api.ActionWait},
	} {
		s := newScript(t)
		s.arm(0, "p1")
		fleet.Hello(&s.m, with("s1", uuid1, "D1"), "", false, at(1))
		for sec, action := range map[int]string{2: tt.soon, 22: tt.later} {
			m := s.m
			fleet.Hello(&m, with("s2", tt.uuid, tt.disk), "", false, at(2))
			if a, _ := fleet.Hello(&m, with("s2", tt.uuid, tt.disk), "", false, at(sec)); a.Action != action {
				t.Errorf("%s: Hello at %d s = %+v; want %s", tt.name, sec, a, action)
			}
		}
	}
}

func TestDiscovery(t *testing.T) {
	image := api.PlanImage{Name: "debian", Digest: "sha256:aa"}
	m := fleet.Record{ID: mac, MAC: mac}
	if d, _ := fleet.Boot(&m, api.Inventory{MAC: mac}, &image, at(0)); d.Image == nil || m.State != api.MachineDiscovered {
		t.Fatalf("Boot of an unknown machine = %+v, state %q; want the agent", d, m.State)
	}
	a, _ := fleet.Hello(&m, hello("s1"), "192.0.2.9", true, at(1))
	if a.Action != api.ActionWait || !m.Waiting || !fleet.Waits(&m, a) {
		t.Fatalf("Hello = %+v; want wait", a)
	}
	before := m
	if _, events := fleet.Hello(&m, hello("s1"), "192.0.2.9", true, at(20)); len(events) != 0 || !m.AgentSeen.Equal(before.AgentSeen) ||
		!m.LastSeen.Equal(before.LastSeen) {
		t.Error("a hello that says nothing new changed the record")
	}
	if events, err := fleet.Report(&m, report("s1", ""), "192.0.2.9", at(21)); err != nil || len(events) != 0 ||
		!m.LastSeen.Equal(before.LastSeen) {
		t.Error("a heartbeat of a waiting agent changed the record")
	}
	if a, _ := fleet.Hello(&m, hello("s2"), "192.0.2.8", true, at(22)); a.Action != api.ActionWait || m.Session != "s1" || m.Conflict == "" {
		t.Errorf("a second agent: %+v, session %s; want it refused", a, m.Session)
	}
	if _, err := specs.Set(&m, api.Spec{Name: "b7", MACs: []string{mac}}, "", at(23)); err != nil || m.State != api.MachineRegistered {
		t.Fatalf("SetSpec = %v, state %q", err, m.State)
	}
	if _, err := fleet.Arm(&m, fleet.Armed{Plan: plan("p1")}, at(24)); err != nil {
		t.Fatal(err)
	}
	if a, _ := fleet.Hello(&m, hello("s1"), "192.0.2.9", true, at(25)); a.Action != api.ActionFlash || m.State != api.MachineFlashing {
		t.Fatalf("Hello of an agent that waited = %+v; want the plan", a)
	}
	m.Armed, m.State = nil, api.MachineRegistered
	if d, _ := fleet.Boot(&m, api.Inventory{MAC: mac}, &image, at(30)); d.Image != nil {
		t.Error("a registered machine booted the agent unarmed")
	}
}

func TestFlashes(t *testing.T) {
	var events []api.Event
	s := newScript(t)
	add := func(more []api.Event, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, more...)
	}
	add(fleet.Arm(&s.m, fleet.Armed{Plan: plan("p1"), By: "operator:eva", IdentityName: "web"}, at(0)))
	add(fleet.Cancel(&s.m, "", false, at(1)))
	add(fleet.Arm(&s.m, fleet.Armed{Plan: plan("p2")}, at(2)))
	_, more := fleet.Hello(&s.m, hello("s1"), "", false, at(3))
	add(more, nil)
	network := event(1, "network", api.StateDone)
	begun := event(2, fleet.StepFlash, api.StateStart)
	begun.Time = at(4)
	ended := event(3, fleet.StepFlash, api.StateDone)
	ended.Time = at(9)
	last := sealed(4, "p2")
	last.Receipt.Samples = make([]api.Sample, 100)
	add(fleet.Report(&s.m, report("s1", "p2", network, begun, ended, last), "", at(10)))
	if len(s.m.Receipt.Samples) != 0 {
		t.Error("the record holds the samples")
	}
	f := history.Flashes(events)
	if len(f) != 2 || f[1].Outcome != "cancelled" || f[1].By != "operator:eva" || f[1].Identity != "web" || f[1].Image.Name != "debian" {
		t.Fatalf("Flashes = %+v; want two, the older one cancelled", f)
	}
	got := f[0]
	if got.Outcome != api.MachineHandingOff || got.Receipt == nil || len(got.Samples) != history.KeptSamples || !got.Started.Equal(at(3)) {
		t.Errorf("newest = %+v", got)
	}
	if len(got.Phases) != 3 || got.Phases[1] != (api.Phase{Step: fleet.StepFlash, Start: at(4), End: at(9), State: api.StateDone}) {
		t.Errorf("phases = %+v", got.Phases)
	}
}

func TestThin(t *testing.T) {
	var samples []api.Sample
	for i := range 10_000 {
		samples = history.AddSample(samples, api.Sample{Done: int64(i)})
	}
	if len(samples) > 240 || samples[len(samples)-1].Done != 9999 {
		t.Errorf("%d samples, the last %d; want at most %d with the last", len(samples), samples[len(samples)-1].Done, 240)
	}
}

func TestPreview(t *testing.T) {
	p := view.Proposal{
		Machine: fleet.Record{ID: mac, MAC: mac, LastSeen: at(0), AgentSeen: at(0), Inventory: &api.Inventory{Disks: []api.Disk{{
			Name: "sda", Size: 1 << 30, SectorSize: 512, Claims: []string{disk.ClaimLVM}, Holds: []string{"LVM2"},
		}}}},
		Image:   api.Image{Name: "debian", Digest: "sha256:aa", Size: 1 << 20},
		Request: api.FlashRequest{Settings: settings.Settings{Image: "debian"}},
	}
	v, err := p.Preview(at(1))
	if err == nil || v.Refusal == "" || v.Disk == nil {
		t.Errorf("Preview of a disk with LVM = %+v, %v; want a refusal", v, err)
	}
	p.Request.Wipe = true
	v, err = p.Preview(at(1))
	if err != nil || v.Refusal != "" || view.Agreed(v, v.Digest) != nil || len(v.Digest) > 64 {
		t.Errorf("Preview with wipe = %+v, %v; want none", v, err)
	}
	shown := v.Digest
	p.Machine.Inventory.Disks[0].Serial = "other"
	v, _ = p.Preview(at(2))
	if err := view.Agreed(v, shown); err == nil || !strings.Contains(err.Error(), "disk") || strings.Contains(err.Error(), "the image") {
		t.Errorf("Agreed after the disk changed = %v; want that it did", err)
	}
	p.Request.Disk = "colour=red"
	if _, err := p.Preview(at(2)); err == nil {
		t.Error("Preview with a bad disk rule = nil; want an error")
	}
	p.Request.Disk = "serial=nowhere"
	if v, err := p.Preview(at(2)); err != nil || v.Refusal == "" {
		t.Errorf("Preview of a disk that is not there = %+v, %v; want a foreseen refusal alone", v, err)
	}
	if v, _ := p.Preview(at(0).Add(72 * time.Hour)); len(v.Warnings) == 0 || !strings.Contains(strings.Join(v.Warnings, ";"), "3 days") {
		t.Errorf("warnings = %q; want the age of the inventory", v.Warnings)
	}
}

func TestSetSpec(t *testing.T) {
	m := fleet.Record{ID: mac, MAC: mac}
	spec := api.Spec{Name: "b7", MACs: []string{mac}, Values: map[string]string{"password": "CANARY"}}
	events, err := specs.Set(&m, spec, "operator:eva", at(0))
	if err != nil || len(events) != 1 || events[0].To != api.MachineRegistered || events[0].Actor != "operator:eva" {
		t.Fatalf("SetSpec = %+v, %v", events, err)
	}
	if events, _ := specs.Set(&m, spec, "", at(1)); len(events) != 0 {
		t.Errorf("SetSpec again = %+v; want nothing", events)
	}
	spec.Values = map[string]string{"password": "CANARY2"}
	events, _ = specs.Set(&m, spec, "", at(2))
	if len(events) != 1 || strings.Contains(events[0].Message, "CANARY") || !strings.Contains(events[0].Message, "values.password") {
		t.Errorf("SetSpec of a value = %+v; want its name alone", events)
	}
	m.Armed = &fleet.Armed{}
	spec.MACs = []string{other}
	if _, err := specs.Set(&m, spec, "", at(3)); err == nil {
		t.Error("SetSpec moved an armed machine to another address")
	}
}
