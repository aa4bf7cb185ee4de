package room

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gild-dev/gild/internal/api"
)

// liarAddr is the address of the liar; everybody else speaks from 127.0.0.1.
const liarAddr = "127.0.0.66"

// The words by which what the liar tells is found again where it should not be.
const (
	strangersWord = "told by a session that nobody knows"
	takersWord    = "told by the liar, which took this plan"
)

// liar is a host on the boot network that says anything for any machine. It
// knows what all of them show, and the IDs of their plans. What it does not
// know it asks for: tickets by the boot scripts of others.
//
// DHCP is not among it: the servers of the room run with --dhcp off.
type liar struct {
	rng     *rand.Rand
	http    *http.Client
	base    string
	victims []machine
	size    int64    // of their disks, bytes
	image   string   // digest of the manifest that all are armed with
	plans   []string // that it has overheard
	tickets []string // that it was given in the place of others
	sessions,
	beacons []string // of its own; of the identities that it got

	said  map[string]int // lies by kind
	lying bool           // anything goes; else it says what the test needs of it
	taken []taken
	wrong []string // what no liar may get
}

// taken is a plan that the liar was given.
type taken struct {
	session string
	showed  api.Inventory
	plan    api.Plan
	secret  bool // it has its identity
}

func newLiar(seed uint64, s *server, size int64, image string, plans []string, victims []machine) *liar {
	dial := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(liarAddr)}}
	return &liar{
		rng: rand.New(rand.NewPCG(seed, 2)), base: s.base(), victims: victims, size: size, image: image, plans: plans,
		http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			DialContext: dial.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // a liar asks nobody for proof
		}},
		said: map[string]int{},
	}
}

func (l *liar) close() { l.http.CloseIdleConnections() }

// lieEvery is how long the liar rests between two lies: a flood is another
// test's.
const lieEvery = 5 * time.Millisecond

// lie says n lies.
func (l *liar) lie(ctx context.Context, n int) error {
	l.lying = true
	defer func() { l.lying = false }()
	rest := time.NewTicker(lieEvery)
	defer rest.Stop()
	kinds := []struct {
		name string
		say  func(ctx context.Context) error
	}{
		{"script", l.askScript},
		{"script", l.askScript},
		{"hello", l.sayHello},
		{"hello", l.sayHello},
		{"hello", l.sayHello},
		{"report", l.report},
		{"identity", l.askIdentity},
		{"beacon", l.callBeacon},
	}
	for range n {
		kind := oneOf(l.rng, kinds)
		l.said[kind.name]++
		if err := kind.say(ctx); err != nil {
			return fmt.Errorf("%s: %w", kind.name, err)
		}
		<-rest.C
	}
	return nil
}

func oneOf[T any](rng *rand.Rand, list []T) T { return list[rng.IntN(len(list))] }

// madeUp is evidence of a machine that does not exist.
func (l *liar) madeUp() machine {
	n := l.rng.IntN(200)
	return machine{
		MAC: fmt.Sprintf("52:54:00:fe:00:%02x", n), UUID: fmt.Sprintf("0a1f6c52-dead-4c0e-9d9a-%012x", n), Serial: fmt.Sprintf("FALSE-%d", n),
	}
}

// anybody is a machine of the room, now and then one that is not.
func (l *liar) anybody() machine {
	if l.rng.IntN(8) == 0 {
		return l.madeUp()
	}
	return oneOf(l.rng, l.victims)
}

// shows is what the liar claims its machine to be: that of one victim, or of
// several, or parts of it.
func (l *liar) shows() api.Inventory {
	a, b := l.anybody(), l.anybody()
	inv := a.inventory()
	if l.rng.IntN(2) == 0 {
		inv.UUID = oneOf(l.rng, []string{"", a.UUID, b.UUID, l.madeUp().UUID})
		inv.Serial = oneOf(l.rng, []string{"", a.Serial, b.Serial, "Default string"})
		inv.NICs = append(inv.NICs, api.NIC{Name: "eth1", MAC: b.MAC}, api.NIC{Name: "eth2", MAC: l.anybody().MAC})
	}
	disk := oneOf(l.rng, []machine{a, a, b, l.madeUp()}).drive()
	disk.Size, disk.SectorSize = l.size, 512
	inv.Disks = []api.Disk{disk}
	return inv
}

