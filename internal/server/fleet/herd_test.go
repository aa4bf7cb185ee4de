package fleet

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
	"github.com/gild-dev/gild/internal/evidence"
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
		for _, mac := range compact([]string{b.mac(), b.card, b.adapter}) {
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
	records map[string]*Record
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
		rng: rand.New(rand.NewPCG(seed, 7)), now: at(0), records: map[string]*Record{}, known: map[string]bool{},
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
func (h *herd) find(labels []string) []Record {
	var out []Record
	for _, id := range slices.Sorted(maps.Keys(h.records)) {
		m := h.records[id]
		if slices.Contains(labels, id) || slices.ContainsFunc(Labels(m), func(l string) bool { return slices.Contains(labels, l) }) {
			out = append(out, *m)
		}
	}
	return out
}

// record is the one with an ID, made when it is not there.
func (h *herd) record(id string) *Record {
	if h.records[id] == nil {
		h.records[id] = &Record{ID: id}
		if _, err := wire.ParseMAC(id); err == nil {
			h.records[id].MAC = id
		}
	}
	h.known[id] = true
	return h.records[id]
}

// follows does what the server does with what it has found.
func (h *herd) follows(f Found) {
	for _, o := range f.Others {
		Mistaken(h.record(o.ID), o, h.now)
	}
	if f.From != "" {
		_, _ = Join(h.record(f.ID), h.record(f.From), h.now)
	}
}

func (h *herd) script(who api.Inventory) (d Decision) {
	s := ShownBy(&who)
	f, err := Match(h.find(s.Labels()), s)
	h.follows(f)
	if err != nil {
		return Decision{Why: err.Error()}
	}
	m := h.record(f.ID)
	if f.Doubt != "" && f.Known {
		d, _ = DoubtedBoot(m, who, f, h.now)
		return d
	}
	if d, _ = Boot(m, who, nil, h.now); d.Image != nil {
		d.Ticket = fmt.Sprintf("t%d", h.rng.Uint64())
		Issue(m, d.Ticket, who, h.now)
	}
	return d
}

func (h *herd) hello(session, ticket string, inv api.Inventory) (api.Answer, string) {
	said := api.Hello{Version: api.Version, Session: session, Ticket: ticket, Inventory: inv}
	labels := append(ShownBy(&inv).Labels(), TicketLabel(ticket))
	f, err := MatchAgent(h.find(labels), &said, h.now)
	h.follows(f)
	var a api.Answer
	if misfit, ok := errors.AsType[*TicketError](err); ok {
		a, _ = Refused(h.record(f.ID), inv, misfit, h.now)
		return a, f.ID
	}
	if err != nil {
		return refused(err.Error()), ""
	}
	m := h.record(f.ID)
	if f.Doubt != "" {
		a, _ = Doubted(m, said, f, h.now)
		return a, f.ID
	}
	a, _ = Hello(m, said, "", false, h.now)
	Disclaim(m, f.Foreign, h.now)
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
			_, err := Report(&was, api.Report{Session: session, MAC: mac, Plan: plan, Events: events}, "", h.now)
			if err == nil {
				*r = was
			}
			return err
		}
	}
	return &EarlyError{mac}
}

func (h *herd) register(b *board) {
	spec := api.Spec{Name: fmt.Sprintf("b%d", b.n)}
	if h.rng.IntN(2) == 0 {
		spec.MACs = []string{b.mac()}
	}
	if h.rng.IntN(2) == 0 && evidence.UUID(b.uuid) != "" {
		spec.UUID = b.uuid
	}
	if h.rng.IntN(3) == 0 && evidence.Serial(b.serial) != "" {
		spec.Serial = b.serial
	}
	if h.rng.IntN(6) == 0 {
		spec.SharedMACs = []string{oneOf(h.rng, adapters)}
	}
	if CheckSpec(&spec) != nil {
		return
	}
	id, err := Adopt(h.find(SpecLabels(spec)), spec)
	h.note("register %+v as %s: %v", spec, id, err)
	if err == nil {
		_, _ = SetSpec(h.record(id), spec, "", h.now)
	}
}

// arm arms what the operator sees: a record that has something to tell it by.
func (h *herd) arm(b *board) {
	var m *Record
	for _, id := range slices.Sorted(maps.Keys(h.records)) {
		if r := h.records[id]; r.Joined == "" && (m == nil || h.rng.IntN(3) == 0) {
			m = r
		}
	}
	if theirs := h.find(ShownBy(new(b.shows(false))).Labels()); len(theirs) > 0 && h.rng.IntN(3) > 0 {
		if m = h.records[theirs[h.rng.IntN(len(theirs))].ID]; m.Joined != "" {
			m = h.records[m.Joined]
		}
	}
	if m == nil {
		m = h.record(b.mac())
	}
	id := fmt.Sprintf("p%d", len(h.plans))
	var shown *api.Disk
	if m.Inventory != nil && len(m.Inventory.Disks) > 0 {
		shown = &m.Inventory.Disks[0]
	}
	p := plan(id)
	p.Identity = "x"
	p.Agreed = Agree(m, shown, shown == nil)
	_, err := Arm(m, Armed{Plan: p}, h.now)
	h.note("arm %s with %s, agreed %+v: %v", m.ID, id, p.Agreed, err)
	if err == nil {
		h.plans[id] = p.Agreed
	}
}

