package machines

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/budget"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
	"github.com/gild-dev/gild/internal/server/machines/machinestest"
)

// madeUp is the n-th address of a host that makes them up.
func madeUp(n int) string { return fmt.Sprintf("02:aa:00:%02x:%02x:%02x", n>>16&255, n>>8&255, n&255) }

// crowd makes this server believe that there are many records that nobody has
// registered, each of so many bytes.
func crowd(s *Core, n int, bytes int64) {
	s.room.strangers.mu.Lock()
	defer s.room.strangers.mu.Unlock()
	s.room.strangers.by = map[string]stranger{}
	for i := range n {
		s.room.strangers.by[madeUp(i)] = stranger{bytes, s.now().Add(time.Duration(i-n) * time.Second)}
		s.room.strangers.bytes += bytes
	}
}

// No room for a machine that nobody knows: it boots its disk, and its agent is
// sent there. What operators do is not concerned.
func TestNoRoomForStrangers(t *testing.T) {
	for name, fill := range map[string]func(*Core){
		"records": func(s *Core) { crowd(s, budget.SeenRecords, 1) },
		"bytes":   func(s *Core) { crowd(s, 2, budget.SeenBytes) },
		"pace": func(s *Core) {
			now := s.now()
			s.Now = func() time.Time { return now }
			for ok := true; ok; ok, _ = s.room.strangers.admit(now) {
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newMachines(t)
			if _, err := s.Operators().Register(t.Context(), "", api.Spec{Name: "own", MACs: []string{mac}}); err != nil {
				t.Fatal(err)
			}
			fill(s)
			const unknown = "52:54:00:00:99:01"
			d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: unknown}, "")
			if err != nil || d.Image != nil || !strings.Contains(d.Why, "booting the local disk") {
				t.Errorf("Boot of an unknown machine = %+v, %v; want the local disk", d, err)
			}
			if err := s.Agents().Seen(t.Context(), fleet.Sighting{MAC: unknown, Source: fleet.FromFirmware}); err != nil {
				t.Errorf("Seen = %v; want nil", err)
			}
			a, err := s.Agents().Hello(t.Context(), machinestest.Hello("s", unknown), "")
			if err != nil || a.Action != api.ActionLocalDisk {
				t.Errorf("Hello of its agent = %+v, %v; want the local disk", a, err)
			}
			if all, err := s.Operators().Machines(t.Context(), ""); err != nil || len(all) != 1 {
				t.Errorf("%d records, %v; want the registered one", len(all), err)
			}
			if d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: mac}, ""); err != nil || !strings.Contains(d.Why, "not armed") {
				t.Errorf("Boot of the registered machine = %+v, %v", d, err)
			}
			if _, err := s.Operators().Apply(t.Context(), "", api.Fleet{Machines: []api.Spec{{Name: "new", MACs: []string{unknown}}}},
				false); err != nil {
				t.Errorf("Apply = %v; want nil", err)
			}
			if _, err := s.Operators().Flash(t.Context(), "", unknown, machinestest.Flash("debian")); err != nil {
				t.Errorf("Flash = %v; want nil", err)
			}
			if d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: unknown}, ""); err != nil || d.Image == nil {
				t.Errorf("Boot of the armed machine = %+v, %v; want the agent", d, err)
			}
		})
	}
}

func TestSurplus(t *testing.T) {
	now := time.Now()
	s := &Core{Now: func() time.Time { return now }}
	crowd(s, 100, 1)
	if got := s.room.strangers.surplus(now); len(got) != 0 {
		t.Errorf("of a few: %d go; want none", len(got))
	}
	if got := s.room.strangers.surplus(now.Add(budget.SeenFor - 50*time.Second)); len(got) != 50 || got[0] != madeUp(0) {
		t.Errorf("after a day: %d go; want the 50 that were silent longest", len(got))
	}
	crowd(s, budget.SeenRecords, 1)
	if got := s.room.strangers.surplus(now); len(got) != forgetAtOnce || got[0] != madeUp(0) || got[1] != madeUp(1) {
		t.Errorf("of too many: %d go; want %d, oldest first", len(got), forgetAtOnce)
	}
	s.room.strangers.bytes = 0
	crowd(s, 100, budget.SeenBytes/80)
	if got := s.room.strangers.surplus(now); len(got) != 100-75-1 && len(got) != 100-75 {
		t.Errorf("of too many bytes: %d go; want about 25", len(got))
	}
}

// What the room says becomes a budget, and what goes from it makes room. A
// machine that somebody has come to know is none of it.
func TestStrangersAreForgotten(t *testing.T) {
	s := newMachines(t)
	now := time.Now()
	s.Now = func() time.Time { return now }
	withRoom(t, s)
	for i := range 5 {
		if _, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: madeUp(i)}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Operators().Register(t.Context(), "", api.Spec{Name: "kept", MACs: []string{madeUp(3)}}); err != nil {
		t.Fatal(err)
	}
	followed := func() bool { // the room follows the store
		s.room.strangers.mu.Lock()
		defer s.room.strangers.mu.Unlock()
		_, kept := s.room.strangers.by[madeUp(3)]
		return !kept && len(s.room.strangers.by) == 4
	}
	for !followed() {
		time.Sleep(time.Millisecond)
	}
	all, err := s.Operators().Machines(t.Context(), "state=discovered")
	if err != nil || len(all) != 4 {
		t.Errorf("%d are discovered, %v; want 4: they were sent to their disks, and nobody knows them", len(all), err)
	}
	now = now.Add(budget.SeenFor + time.Second)
	if err := s.Upkeep().forgetStrangers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err := s.Operators().Machines(t.Context(), ""); err != nil || len(all) != 1 || all[0].Spec.Name != "kept" {
		t.Errorf("after a day: %+v, %v; want the registered one", all, err)
	}
}

