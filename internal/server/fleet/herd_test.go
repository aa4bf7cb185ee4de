package fleet_test

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/fleet"
	"github.com/gild-dev/gild/internal/server/fleet/wire"
	"github.com/gild-dev/gild/internal/tier"
	"github.com/gild-dev/gild/test/reliability"
)

var (
	herds    = flag.Int("fleets", 1000, "random fleets that TestRandomFleets boots")
	herdSeed = flag.Uint64("fleet-seed", 1, "of the first of them")
)

// board is a computer as it really is.
type board struct {
	n            int
	uuid, serial string
	card, disk   string
	adapter      string // plugged in now; empty: none

	ticket, session, plan string // of its agent; no session: none runs
	scripted              string // record whose agent the script has booted
	spoke                 time.Time
}

// shows is what the board tells: firmware by one card, an agent by all.
func (b *board) shows(agent bool) api.Inventory {
	inv := api.Inventory{MAC: b.mac(), UUID: b.uuid, Serial: b.serial}
	if agent {
		inv.Kernel = "6.1"
		for _, mac := range fleet.Compact([]string{b.mac(), b.card, b.adapter}) {
			inv.NICs = append(inv.NICs, api.NIC{MAC: mac})
		}
		inv.Disks = []api.Disk{{Name: "sda", Serial: b.disk, Size: 1 << 30}}
	}
	return inv
}

func (b *board) mac() string {
	if b.adapter != "" {
		return b.adapter
	}
	return b.card
}

// herd is a room of boards with equal, missing, shared and moved labels, the
// records that the rules keep of them, an operator, and a liar who can send
// anything for any of them. Events and stores are left out: every rule runs as
// the server runs it.
type herd struct {
	rng     *rand.Rand
	now     time.Time
	boards  []*board
	records map[string]*fleet.Record
	known   map[string]bool // IDs that must not be lost
	plans   map[string]api.Agreed
	given   map[string]*board // plan -> whom its identity was given to; nil: the liar
	writes  int
	told    bool // notes are taken: a fleet that failed is run again for them
	log     []string
}

// adapters move between the boards; the last one is known to be everywhere.
var adapters = []string{"00:e0:4c:68:00:01", "00:e0:4c:68:00:02", "00:e0:4c:53:44:58"}

func newHerd(seed uint64) *herd {
	h := &herd{
		rng: rand.New(rand.NewPCG(seed, 7)), now: at(0), records: map[string]*fleet.Record{}, known: map[string]bool{},
		plans: map[string]api.Agreed{}, given: map[string]*board{},
	}
	uuids := []string{"", "03000200-0400-0500-0006-000700080009", uuid1, uuid2}
	serials := []string{"", "Default string", "SHARED-1"}
	for n := range 3 + h.rng.IntN(3) {
		b := &board{n: n, card: fmt.Sprintf("52:54:00:00:01:%02x", n), disk: fmt.Sprintf("DISK-%d", n)}
		b.uuid = fmt.Sprintf("0a1f6c52-7d07-4c0e-9d9a-%012x", n+0x100)
		b.serial = fmt.Sprintf("SER-%d", n)
		if h.rng.IntN(3) == 0 {
			b.uuid = uuids[h.rng.IntN(len(uuids))]
		}
		if h.rng.IntN(3) == 0 {
			b.serial = serials[h.rng.IntN(len(serials))]
		}
		if n > 0 && h.rng.IntN(8) == 0 {
			b.card = h.boards[0].card // a batch with one address
		}
		if n > 0 && h.rng.IntN(10) == 0 {
			b.disk = h.boards[0].disk
		}
		h.boards = append(h.boards, b)
	}
	return h
}