func (h *herd) cancel() {
	for _, id := range slices.Sorted(maps.Keys(h.records)) {
		if m := h.records[id]; m.Armed != nil && h.rng.IntN(2) == 0 {
			h.note("cancel %s", id)
			_, _ = Cancel(m, "", h.rng.IntN(2) == 0, h.now)
			return
		}
	}
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
	h.seen(Sighting{MAC: b.mac(), UUID: oneOf(h.rng, []string{"", b.uuid}), Source: FromFirmware, Message: "DHCP"})
	d := h.script(b.shows(false))
	h.note("board %d %s boots by %s: %s, %q, %s", b.n, b.uuid, b.mac(), d.ID, d.Ticket, d.Why)
	if d.Image != nil {
		b.ticket, b.scripted = d.Ticket, d.ID
		b.session = fmt.Sprintf("s%d", h.rng.Uint64())
	}
}

func (h *herd) seen(s Sighting) {
	shown := Shown{MACs: []string{s.MAC}, UUID: s.UUID}
	f, err := Match(h.find(shown.Labels()), shown)
	h.follows(f)
	if err == nil {
		Seen(h.record(f.ID), s, h.now)
	}
}

var errLoop = errors.New("the script booted the agent, the hello sent it away, and nobody was told why")

// agent lets the agent of a board say hello. Some were started by other means
// and have no ticket.
func (h *herd) agent(b *board) error {
	ticket := b.ticket
	switch {
	case b.session == "" && h.rng.IntN(3) > 0:
		return nil
	case b.session == "":
		b.session = fmt.Sprintf("s%d", h.rng.Uint64())
	case h.rng.IntN(4) == 0:
		ticket = ""
	}
	a, id := h.hello(b.session, ticket, b.shows(true))
	h.note("board %d says hello by %s with %q: %s by %s, %s", b.n, b.mac(), ticket, a.Action, id, a.Message)
	if a.Action == api.ActionLocalDisk && ticket != "" {
		if m := h.records[b.scripted]; m.Armed != nil && m.NotBooted == "" {
			return errLoop
		}
	}
	if b.plan = ""; a.Plan != nil {
		b.plan, b.spoke = a.Plan.ID, h.now
		m := h.records[id]
		if err := h.rightful(b, m); err != nil {
			return err
		}
		return h.identity(b.session, m, b)
	}
	return nil
}

// identity asks for the identity of a plan: who has it is the only one that
// speaks for the machine.
func (h *herd) identity(session string, m *Record, b *board) error {
	plan := m.Armed.Plan.ID
	if _, err := GiveIdentity(m, api.IdentityRequest{Session: session, MAC: m.MAC, Plan: plan}, h.now); err != nil {
		return nil //nolint:nilerr // it was not given
	}
	if had, ok := h.given[plan]; ok && had != nil && had != b && had.plan == plan {
		return fmt.Errorf("the identity of %s went to a second agent while that of board %d is at work", plan, had.n)
	}
	h.given[plan] = b
	return nil
}

// rightful holds a plan that was given against what is really so.
func (h *herd) rightful(b *board, m *Record) error {
	if why := unlike(h.plans[m.Armed.Plan.ID], b); why != "" {
		return fmt.Errorf("board %d got the plan of %s, but its %s is not what was agreed to: %+v", b.n, m.ID, why, m.Armed.Plan.Agreed)
	}
	for _, id := range slices.Sorted(maps.Keys(h.records)) {
		r := h.records[id]
		if r == m || r.Joined != "" || !Registered(r) || r.Armed != nil {
			continue
		}
		if evidence.UUIDs(Knows(r).UUID, b.uuid) == evidence.Agrees && evidence.UUIDs(Knows(m).UUID, b.uuid) != evidence.Agrees {
			return fmt.Errorf("board %d is known by its UUID as %s, which is not armed, and got the plan of %s", b.n, id, m.ID)
		}
	}
	return nil
}

// write is the first write of an agent: after its own look at its machine.
func (h *herd) write(b *board) error {
	if b.plan == "" {
		return nil
	}
	agreed, inv := h.plans[b.plan], b.shows(true)
	itself := evidence.OtherMachine(agreed, &inv) == nil && evidence.OtherDisk(agreed.Disk, &inv.Disks[0]) == nil
	if !itself {
		return nil
	}
	if taken := h.report(b.session, b.mac(), b.plan, event(h.seq(b), StepFlash, api.StateStart)) == nil; !taken {
		b.plan = ""
		return nil
	}
	if why := unlike(agreed, b); why != "" {
		return fmt.Errorf("board %d (%+v) was written, but its %s is not what was agreed to: %+v", b.n, *b, why, agreed)
	}
	h.writes++
	h.note("board %d is written by %s", b.n, b.plan)
	if h.rng.IntN(2) == 0 {
		last := sealed(h.seq(b), b.plan)
		if h.report(b.session, b.mac(), b.plan, last) == nil {
			b.session, b.ticket, b.plan = "", "", ""
		}
	}
	return nil
}