// A store that does not answer, or takes nothing: a machine that is not armed
// reaches its disk, one that is armed, or may be, asks again.
func TestBootWithoutAStore(t *testing.T) {
	s := newMachines(t)
	const armed, unarmed, unknown = "52:54:00:00:00:0a", "52:54:00:00:00:0b", "52:54:00:00:00:0c"
	if _, err := s.Operators().Register(t.Context(), "", api.Spec{MACs: []string{unarmed}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Operators().Flash(t.Context(), "", armed, machinestest.Flash("debian")); err != nil {
		t.Fatal(err)
	}
	kv := &breakingKV{KV: s.Store.Client.KV}
	s.Store.Client.KV = kv
	broken := kv.broken.Store
	broken(true)
	if _, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: unarmed}, ""); err == nil {
		t.Error("a server that knows nothing yet: Boot = nil; want an error")
	}
	broken(false)
	withRoom(t, s)
	for s.room.mayBeArmed([]string{unarmed}) {
		time.Sleep(time.Millisecond)
	}
	broken(true)
	for _, mac := range []string{unarmed, unknown} {
		if d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: mac}, ""); err != nil || d.Image != nil || d.Why == "" {
			t.Errorf("Boot of %s = %+v, %v; want the local disk", mac, d, err)
		}
	}
	if d, err := s.Agents().Boot(t.Context(), api.Inventory{MAC: armed}, ""); err == nil {
		t.Errorf("Boot of the armed machine = %+v; want an error", d)
	}
}

// An inventory that is another at every word is not written down at every word.
func TestInventoriesThatDiffer(t *testing.T) {
	s := newMachines(t)
	now := time.Now()
	s.Now = func() time.Time { return now }
	if _, err := s.Operators().Register(t.Context(), "", api.Spec{MACs: []string{mac}}); err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	say := func(n int) {
		t.Helper()
		h := machinestest.Hello("s", mac)
		h.Inventory.Product = fmt.Sprint("product ", n)
		if _, err := s.Agents().Hello(t.Context(), h, ""); err != nil {
			t.Fatal(err)
		}
		m, err := s.Operators().Machine(t.Context(), mac)
		if err != nil {
			t.Fatal(err)
		}
		kept[m.Inventory.Product] = true
	}
	for n := range 30 {
		say(n)
	}
	if len(kept) != 1+budget.InventoryBurst {
		t.Errorf("%d inventories were written down at once; want the first and %d", len(kept), budget.InventoryBurst)
	}
	now = now.Add(budget.InventoryEvery)
	say(31)
	if !kept["product 31"] {
		t.Error("the one after a while was not written down")
	}
}

// The largest words that are accepted stay within what a record may take.
func TestLargestRecord(t *testing.T) {
	s := newMachines(t)
	h := machinestest.Hello("s", mac)
	long := strings.Repeat("\u00e4<", 4000)
	for i := range 512 {
		d := api.Disk{Name: fmt.Sprint("sd", i), Model: long, Serial: long, WWN: long, Path: long, Damaged: long, Size: 1 << 40}
		for p := range 128 {
			d.Partitions = append(d.Partitions, api.Partition{Number: p, Label: long, UUID: long})
		}
		h.Inventory.Disks = append(h.Inventory.Disks, d)
	}
	if err := wire.CheckHello(&h); err != nil {
		t.Fatal(err)
	}
	if len(h.Inventory.Disks) == 0 {
		t.Error("no disk is left of the inventory")
	}
	if _, err := s.Agents().Hello(t.Context(), h, ""); err != nil {
		t.Fatal(err)
	}
	m, err := s.Store.Get(t.Context(), mac)
	if err != nil {
		t.Fatal(err)
	}
	var seen strangers
	seen.take(&m, false)
	if seen.bytes > budget.Inventory+8<<10 {
		t.Errorf("the record takes %d bytes; want at most %d and a little", seen.bytes, budget.Inventory)
	}
	for i := range 200 {
		r := api.Report{Session: "s", MAC: mac}
		for e := range 10 {
			r.Events = append(r.Events, api.Event{Seq: uint64(10*i + e + 1), Time: time.Now(), Step: "x", State: api.StateDone, Message: long})
		}
		if err := wire.CheckReport(&r, time.Now()); err != nil {
			t.Fatal(err)
		}
		if err := s.Agents().Report(t.Context(), r, ""); err != nil {
			t.Fatal(err)
		}
	}
	events, err := s.Store.Events(t.Context(), mac)
	if err != nil || len(events) > budget.EventsSeen+10 {
		t.Errorf("%d events are kept, %v; want about %d", len(events), err, budget.EventsSeen)
	}
}

// breakingKV is an etcd that answers nothing while it is broken.
type breakingKV struct {
	clientv3.KV
	broken atomic.Bool
}

var errBroken = errors.New("broken")

func (kv *breakingKV) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if kv.broken.Load() {
		return nil, errBroken
	}
	return kv.KV.Get(ctx, key, opts...)
}

func (kv *breakingKV) Txn(ctx context.Context) clientv3.Txn {
	if kv.broken.Load() {
		return brokenTxn{}
	}
	return kv.KV.Txn(ctx)
}

type brokenTxn struct{}

func (t brokenTxn) If(...clientv3.Cmp) clientv3.Txn      { return t }
func (t brokenTxn) Then(...clientv3.Op) clientv3.Txn     { return t }
func (t brokenTxn) Else(...clientv3.Op) clientv3.Txn     { return t }
func (brokenTxn) Commit() (*clientv3.TxnResponse, error) { return nil, errBroken }