// askScript asks for a boot script and keeps the ticket that is in it.
func (l *liar) askScript(ctx context.Context) error {
	inv := l.shows()
	q := url.Values{"mac": {inv.MAC}, "uuid": {inv.UUID}, "serial": {inv.Serial}, "arch": {"x86_64"}, "platform": {"efi"}}
	_, body, err := l.do(ctx, http.MethodGet, "/machine.ipxe?"+q.Encode(), nil)
	for word := range strings.FieldsSeq(string(body)) {
		if ticket, ok := strings.CutPrefix(word, "gild.ticket="); ok {
			l.tickets = append(l.tickets, ticket)
		}
	}
	return err
}

// sayHello says hello, by a ticket of anybody or none. With a plan it does what
// the thief of one would do.
func (l *liar) sayHello(ctx context.Context) error {
	ticket := ""
	if len(l.tickets) > 0 && l.rng.IntN(2) == 0 {
		ticket = oneOf(l.rng, l.tickets)
	}
	if l.rng.IntN(8) == 0 {
		ticket = l.random("ticket")
	}
	t, err := l.hello(ctx, l.session(), ticket, l.shows())
	if err != nil || t == nil {
		return err
	}
	if l.rng.IntN(2) == 0 {
		if _, err := l.identity(ctx, t); err != nil {
			return err
		}
	}
	events := []api.Event{{Step: "flash", State: api.StateStart, Message: takersWord}}
	switch l.rng.IntN(4) {
	case 0:
		events = append(events, api.Event{Step: "flash", State: api.StateFailed, Cause: api.CauseDiskError, Message: takersWord})
	case 1:
		events = append(events, l.receipt(t.plan.ID, takersWord))
	}
	_, err = l.tell(ctx, t.session, t.showed.MAC, t.plan.ID, events...)
	return err
}

// session is a new one, or one that it has used before.
func (l *liar) session() string {
	if len(l.sessions) == 0 || l.rng.IntN(3) > 0 {
		l.sessions = append(l.sessions, l.random("liar"))
		return l.sessions[len(l.sessions)-1]
	}
	return oneOf(l.rng, l.sessions)
}

func (l *liar) random(what string) string { return fmt.Sprintf("%s%016x", what, l.rng.Uint64()) }

