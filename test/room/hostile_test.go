package room

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"

	"github.com/gild-dev/gild/internal/api"
)

// envHostile is a load, as it is told to its process.
const envHostile = "GILD_ROOM_HOSTILE"

// load is what one hostile host does, bounded in count and time.
type load struct {
	Kind  string        // of [load.run]
	From  []string      // its addresses, used in turn
	Count int           // of whatever it is
	Every time.Duration // between two of them; 0: as quickly as it can
	For   time.Duration // at most; 0: loadWithin
}

// dealt is what came of a load.
type dealt struct {
	Sent    int            // of Count
	Answers map[string]int // how often each came
	Seconds float64
}

// loadWithin ends a load that the server does not end.
const loadWithin = 5 * time.Minute

// attack is the process of a hostile host.
func attack(role string) int {
	var l load
	if err := json.Unmarshal([]byte(role), &l); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(l.For, loadWithin))
	defer cancel()
	began := time.Now()
	d, err := l.run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, l.Kind+":", err)
		return 1
	}
	d.Seconds = time.Since(began).Seconds()
	if err := json.NewEncoder(os.Stdout).Encode(d); err != nil {
		return 1
	}
	return 0
}

// The kinds of load.
const (
	loadSilent   = "silent connections"
	loadTransfer = "transfers that stop"
	loadDiscover = "DISCOVERs"
	loadMadeUp   = "made-up machines"
	loadHello    = "hostile hellos"
)

func (l load) run(ctx context.Context) (dealt, error) {
	switch l.Kind {
	case loadSilent:
		return l.silent(ctx)
	case loadTransfer:
		return l.transfer(ctx)
	case loadDiscover:
		return l.discover(ctx)
	case loadMadeUp:
		return l.ask(ctx, 16, func(i int) (string, string, []byte) {
			mac := net.HardwareAddr{0x02, 0xaa, 0, byte(i >> 16), byte(i >> 8), byte(i)}
			return http.MethodGet, "/machine.ipxe?platform=efi&arch=x86_64&mac=" + mac.String(), nil
		})
	case loadHello:
		bodies := hellos()
		return l.ask(ctx, 256, func(i int) (string, string, []byte) {
			return http.MethodPost, api.PathHello, bodies[i%len(bodies)]
		})
	}
	return dealt{}, errors.New("no such load")
}

// count is a tally by several goroutines.
type tally struct {
	mu sync.Mutex
	n  map[string]int
}

func (t *tally) add(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n == nil {
		t.n = map[string]int{}
	}
	t.n[what]++
}

// beginnings are what a connection says before it falls silent.
var beginnings = []string{
	"",
	"GET /machine.ip",
	"POST /agent/v1/hello HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n{",
	"POST /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n.",
	"\x16\x03\x01",
}

// silent opens connections, and holds each until the server ends it.
func (l load) silent(ctx context.Context) (dealt, error) {
	var answers tally
	var open, held sync.WaitGroup
	var sent atomic.Int64
	next := make(chan int)
	for range 64 {
		open.Go(func() {
			for i := range next {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(l.From[i%len(l.From)])}, Timeout: time.Minute}
				c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(segmentHost, fmt.Sprint(bootPort)))
				if err != nil {
					answers.add(plain(err))
					continue
				}
				sent.Add(1)
				held.Go(func() {
					defer c.Close()
					end, _ := ctx.Deadline()
					_ = c.SetDeadline(end)
					_, err := io.WriteString(c, beginnings[i%len(beginnings)])
					if err == nil {
						_, err = io.Copy(io.Discard, c)
					}
					answers.add(plain(err))
				})
			}
		})
	}
	for i := range l.Count {
		next <- i
	}
	close(next)
	open.Wait()
	held.Wait()
	return dealt{Sent: int(sent.Load()), Answers: answers.n}, nil
}

const heldForEver = "held for ever"

// plain is an error without addresses.
func plain(err error) string {
	errno := syscall.Errno(0)
	switch {
	case err == nil:
		return "closed"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return heldForEver
	case errors.As(err, &errno):
		return errno.Error()
	}
	return err.Error()
}

// transfer asks for a file by TFTP, acknowledges one block, and says nothing
// more.
func (l load) transfer(ctx context.Context) (dealt, error) {
	var answers tally
	var all sync.WaitGroup
	for i := range l.Count {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(l.From[i%len(l.From)])})
		if err != nil {
			return dealt{}, err
		}
		all.Go(func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			buf := make([]byte, 2048)
			_, err := conn.WriteTo([]byte("\x00\x01ipxe.efi\x00octet\x00blksize\x008\x00"), &net.UDPAddr{IP: net.ParseIP(segmentHost), Port: 69})
			var from net.Addr
			if err == nil {
				_, from, err = conn.ReadFrom(buf)
			}
			if err == nil {
				_, err = conn.WriteTo([]byte{0, 4, 0, 0}, from) // of the options
			}
			if err == nil {
				_, _, err = conn.ReadFrom(buf)
			}
			if err != nil {
				answers.add("none")
				return
			}
			answers.add("a block")
			<-ctx.Done()
		})
	}
	all.Wait()
	return dealt{Sent: l.Count, Answers: answers.n}, nil
}

