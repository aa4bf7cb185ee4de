package bmc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/power"
	"github.com/gild-dev/gild/internal/power/ipmi/simtest"
	"github.com/gild-dev/gild/internal/power/redfish"
	"github.com/gild-dev/gild/internal/power/redfish/redfishtest"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/apply"
	"github.com/gild-dev/gild/internal/server/machines"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/sealed"
	"github.com/gild-dev/gild/internal/server/state/backup"
	"github.com/gild-dev/gild/internal/server/state/etcd"
)

// canary is the password of every BMC here: it must be found nowhere.
const canary = "CANARY-pw-4A7E"

// world is a state with machines, and those who work with them.
type world struct {
	*Room
	op Operators
}

func begin(t *testing.T) world {
	t.Helper()
	db, err := etcd.Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	core := &machines.Core{
		Store: machines.NewStore(db.Client(), ""), Images: machinestest.OneImage{Digest: golden.DigestOf([]byte("manifest"))},
	}
	box, err := sealed.Open(t.Context(), core.Store.Space, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r := &Room{Store: core.Store, Secrets: box, Programs: t.TempDir(), Find: func(ctx context.Context, name string) (string, error) {
		m, err := core.Operators().Machine(ctx, name)
		return m.ID, err
	}}
	return world{r, Operators{core.Operators(), box}}
}

func mac(i int) string { return fmt.Sprintf("52:54:00:00:00:%02x", i) }

// add registers a machine with a power control.
func (w world) add(t *testing.T, i int, p api.Power) api.Machine {
	t.Helper()
	m, err := w.op.Register(t.Context(), "operator", api.Spec{Name: fmt.Sprint("web-", i), MACs: []string{mac(i)}, Power: p})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// ask carries a request out and gives the outcomes by the names of machines.
func (w world) ask(t *testing.T, q api.PowerRequest) map[string]api.PowerOutcome {
	t.Helper()
	carry, err := w.Power(t.Context(), "operator", q)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]api.PowerOutcome{}
	carry(t.Context(), func(o api.PowerOutcome) {
		if _, twice := all[o.Name]; twice {
			t.Errorf("the fate of %s is told twice", o.Name)
		}
		if text := fmt.Sprint(o); strings.Contains(text, canary) {
			t.Errorf("an outcome shows the password: %s", text)
		}
		all[o.Name] = o
	})
	return all
}

// everything that the state holds, as a backup has it.
func (w world) everything(t *testing.T) string {
	t.Helper()
	var all bytes.Buffer
	if _, err := backup.Write(t.Context(), w.Store.Space, &all); err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func ipmiAt(address string) api.Power {
	return api.Power{Driver: api.PowerIPMI, Address: address, User: simtest.User, Secret: canary + "\n"}
}

// A machine by a simulated BMC, from its registration to its past.
func TestByIPMI(t *testing.T) {
	w := begin(t)
	sim, other := simtest.Start(t, canary), simtest.Start(t, canary)
	m := w.add(t, 1, ipmiAt(sim.Address))
	w.add(t, 2, ipmiAt(other.Address))
	if m.Spec.Power.Secret != "" || m.Spec.Power.Address != sim.Address {
		t.Errorf("Register = %+v; want no password", m.Spec.Power)
	}
	for _, q := range []api.PowerRequest{
		{Verb: api.PowerStatus},
		{Verb: api.PowerBootOnce, From: "network"},
		{Verb: api.PowerCycle, Reason: "new memory"},
		{Verb: api.PowerOff},
		{Verb: api.PowerReset},
	} {
		q.Machines = []string{"web-1", mac(1)}
		got := w.ask(t, q)["web-1"]
		want := api.PowerOutcome{ID: m.ID, Name: "web-1", Done: true, State: "on"}
		switch q.Verb {
		case api.PowerOff:
			want.State = "off"
		case api.PowerReset:
			want = api.PowerOutcome{ID: m.ID, Name: "web-1", State: "off", Kind: "wrong state", Error: got.Error, Hint: got.Hint}
		}
		if got != want {
			t.Errorf("%s = %+v; want %+v", q.Verb, got, want)
		}
	}
	if did, want := sim.Did(t), []string{"boot network", "off", "on", "off"}; !slices.Equal(did, want) {
		t.Errorf("the machine saw %q; want %q", did, want)
	}
	if did := other.Did(t); len(did) > 0 {
		t.Errorf("a machine that was not named saw %q", did)
	}
	events, err := w.Store.Events(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range events {
		if e.Step == fleet.StepPower {
			told = append(told, e.Actor+", "+e.State+": "+e.Message)
		}
	}
	want := []string{
		"operator, done: boot-once from network: the machine is on",
		"operator, done: cycle: the machine is on (new memory)",
		"operator, done: off: the machine is off",
		"operator, failed: reset: reset: wrong state: the machine is off",
	}
	if !slices.Equal(told, want) {
		t.Errorf("events %q; want %q", told, want)
	}
	if strings.Contains(w.everything(t), canary) {
		t.Error("the state shows the password")
	}
}

// A password stays with the account that it was given for, and nothing shows
// it.
func TestPasswords(t *testing.T) {
	w := begin(t)
	ctx := t.Context()
	refused := func(what string, err error) {
		t.Helper()
		_, invalid := errors.AsType[*fleet.InvalidError](err)
		_, bad := errors.AsType[*apply.BadFilesError](err)
		if !invalid && !bad || strings.Contains(err.Error(), canary) {
			t.Errorf("%s = %v; want it refused, without the password", what, err)
		}
	}
	none := api.Power{Driver: api.PowerIPMI, Address: "bmc-1", User: "op"}
	_, err := w.op.Register(ctx, "", api.Spec{Name: "web-1", MACs: []string{mac(1)}, Power: none})
	refused("Register without a password", err)
	given := none
	given.Secret = canary
	m := w.add(t, 1, given)
	kept := func(p api.Power, want string) {
		t.Helper()
		if got, _, err := w.Secrets.Get(ctx, account(p)); err != nil || got != want {
			t.Errorf("the password of %s at %s is %q, %v; want %q", p.User, p.Address, got, err, want)
		}
	}
	kept(none, canary)

	m.Spec.Labels = map[string]string{"rack": "b7"} // what was read goes back
	if _, err := w.op.Edit(ctx, "", "web-1", m.SpecRevision, m.Spec); err != nil {
		t.Errorf("Edit of something else = %v", err)
	}
	kept(none, canary)
	moved := m.Spec
	moved.Power.Address = "thief"
	_, err = w.op.Edit(ctx, "", "web-1", "", moved)
	refused("Edit of the address alone", err)
	kept(api.Power{Driver: api.PowerIPMI, Address: "thief", User: "op"}, "")
	woken := m.Spec
	woken.Power = api.Power{Driver: api.PowerWOL, Secret: canary}
	_, err = w.op.Edit(ctx, "", "web-1", "", woken)
	refused("Edit to Wake-on-LAN with a password", err)
	moved.Power.Secret = "two\nlines"
	_, err = w.op.Edit(ctx, "", "web-1", "", moved)
	refused("Edit to a password of two lines", err)

	// The same files again change nothing; another password is a change.
	spec := m.Spec
	spec.Power = given
	files := api.Fleet{Machines: []api.Spec{spec}}
	changes := func(f api.Fleet, dryRun bool) string {
		t.Helper()
		diff, err := w.op.Apply(ctx, "", f, dryRun)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(diff)
		if strings.Contains(string(text), canary) {
			t.Errorf("a difference shows the password: %s", text)
		}
		var fields []string
		for _, c := range diff.Changes {
			fields = append(fields, c.Do+" "+c.Field)
		}
		return strings.Join(fields, ", ")
	}
	if got := changes(files, false); got != "" {
		t.Errorf("applying what is there changes %s", got)
	}
	files.Machines[0].Power.Secret = canary + "-2\n"
	if got := changes(files, true); got != "change power.secret" {
		t.Errorf("a dry run with another password: %q", got)
	}
	kept(none, canary)
	if got := changes(files, false); got != "change power.secret" {
		t.Errorf("an apply with another password: %q", got)
	}
	kept(none, canary+"-2")
	if files.Machines[0].Power.Secret == "" {
		t.Error("Apply has changed what it was given")
	}
	second := api.Spec{Name: "web-2", MACs: []string{mac(2)}, Power: none}
	files.Machines = append(files.Machines, second)
	if got := changes(files, true); got != "add " {
		t.Errorf("a second machine of the same account: %q", got)
	}
	files.Machines[1].Power.Secret = canary + "-3"
	_, err = w.op.Apply(ctx, "", files, false)
	refused("Apply of two passwords for one account", err)
	if strings.Contains(w.everything(t), canary) {
		t.Error("the state shows the password")
	}

	// What no machine uses goes, after a while.
	if err := w.op.Delete(ctx, "", "web-1", false); err != nil {
		t.Fatal(err)
	}
	if err := w.sweep(ctx); err != nil {
		t.Fatal(err)
	}
	kept(none, canary+"-2") // not yet
}

func TestPinned(t *testing.T) {
	w := begin(t)
	b := redfishtest.New(canary, redfishtest.Habits{})
	s := b.Start(t)
	p := api.Power{Driver: api.PowerRedfish, Address: s.Listener.Addr().String(), User: redfishtest.User, Secret: canary}
	m := w.add(t, 1, p)
	status := api.PowerRequest{Verb: api.PowerStatus, Machines: []string{m.ID}}
	for range 2 {
		if o := w.ask(t, status)["web-1"]; !o.Done || o.State != "on" {
			t.Fatalf("status = %+v", o)
		}
	}
	// Another BMC, or somebody between, at the same address.
	pin := redfish.PinOf(s.Certificate())
	trust, err := w.trust(t.Context(), m.Spec.Power)
	if err != nil || trust.Pin != pin {
		t.Fatalf("pinned %q, %v; want %q", trust.Pin, err, pin)
	}
	m.Spec.Power.Pin = "sha256:" + strings.Repeat("0", 64)
	if _, err := w.op.Edit(t.Context(), "", m.ID, "", m.Spec); err != nil {
		t.Fatal(err)
	}
	before := len(b.Did())
	o := w.ask(t, api.PowerRequest{Verb: api.PowerReset, Machines: []string{m.ID}})["web-1"]
	if o.Done || o.Kind != string(power.Untrusted) || !strings.Contains(o.Hint, "--power-pin "+pin) || len(b.Did()) != before {
		t.Errorf("reset by another certificate = %+v; want it refused, and what to do", o)
	}
	m.Spec.Power.Pin = pin
	if _, err := w.op.Edit(t.Context(), "", m.ID, "", m.Spec); err != nil {
		t.Fatal(err)
	}
	if o := w.ask(t, status)["web-1"]; !o.Done {
		t.Errorf("status by the pin of the operator's = %+v", o)
	}
}

// played is a power control that keeps what it was told.
type played struct {
	mu  sync.Mutex
	on  bool
	did []string
	err error
}

func (p *played) note(ctx context.Context, what string, on bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return p.err
	}
	p.did, p.on = append(p.did, what), on
	return ctx.Err()
}

func (p *played) Status(context.Context) (power.State, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return map[bool]power.State{true: power.On, false: power.Off}[p.on], p.err
}
func (p *played) On(ctx context.Context) error          { return p.note(ctx, "on", true) }
func (p *played) Off(ctx context.Context, _ bool) error { return p.note(ctx, "off", false) }
func (p *played) Cycle(context.Context) error           { return power.Cannot("played", power.VerbCycle) }
func (p *played) Reset(ctx context.Context) error       { return p.note(ctx, "reset", p.on) }

func (p *played) BootOnce(ctx context.Context, b power.Boot) error {
	return p.note(ctx, fmt.Sprintf("boot %s legacy=%v", b, b.Legacy), p.on)
}

func (p *played) Identify(ctx context.Context, _ time.Duration) error {
	return p.note(ctx, "identify", p.on)
}

func TestFates(t *testing.T) {
	w := begin(t)
	drivers := map[string]*played{}
	w.Open = func(_ context.Context, m *fleet.Record) (power.Driver, error) { return drivers[m.Spec.Name], nil }
	for i := range 6 {
		p := api.Power{Driver: api.PowerCommand, Command: []string{"prog", fmt.Sprint(i)}}
		if i == 4 {
			p.Command[1] = "3" // the same outlet by mistake
		}
		w.add(t, i, p)
		drivers[fmt.Sprint("web-", i)] = &played{on: true}
	}
	drivers["web-1"].err = power.Fail(power.Denied, "login", errors.New("no\x1b[2J"))
	_, err := w.Store.Update(t.Context(), mac(2), func(m *fleet.Record) ([]api.Event, error) {
		m.Session, m.AgentSeen, m.Writing, m.Firmware = "s", time.Now(), true, "BIOS"
		m.Armed = &fleet.Armed{}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	q := api.PowerRequest{Verb: api.PowerOff, Machines: []string{"web-0", "web-1", "web-2", "web-3", "nobody"}}
	got := w.ask(t, q)
	for name, want := range map[string]struct {
		kind string
		did  []string
	}{
		"web-0": {"", []string{"off"}}, "web-1": {"denied", nil}, "web-2": {"refused", nil}, "web-3": {"refused", nil}, "web-4": {"-", nil},
		"web-5": {"-", nil},
	} {
		o, told := got[name]
		switch {
		case told != (want.kind != "-"), told && (o.Kind != want.kind || o.Done != (want.kind == "")), o.Kind == "refused" && o.Hint == "":
			t.Errorf("%s: %+v; want %q", name, o, want.kind)
		case !slices.Equal(drivers[name].did, want.did):
			t.Errorf("%s saw %q; want %q", name, drivers[name].did, want.did)
		}
	}
	if o := got["nobody"]; o.Done || o.ID != "" || o.Error == "" || strings.Contains(got["web-1"].Error, "\x1b") {
		t.Errorf("nobody: %+v, web-1: %+v", o, got["web-1"])
	}
	q.Force, q.Machines = true, []string{"web-2", "web-3"}
	if got := w.ask(t, q); !got["web-2"].Done || !got["web-3"].Done {
		t.Errorf("by force: %+v", got)
	}
	if w.ask(t, api.PowerRequest{
		Verb: api.PowerBootOnce, From: "network",
		Machines: []string{"web-2"},
	}); !slices.Contains(drivers["web-2"].did, "boot network legacy=true") {
		t.Errorf("web-2, which boots by BIOS, saw %q", drivers["web-2"].did)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	w := begin(t)
	for _, q := range []api.PowerRequest{
		{},
		{Verb: api.PowerOn},
		{Verb: "melt", Machines: []string{"x"}},
		{Verb: api.PowerCycle, Orderly: true, Machines: []string{"x"}},
		{Verb: api.PowerBootOnce, Machines: []string{"x"}},
		{Verb: api.PowerBootOnce, From: "floppy", Machines: []string{"x"}},
		{Verb: api.PowerOn, From: "disk", Machines: []string{"x"}},
		{Verb: api.PowerOn, Reason: "a\x1b", Machines: []string{"x"}},
	} {
		_, err := w.Power(t.Context(), "", q)
		if _, ok := errors.AsType[*fleet.InvalidError](err); !ok {
			t.Errorf("Power(%+v) = %v; want it refused", q, err)
		}
	}
}

// When the one who asks goes away, no further machine is touched.
func TestGivenUp(t *testing.T) {
	w := begin(t)
	d := &played{}
	w.Open = func(context.Context, *fleet.Record) (power.Driver, error) { return d, nil }
	var names []string
	for i := range 5 {
		w.add(t, i, api.Power{Driver: api.PowerWOL})
		names = append(names, mac(i))
	}
	carry, err := w.Power(t.Context(), "", api.PowerRequest{Verb: api.PowerIdentify, Machines: names, AtOnce: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	kinds := map[string]int{}
	carry(ctx, func(o api.PowerOutcome) {
		kinds[o.Kind]++
		cancel()
	})
	if len(d.did) != 1 || kinds[""] != 1 || kinds["not tried"] != 4 {
		t.Errorf("the machines saw %q, and the fates are %v; want one, and four not tried", d.did, kinds)
	}
}