// hello returns the plan that it was given, nil for none.
func (l *liar) hello(ctx context.Context, session, ticket string, inv api.Inventory) (*taken, error) {
	var answer api.Answer
	status, body, err := l.do(ctx, http.MethodPost, api.PathHello,
		api.Hello{Version: api.Version, Session: session, Ticket: ticket, Inventory: inv})
	if err != nil || status != http.StatusOK {
		return nil, err
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Plan == nil {
		return nil, err
	}
	l.taken = append(l.taken, taken{session: session, showed: inv, plan: *answer.Plan})
	return &l.taken[len(l.taken)-1], nil
}

// identity asks for the identity of a plan that it was given.
func (l *liar) identity(ctx context.Context, t *taken) (given bool, err error) {
	status, body, err := l.do(ctx, http.MethodPost, api.PathIdentity,
		api.IdentityRequest{Session: t.session, MAC: t.showed.MAC, Plan: t.plan.ID})
	if err != nil || status != http.StatusOK {
		return false, err
	}
	var id api.Identity
	if err := json.Unmarshal(body, &id); err != nil {
		return false, err
	}
	t.secret = true
	if u, err := url.Parse(id.BeaconURL); err == nil && u.Path != "" {
		l.beacons = append(l.beacons, u.Path)
	}
	return true, nil
}

// report tells of somebody's flash by a session that has said no hello.
func (l *liar) report(ctx context.Context) error {
	plan := oneOf(l.rng, append([]string{"", l.random("plan")}, l.plans...))
	events := []api.Event{
		{Step: "flash", State: api.StateStart, Message: strangersWord},
		{Step: "flash", State: api.StateFailed, Cause: api.CauseDiskError, Message: strangersWord},
		l.receipt(plan, strangersWord),
	}
	_, err := l.tell(ctx, l.random("stranger"), l.anybody().MAC, plan, events[:1+l.rng.IntN(len(events))]...)
	return err
}

func (l *liar) receipt(plan, message string) api.Event {
	return api.Event{
		Step: "handoff", State: api.StateStart, Message: message,
		Receipt: &api.Receipt{Plan: plan, Image: l.image, ReadBack: "full", Handoff: "reboot"},
	}
}

func (l *liar) tell(ctx context.Context, session, mac, plan string, events ...api.Event) (status int, err error) {
	for i := range events {
		events[i].Seq, events[i].Time = uint64(i+1), time.Now()
	}
	status, _, err = l.do(ctx, http.MethodPost, api.PathEvents, api.Report{Session: session, MAC: mac, Plan: plan, Events: events})
	return status, err
}

// askIdentity asks for the identity of a plan that it has overheard, or was
// given and has lost, by a session that does not hold it.
func (l *liar) askIdentity(ctx context.Context) error {
	plan := oneOf(l.rng, l.plans)
	status, _, err := l.do(ctx, http.MethodPost, api.PathIdentity,
		api.IdentityRequest{Session: l.random("stranger"), MAC: l.anybody().MAC, Plan: plan})
	if status == http.StatusOK {
		l.wrong = append(l.wrong, "the identity of plan "+plan+" by a session that nobody knows")
	}
	return err
}

// callBeacon says that a new system runs, by a beacon that is made up or that
// was in an identity.
func (l *liar) callBeacon(ctx context.Context) error {
	if len(l.beacons) > 0 && l.rng.IntN(2) == 0 {
		_, _, err := l.do(ctx, http.MethodPost, oneOf(l.rng, l.beacons), nil)
		return err
	}
	status, _, err := l.do(ctx, http.MethodPost, strings.Replace(api.PathBeacon, "{beacon}", l.random("beacon"), 1), nil)
	if status == http.StatusNoContent {
		l.wrong = append(l.wrong, "a beacon was taken that it had made up")
	}
	return err
}

// do sends one request from the liar's own address.
func (l *liar) do(ctx context.Context, method, path string, body any) (status int, answer []byte, err error) {
	var p []byte
	if body != nil {
		if p, err = json.Marshal(body); err != nil {
			return 0, nil, err
		}
	}
	// Agents speak TLS. That somebody does not is one more way to lie.
	base, plain := l.base, l.lying && l.rng.IntN(8) == 0
	if strings.HasPrefix(path, "/agent/") && !plain {
		base = strings.Replace(base, "http://", "https://", 1)
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, bytes.NewReader(p))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	if answer, err = io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err != nil {
		return 0, nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK, http.StatusNoContent, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
	case http.StatusNotFound: // no such beacon
	case http.StatusUpgradeRequired: // no identity in plain HTTP
		if !plain {
			err = fmt.Errorf("%s by TLS: %s", resp.Status, answer)
		}
	default: // a lie that is none, or has broken the server
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return resp.StatusCode, answer, err
}

// judge holds what the liar was given against what it may get: plans are
// those that the operator has given out, for machines that it could be taken
// for by UUID or serial, and by nothing that contradicts.
func (l *liar) judge(t *testing.T, armed map[string]machine) {
	t.Helper()
	for _, why := range l.wrong {
		t.Errorf("the liar got %s", why)
	}
	for _, got := range l.taken {
		m, ok := armed[got.plan.ID]
		if !ok {
			t.Errorf("the liar got plan %s, which is of no machine that is armed, by %+v", got.plan.ID, got.showed)
			continue
		}
		uuid, serial := got.showed.UUID, got.showed.Serial
		if serial == "Default string" {
			serial = ""
		}
		if uuid != "" && uuid != m.UUID || serial != "" && serial != m.Serial || uuid == "" && serial == "" {
			t.Errorf("the liar got the plan of %s by UUID %q and serial %q; that machine has %q and %q", m.Name, uuid, serial, m.UUID, m.Serial)
		}
	}
	t.Logf("the liar said %v and was given %d tickets, %d plans, %d beacons", l.said, len(l.tickets), len(l.taken), len(l.beacons))
}
