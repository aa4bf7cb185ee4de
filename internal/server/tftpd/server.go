// Package tftpd is a read-only TFTP server for boot files.
//
// It speaks RFC 1350 with options (2347), block size (2348), transfer size and
// timeout (2349) and window size (7440). Names are looked up in a table and
// never touch the disk.
//
// What is handled here because firmware is as it is:
//   - OVMF asks for the size, aborts with an ERROR and comes back for the file:
//     that is [Probed], not a failure. It may come from the same port, before
//     its ERROR has arrived.
//   - Boot ROMs cannot put IP fragments together although some ask for large
//     blocks: blocks are kept within one Ethernet frame.
//   - Block numbers are 16 bits wide; for files over 65,535 blocks they
//     continue with 0.
//   - Some firmware pads requests with NULs, and spells names in its own ways:
//     see spellings.
package tftpd

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

const (
	// DefaultMaxBlock is the largest block in bytes that fits one Ethernet frame
	// without fragments: 1500 less 20 (IPv4), 8 (UDP) and 4 (TFTP).
	DefaultMaxBlock = 1468
	// DefaultMaxTransfers lets a thousand machines start in the same second, with
	// room to spare.
	DefaultMaxTransfers = 2048
	// DefaultTimeout is the first wait for an acknowledgement; each further one is
	// twice as long.
	DefaultTimeout = time.Second

	// DefaultMaxPerClient is how many transfers one address may have: a machine has
	// one, a host of virtual ones some.
	DefaultMaxPerClient = 16

	maxWindow = 64 // blocks; a larger window overruns the receive rings of boot NICs
)

// Outcome is how a transfer ended.
type Outcome int

// The outcomes.
const (
	Sent    Outcome = iota // the client acknowledged the last block
	Probed                 // the client took the size only, as firmware does before loading
	Refused                // the request was answered with an error
	Aborted                // the client sent an error in the middle
	Failed                 // the client stopped answering, or the file could not be read
)

func (o Outcome) String() string {
	return [...]string{"sent", "probed", "refused", "aborted", "failed"}[o]
}

// Event tells of one finished transfer or refused request.
type Event struct {
	Time    time.Time
	Client  netip.AddrPort
	File    string // as it was asked for, cut to 128 bytes; the client's bytes
	Outcome Outcome
	Size    int64 // of the file, bytes
	Acked   int64 // bytes that the client has acknowledged
	Resent  int   // packets sent more than once
	Took    time.Duration
	Err     error // why it was not Sent or Probed
}

// Server sends files to whoever asks. Open must be set; the zero values of the
// rest are useful. A Server serves one connection; its fields must not change
// while it does.
type Server struct {
	Open Opener
	// Serves says whether an address is answered; nil: all are. An answer is larger
	// than a request, and goes to whoever the request pretends to be from.
	Serves       func(netip.Addr) bool
	Log          *slog.Logger  // nil: discarded
	Events       func(Event)   // nil: none; called from several goroutines, must not block
	MaxBlock     int           // bytes; 0: DefaultMaxBlock
	MaxTransfers int           // at once; 0: DefaultMaxTransfers
	MaxPerClient int           // of one address at once; 0: DefaultMaxPerClient
	Timeout      time.Duration // 0: DefaultTimeout

	// listen opens the socket of a transfer on the server's own address; nil: UDP.
	listen func(local net.Addr) (net.PacketConn, error)

	mu     sync.Mutex
	live   map[netip.AddrPort]*entry
	places map[netip.Addr]int // transfers of each address
	fresh  list.List          // of *entry: never acknowledged, oldest first; shed when the table is full
	warned time.Time          // of strangers
}

// Listen opens the socket that [Server.Serve] answers on, at a UDP address such
// as "10.0.0.1:69". Name the address that DHCP gives as next-server: boot ROMs
// ignore answers from another one, and on a wildcard address the kernel
// chooses. The caller closes it if it does not call Serve.
func Listen(ctx context.Context, address string) (net.PacketConn, error) {
	var lc net.ListenConfig
	conn, err := lc.ListenPacket(ctx, "udp4", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%w: stop the other TFTP server (tftpd-hpa, atftpd or dnsmasq)", err)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("%w: run as root or with CAP_NET_BIND_SERVICE", err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%w: no interface of this host has the address", err)
	case err != nil:
		return nil, err
	}
	if u, ok := conn.(*net.UDPConn); ok {
		// A herd of machines asks in the same second; the kernel's limit may keep it
		// lower.
		_ = u.SetReadBuffer(4 << 20)
	}
	return conn, nil
}

// Serve answers requests that arrive on conn until ctx ends, then stops its
// transfers, waits for them and returns nil. It closes conn. Any other return
// is a failure of conn.
func (s *Server) Serve(ctx context.Context, conn net.PacketConn) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var transfers sync.WaitGroup
	defer transfers.Wait()
	defer cancel(nil)
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()

	s.mu.Lock()
	s.live, s.places = map[netip.AddrPort]*entry{}, map[netip.Addr]int{}
	s.fresh.Init()
	s.mu.Unlock()

	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buf)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receiving: %w", err)
		}
		peer := addrPort(from)
		if !answerable(peer) || !s.serves(peer) {
			continue
		}
		req, err := parseRequest(buf[:n])
		if errors.Is(err, errNotRequest) {
			continue
		}
		if r, ok := errors.AsType[*refusal](err); ok {
			_, _ = conn.WriteTo(appendERROR(nil, r), from)
			s.report(Event{Time: time.Now(), Client: peer, File: shown(req.name), Outcome: Refused, Err: r})
			continue
		}
		if e, tctx := s.admit(ctx, peer, req); e != nil {
			transfers.Go(func() {
				defer s.leave(e)
				s.transfer(tctx, e, conn.LocalAddr(), from)
			})
		}
	}
}