// discover sends DISCOVERs of clients that do not exist, half of them firmware.
func (l load) discover(ctx context.Context) (dealt, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var inner error
		return errors.Join(c.Control(func(fd uintptr) { inner = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_BROADCAST, 1) }), inner)
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", net.JoinHostPort(l.From[0], "68"))
	if err != nil {
		return dealt{}, err
	}
	defer conn.Close()
	to := net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(segmentHost), 67))
	d := dealt{}
	for i := range l.Count {
		mac := net.HardwareAddr{0x02, 0xbb, 0, byte(i >> 16), byte(i >> 8), byte(i)}
		var mods []dhcpv4.Modifier
		if i%2 == 0 {
			mods = append(mods, dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00007:UNDI:003016")),
				dhcpv4.WithGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, 7}))
		}
		p, err := dhcpv4.NewDiscovery(mac, mods...)
		if err != nil {
			return d, err
		}
		if _, err := conn.WriteTo(p.ToBytes(), to); err == nil {
			d.Sent++
		}
	}
	return d, nil
}

// ask sends requests from all addresses, some at a time.
func (l load) ask(ctx context.Context, atOnce int, request func(i int) (method, path string, body []byte)) (dealt, error) {
	var clients []*http.Client
	for _, from := range l.From {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		clients = append(clients, &http.Client{
			Timeout:   time.Minute,
			Transport: &http.Transport{DialContext: d.DialContext, MaxIdleConnsPerHost: atOnce},
		})
	}
	var answers tally
	var sent atomic.Int64
	var all sync.WaitGroup
	next := make(chan int, atOnce)
	for range atOnce {
		all.Go(func() {
			for i := range next {
				method, path, body := request(i)
				req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://%s:%d%s", segmentHost, bootPort, path), bytes.NewReader(body))
				if err != nil {
					answers.add(err.Error())
					continue
				}
				req.Header.Set("Content-Type", "application/json")
				resp, err := clients[i%len(clients)].Do(req)
				if err != nil {
					answers.add(plain(err))
					continue
				}
				sent.Add(1)
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				answers.add(resp.Status)
			}
		})
	}
	dropped := 0
	began := time.Now()
	for i := range l.Count {
		if l.Every == 0 {
			next <- i
			continue
		}
		// A host that was kept from its processor makes up for it.
		time.Sleep(time.Until(began.Add(time.Duration(i) * l.Every)))
		select {
		case next <- i:
		default: // so many are under way that one more is not even sent
			dropped++
		}
	}
	close(next)
	all.Wait()
	if dropped > 0 {
		answers.n["not sent: as many were under way as the host has"] = dropped
	}
	return dealt{Sent: int(sent.Load()), Answers: answers.n}, nil
}

// hellos are bodies that a server has the most work with: as large as they may
// be and each time another one, of machines that are made up and of one that is
// registered; larger than that; and none at all.
func hellos() (all [][]byte) {
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 16 {
		m := newMachine(1<<20+i%4, "/", "")
		if i%4 == 3 {
			m = newMachine(0, "/", "")
			m.UUID, m.Serial = fmt.Sprintf("0a1f6c52-dead-4c0e-9d9a-%012x", i), fmt.Sprint("FALSE-", i)
		}
		inv := m.inventory()
		for d := range 60 {
			inv.Disks = append(inv.Disks, api.Disk{
				Name: fmt.Sprint("sd", d), Model: strings.Repeat("m", 100),
				Serial: fmt.Sprintf("%064x", rng.Uint64()), WWN: strings.Repeat("w", 100), Size: 1 << 40,
			})
		}
		p, err := json.Marshal(api.Hello{Version: api.Version, Session: fmt.Sprint("hostile", i), Inventory: inv})
		if err != nil {
			panic(err)
		}
		all = append(all, p)
	}
	return append(all, bytes.Repeat([]byte("["), 1000), bytes.Repeat([]byte(" "), api.MaxHello+1000), []byte("{"))
}

// attacker is a hostile host at work.
type attacker struct {
	load load
	cmd  *exec.Cmd
	out  bytes.Buffer
}

// unleash starts a process for each load, at the end of a cable. Hosts of a
// real network have processors of their own; here they get what the server
// leaves, before the machines do.
func unleash(t *testing.T, wire *segment, loads []load) (all []*attacker) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range loads {
		role, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		h := &attacker{load: l, cmd: exec.Command("nice", "-n", "10", self)}
		h.cmd.Env = append(os.Environ(), envHostile+"="+string(role))
		h.cmd.Stdout, h.cmd.Stderr = &h.out, os.Stderr
		wire.start(t, h.cmd, l.From...)
		all = append(all, h)
	}
	return all
}

// end waits for a host, which ends by itself: everything that it asked was
// answered, and nothing that it holds was held for ever.
func (h *attacker) end(t *testing.T) (sent int) {
	t.Helper()
	err := h.cmd.Wait()
	var d dealt
	if err == nil {
		err = json.Unmarshal(h.out.Bytes(), &d)
	}
	if err != nil {
		t.Errorf("the host with %s: %v", h.load.Kind, err)
		return 0
	}
	t.Logf("%d of %d %s in %.1f s: %v", d.Sent, h.load.Count, h.load.Kind, d.Seconds, d.Answers)
	if n := d.Answers[heldForEver]; n > 0 {
		t.Errorf("%d %s are held for ever", n, h.load.Kind)
	}
	if d.Sent == 0 {
		t.Errorf("no %s came to the server", h.load.Kind)
	}
	return d.Sent
}
