package door

import (
	"container/list"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/server/budget"
)

// Gate bounds the connections of a server, so that those who only hold them
// cannot keep out those who ask. When there are too many, one goes: of a
// source address that is over its own bound the one that has been silent
// longest, of all the same, and when none is silent one of the address that
// has most. The zero value bounds nothing.
type Gate struct {
	Max int // connections in all
	// MaxSilent is how many connections of one source address may be without
	// a request under way, MaxOfOne how many it may have in all; 0: any number.
	MaxSilent, MaxOfOne int
	// Shed is called for each connection that was closed to make room; nil:
	// nothing is.
	Shed func()

	mu     sync.Mutex
	tight  bool // see Tighten
	conns  map[net.Conn]*held
	by     map[netip.Prefix]*holder
	silent list.List // of *held, the longest silent first
}

// held is a connection that is open.
type held struct {
	conn   net.Conn
	from   *holder
	ofAll  *list.Element // in Gate.silent; nil: a request is under way
	ofHost *list.Element // in holder.silent or holder.asking
}

// holder is who has connections: an IPv4 address or an IPv6 /64.
type holder struct {
	addr           netip.Prefix
	silent, asking list.List // of *held, the oldest first
}

func (h *holder) count() int { return h.silent.Len() + h.asking.Len() }

// Bounds of a gate.
const (
	// silentOfOne is what one address may hold without asking: agents keep a
	// connection for each of their workers.
	silentOfOne = 64
	// shareOfOne is the part of all connections that one address may have.
	// Many machines may come through one router.
	shareOfOne = 4
	// maxBootConns bounds the memory that connections take, at about 24 kB
	// each.
	maxBootConns = 16_384
	// maxOperatorConns is for browsers, their event streams, and scripts.
	maxOperatorConns = 512
	// leastConns is what a server is given however low its limits are.
	leastConns = 64
)

// BootGate is for the boot network: a quarter of the files that this process
// may open, as each connection may have a file open too and DHCP, TFTP and the
// state want theirs.
func BootGate() *Gate {
	most := max(leastConns, min(maxBootConns, budget.OpenFiles()/4))
	return &Gate{Max: most, MaxSilent: silentOfOne, MaxOfOne: max(silentOfOne, most/shareOfOne)}
}

// OperatorGate is for the operator API. What comes from loopback has one
// address, whoever it is of, and is bounded in all only.
func OperatorGate(loopback bool) *Gate {
	most := max(leastConns, min(maxOperatorConns, budget.OpenFiles()/8))
	if loopback {
		return &Gate{Max: most}
	}
	return &Gate{Max: most, MaxSilent: silentOfOne, MaxOfOne: max(silentOfOne, most/shareOfOne)}
}

// State is the ConnState of the http.Server that the gate is for.
func (g *Gate) State(c net.Conn, state http.ConnState) {
	if g.Max <= 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch state {
	case http.StateNew:
		g.enter(c)
	case http.StateActive:
		g.turn(g.conns[c], false)
	case http.StateIdle:
		g.turn(g.conns[c], true)
	case http.StateClosed, http.StateHijacked:
		g.leave(c)
	}
}

// Listener is l, but for connections that cannot be accepted because this
// process has as many files open as it may: for them the one that has been
// silent longest is closed.
func (g *Gate) Listener(l net.Listener) net.Listener { return &relieved{l, g} }

type relieved struct {
	net.Listener
	gate *Gate
}

// Accept implements net.Listener.
func (l *relieved) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if !errors.Is(err, unix.EMFILE) && !errors.Is(err, unix.ENFILE) || !l.gate.relieve() {
			return c, err
		}
	}
}

// relieve closes a connection that is silent, if there is one.
func (g *Gate) relieve() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	oldest := front(&g.silent)
	if oldest != nil {
		g.shed(oldest)
	}
	return oldest != nil
}

// Tighten closes half of the connections that wait for their clients, and from
// now on one for each that comes, until it is called with false.
func (g *Gate) Tighten(tight bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.tight = tight
	for n := (g.silent.Len() + 1) / 2; tight && n > 0; n-- {
		g.shed(front(&g.silent))
	}
}

// Len is how many connections are open.
func (g *Gate) Len() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)
}

func (g *Gate) enter(c net.Conn) {
	if g.conns == nil {
		g.conns, g.by = map[net.Conn]*held{}, map[netip.Prefix]*holder{}
	}
	addr := budget.Sender(c.RemoteAddr().String())
	from := g.by[addr]
	if from == nil {
		from = &holder{addr: addr}
		g.by[addr] = from
	}
	h := &held{conn: c, from: from}
	g.conns[c] = h
	g.turn(h, true)
	if len(g.conns) > g.Max || g.tight {
		g.makeRoom(h)
	}
}

// turn notes that a connection waits for its client, or that it was asked.
func (g *Gate) turn(h *held, silent bool) {
	if h == nil { // it was closed to make room
		return
	}
	g.unlink(h)
	if !silent {
		h.ofHost = h.from.asking.PushBack(h)
	} else {
		h.ofAll, h.ofHost = g.silent.PushBack(h), h.from.silent.PushBack(h)
	}
	if limit := g.MaxSilent; limit > 0 && h.from.silent.Len() > limit {
		g.shed(front(&h.from.silent))
	}
	if limit := g.MaxOfOne; limit > 0 && h.from.count() > limit {
		g.shed(h.from.oldest())
	}
}

func (g *Gate) unlink(h *held) {
	if h.ofAll != nil {
		g.silent.Remove(h.ofAll)
		h.from.silent.Remove(h.ofHost)
	} else if h.ofHost != nil {
		h.from.asking.Remove(h.ofHost)
	}
	h.ofAll, h.ofHost = nil, nil
}

// makeRoom closes one connection for a newcomer: one that is silent, or else
// one of who has most.
func (g *Gate) makeRoom(newcomer *held) {
	if oldest := front(&g.silent); oldest != nil && oldest != newcomer {
		g.shed(oldest)
		return
	}
	most := newcomer.from
	looked := 0
	for _, h := range g.by {
		if h.count() > most.count() {
			most = h
		}
		// A map is walked in any order: a part of many stands for all.
		if looked++; looked >= 1024 {
			break
		}
	}
	g.shed(most.oldest())
}

// oldest is the connection that its holder loses first.
func (h *holder) oldest() *held {
	if silent := front(&h.silent); silent != nil {
		return silent
	}
	return front(&h.asking)
}

func front(l *list.List) *held {
	if e := l.Front(); e != nil {
		return e.Value.(*held)
	}
	return nil
}

// shed closes a connection at once: what it was sent is lost with it, and no
// port of this host waits for its end (SO_LINGER, socket(7)).
func (g *Gate) shed(h *held) {
	g.leave(h.conn)
	conn := h.conn
	if secured, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = secured.NetConn() // no farewell of TLS to who does not listen
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
	if g.Shed != nil {
		g.Shed()
	}
}

func (g *Gate) leave(c net.Conn) {
	h := g.conns[c]
	if h == nil {
		return
	}
	g.unlink(h)
	delete(g.conns, c)
	if h.from.count() == 0 {
		delete(g.by, h.from.addr)
	}
}