// answerable tells whether a request may be answered: not when it pretends to
// come from nowhere, from many, or from a TFTP server, which would answer in
// turn.
func answerable(p netip.AddrPort) bool {
	a := p.Addr()
	return p.Port() != 0 && p.Port() != 69 && a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() &&
		a != netip.AddrFrom4([4]byte{255, 255, 255, 255})
}

// serves tells whether an address is one of this server's network. Strangers
// are told of now and then.
func (s *Server) serves(p netip.AddrPort) bool {
	if s.Serves == nil || s.Serves(p.Addr()) {
		return true
	}
	if now := time.Now(); now.Sub(s.warned) > time.Minute {
		s.warned = now
		s.log().Warn("TFTP request from another network is not answered", "client", p, "hint", "name its network with --networks")
	}
	return false
}

// transfer opens the file and a socket of its own, and sends.
func (s *Server) transfer(ctx context.Context, e *entry, local, to net.Addr) {
	start := time.Now()
	ev := Event{Time: start, Client: e.peer, File: shown(e.req.name)}
	defer func() {
		ev.Took = time.Since(start)
		s.report(ev)
	}()
	conn, err := s.socket(local)
	if err != nil {
		ev.Outcome, ev.Err = Failed, fmt.Errorf("opening a socket: %w", err)
		return
	}
	defer conn.Close()
	// Wakes a read that waits for an acknowledgement.
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()

	content, size, err := s.find(e.req.name)
	if err != nil {
		ev.Outcome, ev.Err = Refused, err
		r := &refusal{codeUndefined, "cannot read the file"}
		if errors.Is(err, fs.ErrNotExist) {
			r = &refusal{codeNotFound, "no such file"}
		}
		_, _ = conn.WriteTo(appendERROR(nil, r), to)
		return
	}
	if c, ok := content.(io.Closer); ok {
		defer c.Close()
	}
	t := &transfer{conn: conn, peer: e.peer, to: to, content: content, size: size}
	t.proven = func() { s.mu.Lock(); s.settle(e); s.mu.Unlock() }
	t.moved = func() { s.mu.Lock(); e.moved, e.acked = time.Now(), t.acked*t.blksize; s.mu.Unlock() }
	t.negotiate(e.req, s.maxBlock(), s.timeout())
	s.mu.Lock()
	e.again = t.repeat
	s.mu.Unlock()
	err = t.run(ctx)
	ev.Size, ev.Acked, ev.Resent = size, min(t.acked*t.blksize, size), t.resent
	ev.Outcome, ev.Err = outcome(err, e.req, t.acked)
}

// find opens the file that a client means.
func (s *Server) find(asked string) (content io.ReaderAt, size int64, err error) {
	err = fs.ErrNotExist
	for _, name := range spellings(asked) {
		if content, size, err = s.Open(name); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening %q: %w", shown(asked), err)
	}
	return content, size, nil
}

// shown is a name as it is told of.
func shown(name string) string { return name[:min(len(name), 128)] }

// outcome sorts the end of a transfer. A client that leaves before the first
// block, having asked for the size, wanted the size.
func outcome(err error, req request, acked int64) (Outcome, error) {
	_, told := errors.AsType[*clientError](err)
	early := req.tsize && acked == 0
	switch {
	case err == nil:
		return Sent, nil
	case early && (told || errors.Is(err, errReplaced)):
		return Probed, nil
	case told:
		return Aborted, err
	}
	return Failed, err
}

func (s *Server) socket(local net.Addr) (net.PacketConn, error) {
	if s.listen != nil {
		return s.listen(local)
	}
	addr := &net.UDPAddr{}
	if u, ok := local.(*net.UDPAddr); ok {
		addr.IP = u.IP
	}
	return net.ListenUDP("udp4", addr)
}

func (s *Server) report(ev Event) {
	level := slog.LevelInfo
	if ev.Outcome == Failed || ev.Outcome == Refused {
		level = slog.LevelWarn
	}
	s.log().Log(context.Background(), level, "TFTP "+ev.Outcome.String(), "client", ev.Client, "file", ev.File,
		"acked", ev.Acked, "size", ev.Size, "resent", ev.Resent, "took", ev.Took, "err", ev.Err)
	if s.Events != nil {
		s.Events(ev)
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) maxBlock() int {
	if s.MaxBlock == 0 {
		return DefaultMaxBlock
	}
	return min(max(s.MaxBlock, 8), 65464)
}

func (s *Server) timeout() time.Duration {
	if s.Timeout == 0 {
		return DefaultTimeout
	}
	return s.Timeout
}

func addrPort(a net.Addr) netip.AddrPort {
	if u, ok := a.(*net.UDPAddr); ok {
		p := u.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
	}
	p, _ := netip.ParseAddrPort(a.String())
	return p
}
