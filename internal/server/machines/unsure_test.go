package machines

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/golden"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
	"github.com/gild-dev/gild/internal/server/state"
	"github.com/gild-dev/gild/internal/server/state/etcd"
	"github.com/gild-dev/gild/internal/server/state/etcdtest"
	"github.com/gild-dev/gild/internal/server/state/keys"
	"github.com/gild-dev/gild/internal/settings"
)

// unsureRoom is a fleet whose store may answer too late.
type unsureRoom struct {
	*Core
	t     *testing.T
	kv    *etcdtest.Unsure
	tries int
}

// insist does what agents, firmware and operators do on a time-out: it tries
// again.
func (r *unsureRoom) insist(what string, do func() error) {
	r.t.Helper()
	for try := range 4 {
		err := do()
		if err == nil {
			return
		}
		if _, unavailable := errors.AsType[*keys.UnavailableError](err); !unavailable || try == 3 {
			r.t.Fatalf("%s, try %d: %v", what, try+1, err)
		}
		r.tries++
		r.t.Logf("%s: %v", what, err)
	}
}

// A machine goes through its life under a store of which one write after the
// other ends in a time-out: made, not made, made and not to be seen at once.
// Whatever it was, trying again leads to where it would have led.
func TestUnknownOutcomes(t *testing.T) {
	db, err := etcd.Start(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	whole := db.Client().KV
	run := func(name string, told bool, fault func(int) etcdtest.Outcome) (writes int) {
		t.Run(name, func(t *testing.T) {
			kv := &etcdtest.Unsure{KV: whole, Fault: fault}
			client := *db.Client()
			client.KV = kv
			r := &unsureRoom{t: t, kv: kv, Core: &Core{
				Store:   state.New(keys.Space{Client: &client, Prefix: "/" + name + "/"}, fleet.Labels, nil),
				Images:  machinestest.OneImage{Digest: golden.DigestOf([]byte("manifest"))},
				BaseURL: "http://192.0.2.1",
			}}
			r.life()
			writes = kv.Writes()
			if (r.tries > 0) && !told {
				t.Errorf("%d requests were tried again; want none: what was made is found", r.tries)
			}
		})
		return writes
	}
	writes := run("sure", false, nil)
	if writes < 12 {
		t.Fatalf("only %d writes", writes)
	}
	for _, o := range []etcdtest.Outcome{etcdtest.Lost, etcdtest.Made, etcdtest.MadeUnseen} {
		for at := 1; at <= writes; at++ {
			run(fmt.Sprintf("%d-at-%d", o, at), o != etcdtest.Made, func(n int) etcdtest.Outcome {
				if n == at {
					return o
				}
				return etcdtest.Sure
			})
		}
	}
}

// life is one of everything that is done to a machine.
func (r *unsureRoom) life() {
	t, ctx := r.t, r.t.Context()
	t.Helper()
	r.insist("apply", func() error {
		_, err := r.Operators().Apply(ctx, "", api.Fleet{
			Machines:   []api.Spec{{Name: "a", MACs: []string{"52:54:00:00:00:0a"}}, {Name: "b", MACs: []string{mac}}},
			Identities: map[string]api.Identity{"node": {Files: []api.File{{Path: "/etc/secret", Content: "x"}}}},
		}, false)
		return err
	})
	r.insist("edit", func() error {
		_, err := r.Operators().Edit(ctx, "", "b", "", api.Spec{Name: "b", MACs: []string{mac}, Labels: map[string]string{"rack": "b7"}})
		return err
	})
	flash := func() {
		r.insist("flash", func() error {
			_, err := r.Operators().Flash(ctx, "", "b", api.FlashRequest{
				Settings: settings.Settings{Image: "debian", Identity: "node"},
				Unseen:   true,
			})
			if m, again := r.Operators().Machine(ctx, "b"); again == nil && m.Armed != nil {
				return nil // who looks finds it armed, and lets it be
			}
			return err
		})
	}
	flash()
	r.insist("cancel", func() error { _, err := r.Operators().Cancel(ctx, "", "b", false); return err })
	flash()
	if _, err := r.Upkeep().sweepIdentities(ctx, nil); err != nil { // what is armed is no orphan
		t.Fatal(err)
	}
	var d fleet.Decision
	r.insist("boot", func() (err error) { d, err = r.Agents().Boot(ctx, api.Inventory{MAC: mac}, ""); return err })
	if d.Image == nil {
		t.Fatalf("Boot = %+v; want the agent", d)
	}
	var a api.Answer
	r.insist("hello", func() (err error) {
		a, err = r.Agents().Hello(ctx, machinestest.Hello("s1", mac), "192.0.2.9")
		return err
	})
	if a.Plan == nil {
		t.Fatalf("Hello = %+v; want the plan", a)
	}
	r.insist("identity", func() error {
		identity, has, err := r.Agents().Identity(ctx, api.IdentityRequest{Session: "s1", MAC: mac, Plan: a.Plan.ID}, "192.0.2.9")
		if err == nil && (!has || identity.Digest() != a.Plan.Identity) {
			t.Fatalf("Identity = %+v, %v; want that of the plan", identity, has)
		}
		return err
	})
	report := func(events ...api.Event) {
		r.insist("report", func() error {
			return r.Agents().Report(ctx, api.Report{Session: "s1", MAC: mac, Plan: a.Plan.ID, Events: events}, "192.0.2.9")
		})
	}
	now := time.Now()
	report(api.Event{Seq: 1, Time: now, Step: fleet.StepFlash, State: api.StateStart})
	report(api.Event{Seq: 2, Time: now, Step: "seal", State: api.StateDone, Receipt: &api.Receipt{
		Plan: a.Plan.ID, Image: a.Plan.Image.Digest, ReadBack: "full", Handoff: "switch_root", Identity: a.Plan.Identity,
	}})
	stored, err := r.Store.Get(ctx, mac)
	if err != nil || stored.Awaited == nil {
		t.Fatalf("Get = %+v, %v; want a machine whose system is awaited", stored, err)
	}
	r.insist("beacon", func() error {
		known, err := r.Agents().Beacon(ctx, stored.Awaited.Beacon, "192.0.2.9")
		if err == nil && !known {
			t.Fatal("the beacon is not known")
		}
		return err
	})
	r.insist("seen", func() error {
		return r.Agents().Seen(ctx, fleet.Sighting{MAC: "52:54:00:00:00:0a", Source: fleet.FromFirmware, Message: "DHCP"})
	})
	r.insist("register", func() error {
		_, err := r.Operators().Register(ctx, "", api.Spec{Name: "c", MACs: []string{"52:54:00:00:00:0c"}})
		if m, again := r.Operators().Machine(ctx, "c"); again == nil && m.Spec.Name == "c" {
			return nil // who looks finds it
		}
		return err
	})
	r.insist("prune", func() error { // a is not one of the files any more
		_, err := r.Operators().Apply(ctx, "", api.Fleet{Prune: true, Machines: []api.Spec{
			{Name: "b", MACs: []string{mac}, Labels: map[string]string{"rack": "b7"}}, {Name: "c", MACs: []string{"52:54:00:00:00:0c"}},
		}}, false)
		return err
	})
	r.insist("rm", func() error {
		err := r.Operators().Delete(ctx, "", "c", false)
		if _, gone := errors.AsType[*fleet.UnknownError](err); gone {
			return nil
		}
		return err
	})
	r.end()
}

// end looks at what has become of everything.
func (r *unsureRoom) end() {
	t, ctx := r.t, r.t.Context()
	t.Helper()
	m, err := r.Operators().Machine(ctx, "b")
	if err != nil || m.Armed != nil || m.Receipt == nil || m.State != api.MachineRunning || m.Spec.Labels["rack"] != "b7" {
		t.Errorf("in the end = %+v, %v; want it flashed", m, err)
	}
	events, err := r.Operators().Events(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	receipts, seen := 0, map[uint64]int{}
	for _, e := range events {
		if e.Receipt != nil {
			receipts++
		}
		if e.Seq > 0 {
			seen[e.Seq]++
		}
	}
	if receipts != 1 || seen[1] != 1 || seen[2] != 1 {
		t.Errorf("%d receipts, events of the agent %v; want each once", receipts, seen)
	}
	list, err := r.Core.Operators().Machines(ctx, "")
	if err != nil || len(list) != 1 {
		t.Errorf("%d machines, %v; want the one that was not removed", len(list), err)
	}
	// Nothing that was secret is left once the sweeps were here.
	orphans, err := r.Upkeep().sweepIdentities(ctx, nil)
	if err == nil {
		orphans, err = r.Upkeep().sweepIdentities(ctx, orphans)
	}
	if err != nil || len(orphans) != 0 {
		t.Errorf("identities left: %v, %v", orphans, err)
	}
}