func oneOf[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

func (h *herd) note(format string, args ...any) {
	if h.told {
		h.log = append(h.log, fmt.Sprintf(format, args...))
	}
}

// find is the store's look for labels.
func (h *herd) find(labels []string) []fleet.Record {
	var out []fleet.Record
	for _, id := range slices.Sorted(maps.Keys(h.records)) {
		m := h.records[id]
		if slices.Contains(labels, id) || slices.ContainsFunc(fleet.Labels(m), func(l string) bool { return slices.Contains(labels, l) }) {
			out = append(out, *m)
		}
	}
	return out
}

// record is the one with an ID, made when it is not there.
func (h *herd) record(id string) *fleet.Record {
	if h.records[id] == nil {
		h.records[id] = &fleet.Record{ID: id}
		if _, err := wire.ParseMAC(id); err == nil {
			h.records[id].MAC = id
		}
	}
	h.known[id] = true
	return h.records[id]
}

// follows does what the server does with what it has found.
func (h *herd) follows(f fleet.Found) {
	for _, o := range f.Others {
		fleet.Mistaken(h.record(o.ID), o, h.now)
	}
	if f.From != "" {
		_, _ = fleet.Join(h.record(f.ID), h.record(f.From), h.now)
	}
}

func (h *herd) script(who api.Inventory) (d fleet.Decision) {
	s := fleet.ShownBy(&who)
	f, err := fleet.Match(h.find(s.Labels()), s)
	h.follows(f)
	if err != nil {
		return fleet.Decision{Why: err.Error()}
	}
	m := h.record(f.ID)
	if f.Doubt != "" && f.Known {
		d, _ = fleet.DoubtedBoot(m, who, f, h.now)
		return d
	}
	if d, _ = fleet.Boot(m, who, nil, h.now); d.Image != nil {
		d.Ticket = fmt.Sprintf("t%d", h.rng.Uint64())
		fleet.Issue(m, d.Ticket, who, h.now)
	}
	return d
}

func (h *herd) hello(session, ticket string, inv api.Inventory) (api.Answer, string) {
	said := api.Hello{Version: api.Version, Session: session, Ticket: ticket, Inventory: inv}
	labels := append(fleet.ShownBy(&inv).Labels(), fleet.TicketLabel(ticket))
	f, err := fleet.MatchAgent(h.find(labels), &said, h.now)
	h.follows(f)
	var a api.Answer
	if misfit, ok := errors.AsType[*fleet.TicketError](err); ok {
		a, _ = fleet.Refused(h.record(f.ID), inv, misfit, h.now)
		return a, f.ID
	}
	if err != nil {
		return fleet.Refusal(err.Error()), ""
	}
	m := h.record(f.ID)
	if f.Doubt != "" {
		a, _ = fleet.Doubted(m, said, f, h.now)
		return a, f.ID
	}
	a, _ = fleet.Hello(m, said, "", false, h.now)
	fleet.Disclaim(m, f.Foreign, h.now)
	return a, f.ID
}

// step lets one thing happen.
func (h *herd) step() error {
	h.now = h.now.Add(time.Duration(1+h.rng.IntN(4)) * time.Second)
	h.heartbeats()
	b := oneOf(h.rng, h.boards)
	switch h.rng.IntN(14) {
	case 0:
		h.register(b)
	case 1, 2:
		h.arm(b)
	case 3:
		h.cancel()
	case 4, 5:
		h.plug(b)
	case 6, 7:
		h.boot(b)
	case 8, 9:
		return h.agent(b)
	case 10:
		return h.write(b)
	case 11, 12:
		return h.flash(b)
	default:
		for range 1 + h.rng.IntN(4) {
			if err := h.lie(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flash takes a board from its firmware to its first write; its adapter may
// move between any two steps.
func (h *herd) flash(b *board) error {
	for _, step := range []func(*board) error{
		func(b *board) error { h.boot(b); return nil }, h.agent, h.write,
	} {
		if h.rng.IntN(6) == 0 {
			h.plug(b)
		}
		if err := step(b); err != nil {
			return err
		}
	}
	return nil
}

// heartbeats let every agent with a plan speak, every five to nine seconds.
func (h *herd) heartbeats() {
	for _, b := range h.boards {
		if b.plan != "" && h.now.Sub(b.spoke) >= 5*time.Second {
			b.spoke = h.now
			if h.report(b.session, b.mac(), b.plan) != nil {
				b.plan = "" // its plan is lost
			}
		}
	}
}

// report finds the record as the server does, and reports nothing new.
func (h *herd) report(session, mac, plan string, events ...api.Event) error {
	for _, m := range h.find([]string{mac}) {
		if m.Session == session {
			r := h.records[m.ID]
			was := *r
			_, err := fleet.Report(&was, api.Report{Session: session, MAC: mac, Plan: plan, Events: events}, "", h.now)
			if err == nil {
				*r = was
			}
			return err
		}
	}
	return &fleet.EarlyError{mac}
}

// plug moves an adapter, from whatever board has it. A board whose agent speaks
// by it keeps it, as that agent would be gone.
func (h *herd) plug(b *board) {
	a := oneOf(h.rng, adapters)
	for _, o := range h.boards {
		if o.plan != "" && (o.adapter == a || o == b) {
			return
		}
	}
	for _, o := range h.boards {
		if o.adapter == a {
			o.adapter = ""
		}
	}
	if h.rng.IntN(3) > 0 {
		b.adapter = a
	}
	h.note("board %d has adapter %q", b.n, b.adapter)
}

// boot lets a board's firmware ask; whatever ran in it is gone.
func (h *herd) boot(b *board) {
	b.session, b.ticket, b.plan, b.scripted = "", "", "", ""
	h.seen(fleet.Sighting{MAC: b.mac(), UUID: oneOf(h.rng, []string{"", b.uuid}), Source: fleet.FromFirmware, Message: "DHCP"})
	d := h.script(b.shows(false))
	h.note("board %d %s boots by %s: %s, %q, %s", b.n, b.uuid, b.mac(), d.ID, d.Ticket, d.Why)
	if d.Image != nil {
		b.ticket, b.scripted = d.Ticket, d.ID
		b.session = fmt.Sprintf("s%d", h.rng.Uint64())
	}
}

func (h *herd) seen(s fleet.Sighting) {
	shown := fleet.Shown{MACs: []string{s.MAC}, UUID: s.UUID}
	f, err := fleet.Match(h.find(shown.Labels()), shown)
	h.follows(f)
	if err == nil {
		fleet.Seen(h.record(f.ID), s, h.now)
	}
}

var errLoop = errors.New("the script booted the agent, the hello sent it away, and nobody was told why")

// whole checks that no record is lost and no operator locked out.
func (h *herd) whole() error {
	for id := range h.known {
		if h.records[id] == nil {
			return fmt.Errorf("record %s is lost", id)
		}
	}
	for id, m := range h.records {
		c := *m
		if _, err := fleet.Cancel(&c, "", true, h.now); err != nil || c.Armed != nil {
			return fmt.Errorf("%s cannot be cancelled by force: %w", id, err)
		}
		if m.Joined != "" && h.records[m.Joined] == nil {
			return fmt.Errorf("%s is joined with %s, which is not there", id, m.Joined)
		}
	}
	return nil
}

// TestRandomFleets boots fleets whose labels are equal, missing, shared and
// moved through script and hello, with a liar among them. Nothing is written
// that was not agreed to, and nothing loops without a reason that is told.
func TestRandomFleets(t *testing.T) { bootFleets(t, *herds) }

// TestLongRandomFleets is the same with as many as docs/reliability.md tells
// of.
func TestLongRandomFleets(t *testing.T) {
	tier.Slow(t, "ten thousand fleets")
	bootFleets(t, 10_000)
}

func bootFleets(t *testing.T, n int) {
	t.Helper()
	began, writes := time.Now(), 0
	for i := range n {
		seed := *herdSeed + uint64(i)
		h := newHerd(seed)
		if err := h.run(); err != nil {
			h = newHerd(seed)
			h.told = true
			_ = h.run()
			t.Fatalf("fleet %d: %v\nboards: %s\n%s", seed, err, h.describe(), strings.Join(h.log, "\n"))
		}
		writes += h.writes
	}
	if writes < n/10 {
		t.Errorf("%d flashes in %d fleets: the rules refuse what was agreed to", writes, n)
	}
	t.Logf("%d fleets, %d flashes", n, writes)
	reliability.Record(t, reliability.Row{
		Group: reliability.Fleet,
		What: "fleets of 3 to 5 machines with equal, missing, shared and moved labels, adapters that move at any step, arms at random, " +
			"and a liar on the network",
		Count: int64(n), Unit: "fleets", Seed: *herdSeed,
		Result: fmt.Sprintf("%d flashes, each of the machine and disk that were agreed to; no plan for a machine that is registered "+
			"apart, no identity to two agents at work, no record lost, no loop without a reason told", writes),
		Took:    time.Since(began),
		Command: fmt.Sprintf("go test ./internal/server/fleet -timeout 0 -run '^TestRandomFleets$' -fleets %d -fleet-seed %d", n, *herdSeed),
	})
}

func (h *herd) run() error {
	for range 60 {
		if err := h.step(); err != nil {
			return err
		}
	}
	return h.whole()
}

func (h *herd) describe() string {
	var out []string
	for _, b := range h.boards {
		out = append(out, fmt.Sprintf("%d: UUID %q serial %q card %s disk %s", b.n, b.uuid, b.serial, b.card, b.disk))
	}
	return strings.Join(out, "; ")
}