// unlike says in what a board really is another than was agreed to, in plain
// words and not by the rule under test; empty: in nothing.
func unlike(agreed api.Agreed, b *board) string {
	real := func(text string, fillers ...string) bool { return text != "" && !slices.Contains(fillers, text) }
	uuid, serial := real(b.uuid, "03000200-0400-0500-0006-000700080009"), real(b.serial, "Default string")
	switch {
	case agreed.UUID != "" && uuid && agreed.UUID != b.uuid:
		return "UUID"
	case agreed.Serial != "" && serial && agreed.Serial != b.serial:
		return "serial"
	case agreed.UUID != "" && !uuid && (agreed.Serial == "" || !serial), agreed.UUID == "" && agreed.Serial != "" && !serial:
		return "want of a UUID and serial"
	case agreed.UUID == "" && agreed.Serial == "" && !slices.Contains(agreed.MACs, b.card) && !slices.Contains(agreed.MACs, b.adapter):
		return "address"
	case agreed.Disk != nil && agreed.Disk.Serial != b.disk:
		return "disk"
	}
	return ""
}

func (h *herd) seq(b *board) uint64 {
	for _, m := range h.find([]string{b.mac()}) {
		if m.Session == b.session {
			return m.Seq + 1
		}
	}
	return 1
}

// lie sends anything for anybody, by what a host on the network can overhear.
func (h *herd) lie() error {
	a, b := oneOf(h.rng, h.boards), oneOf(h.rng, h.boards)
	inv := api.Inventory{
		MAC: a.mac(), UUID: oneOf(h.rng, []string{"", a.uuid, b.uuid, uuid2}), Serial: oneOf(h.rng, []string{"", a.serial, b.serial}),
		NICs:  []api.NIC{{MAC: a.mac()}, {MAC: b.card}, {MAC: oneOf(h.rng, adapters)}},
		Disks: []api.Disk{{Name: "sda", Serial: oneOf(h.rng, []string{a.disk, b.disk}), Size: 1 << 30}}, Kernel: "6.1",
	}
	h.note("the liar speaks for %s: %+v", a.mac(), inv)
	switch h.rng.IntN(5) {
	case 0:
		h.seen(Sighting{MAC: a.mac(), UUID: inv.UUID, Source: Source(h.rng.IntN(3)), Message: "no boot file", Cause: api.CauseNoBootFile})
	case 1:
		h.script(inv)
	case 2:
		for range 3 {
			answer, id := h.hello(fmt.Sprintf("liar%d", h.rng.Uint64()), oneOf(h.rng, []string{"", a.ticket, b.ticket, "made-up"}), inv)
			if answer.Plan != nil {
				return h.identity(h.records[id].Session, h.records[id], nil)
			}
		}
	case 3:
		e := oneOf(h.rng, []api.Event{event(9, StepFlash, api.StateStart), event(9, StepFlash, api.StateFailed), sealed(9, a.plan)})
		for _, plan := range []string{"", a.plan, b.plan} {
			for _, m := range h.find([]string{a.mac()}) {
				if _, err := Report(&m, api.Report{Session: "stranger", MAC: a.mac(), Plan: plan, Events: []api.Event{e}}, "", h.now); err == nil && !repeated(&m, api.Report{Session: "stranger", Plan: plan, Events: []api.Event{e}}) {
					return fmt.Errorf("a report of a stranger for %s was taken", m.ID)
				}
			}
		}
	case 4:
		for _, m := range h.records {
			if _, ok := Beacon(m, "made-up", "", h.now); ok {
				return errors.New("a made-up beacon counts")
			}
		}
	}
	return nil
}

// whole checks that no record is lost and no operator locked out.
func (h *herd) whole() error {
	for id := range h.known {
		if h.records[id] == nil {
			return fmt.Errorf("record %s is lost", id)
		}
	}
	for id, m := range h.records {
		c := *m
		if _, err := Cancel(&c, "", true, h.now); err != nil || c.Armed != nil {
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

// TestLongRandomFleets is the same with as many as docs/reliability.md tells of.
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
		What:  "fleets of 3 to 5 machines with equal, missing, shared and moved labels, adapters that move at any step, arms at random, and a liar on the network",
		Count: int64(n), Unit: "fleets", Seed: *herdSeed,
		Result:  fmt.Sprintf("%d flashes, each of the machine and disk that were agreed to; no plan for a machine that is registered apart, no identity to two agents at work, no record lost, no loop without a reason told", writes),
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
